"""What holds for every operation, whatever it computes."""

import numpy as np
import pytest

import tinygrad_fm
from tinygrad_fm import Tensor, autograd
from tinygrad_fm.checking.cases import CASES
from tinygrad_fm.checking.run import random_upstream

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def leaves(case, arrays):
    return [
        Tensor(a, requires_grad=source.differentiable)
        for a, source in zip(arrays, case.inputs, strict=True)
    ]


def forward(case, tensors):
    """The case's output, with the same random numbers at each call."""
    tinygrad_fm.manual_seed(0)
    return case.run(tinygrad_fm, *tensors)


def grads(tensors):
    return [t.grad.data for t in tensors if t.grad is not None]


@every_case
def test_inputs_and_upstream_stay_as_they_are(case):
    arrays = case.draw()
    upstream = random_upstream(case, arrays)
    before = [a.copy() for a in (*arrays, upstream)]
    y = forward(case, leaves(case, arrays))
    y.backward(Tensor(upstream))
    for a, b in zip((*arrays, upstream), before, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.flags.writeable  # and nothing stays locked


@every_case
def test_gradients_share_no_memory(case):
    arrays = case.draw()
    upstream = random_upstream(case, arrays)
    tensors = leaves(case, arrays)
    y = forward(case, tensors)
    y.backward(Tensor(upstream))
    gradients = grads(tensors)
    others = [*gradients, *arrays, upstream]
    for gradient in gradients:
        assert sum(np.shares_memory(gradient, other) for other in others) == 1  # itself
        assert gradient.flags.writeable


@every_case
def test_gradients_have_their_inputs_shape_and_dtype(case):
    for dtype in ("float32", "float64"):
        arrays = case.draw(dtype)
        tensors = leaves(case, arrays)
        y = forward(case, tensors)
        y.backward(Tensor(random_upstream(case, arrays)))
        for tensor in tensors:
            if tensor.requires_grad and tensor.grad is not None:
                assert tensor.grad.shape == tensor.shape
                assert tensor.grad.dtype == tensor.dtype


@every_case
def test_float32_never_becomes_float64(case):
    if case.of in ("to", "double"):
        pytest.skip("float64 was asked for")
    arrays = case.draw("float32")
    seen = set()

    def watch(node, method, arguments, options):
        results = method(*arguments, **options)
        for result in results if isinstance(results, tuple) else (results,):
            if result is not None and result.dtype.kind == "f":
                seen.add((node.name(), method.__name__, result.dtype.name))
        return results

    tensors = leaves(case, arrays)
    upstream = random_upstream(case, arrays)
    with autograd.running(watch):
        y = forward(case, tensors)
        y.backward(Tensor(upstream))
    assert y.dtype == np.float32
    assert {dtype for *_, dtype in seen} <= {"float32"}, seen


@every_case
def test_backward_twice_raises(case):
    arrays = case.draw()
    y = forward(case, leaves(case, arrays))
    if y.grad_fn is None:
        pytest.skip("the output is the input itself")
    upstream = Tensor(random_upstream(case, arrays))
    y.backward(upstream)
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward(upstream)


@every_case
def test_a_graph_that_is_kept_gives_the_same_gradients_again(case):
    arrays = case.draw()
    tensors = leaves(case, arrays)
    y = forward(case, tensors)
    upstream = Tensor(random_upstream(case, arrays))
    y.backward(upstream, retain_graph=True)
    once = [g.copy() for g in grads(tensors)]
    y.backward(upstream)
    for total, first in zip(grads(tensors), once, strict=True):
        np.testing.assert_allclose(total, 2 * first, rtol=1e-12, atol=1e-14)


@every_case
def test_a_tensor_used_twice_adds_its_gradients_up(case):
    arrays = case.draw()
    upstream = Tensor(random_upstream(case, arrays))
    alone, twice = leaves(case, arrays), leaves(case, arrays)
    forward(case, alone).backward(upstream)
    (forward(case, twice) + forward(case, twice)).backward(upstream)
    for total, single in zip(grads(twice), grads(alone), strict=True):
        np.testing.assert_allclose(total, 2 * single, rtol=1e-12, atol=1e-14)


@every_case
def test_nothing_is_computed_for_frozen_inputs(case):
    arrays = case.draw()
    upstream = Tensor(random_upstream(case, arrays))
    free = leaves(case, arrays)
    forward(case, free).backward(upstream)
    wanted = [i for i, source in enumerate(case.inputs) if source.differentiable]
    results_of = []

    def watch(node, method, arguments, options):
        results = method(*arguments, **options)
        if method.__name__ == "backward":
            each = results if isinstance(results, tuple) else (results,)
            results_of.append((node, [result is not None for result in each]))
        return results

    for frozen in wanted if len(wanted) > 1 else []:
        tensors = leaves(case, arrays)
        tensors[frozen].requires_grad = False
        results_of.clear()
        with autograd.running(watch):
            forward(case, tensors).backward(upstream)
        assert tensors[frozen].grad is None
        for node, given in results_of:
            needs = list(node.needs_input_grad)  # inputs behind the last gradient want none
            assert given == needs[: len(given)], node.name()
            assert True not in needs[len(given) :], node.name()
        for tensor, reference in zip(tensors, free, strict=True):
            if tensor.requires_grad and reference.grad is not None:
                np.testing.assert_allclose(
                    tensor.grad.data, reference.grad.data, rtol=1e-10, atol=1e-12
                )


@every_case
def test_nothing_is_recorded_without_gradients(case):
    arrays = case.draw()
    with tinygrad_fm.no_grad():
        unrecorded = forward(case, leaves(case, arrays))
    recorded = forward(case, leaves(case, arrays))
    assert unrecorded.grad_fn is None
    np.testing.assert_allclose(unrecorded.data, recorded.data, rtol=1e-12, atol=1e-14)


def transposed(a):
    return a.copy(order="F")


def backwards(a):
    return a[::-1].copy()[::-1] if a.ndim else a


def every_second(a):
    return np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a


def read_only(a):
    a = a.copy()
    a.setflags(write=False)
    return a


def channels_last(a):
    return np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) if a.ndim > 2 else a


@pytest.mark.parametrize(
    "laid_out", [transposed, backwards, every_second, read_only, channels_last]
)
@every_case
def test_the_layout_in_memory_does_not_matter(case, laid_out):
    arrays = case.draw()
    upstream = random_upstream(case, arrays)
    plain, other = leaves(case, arrays), leaves(case, [laid_out(a) for a in arrays])
    y, z = forward(case, plain), forward(case, other)
    if case.random and laid_out is not read_only:
        return  # a mask lies as its input does: other elements are dropped
    np.testing.assert_allclose(z.data, y.data, rtol=1e-10, atol=1e-12)
    y.backward(Tensor(upstream))
    z.backward(Tensor(laid_out(upstream)))
    for a, b in zip(grads(other), grads(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)

"""Products of stacks of matrices, large ones in parts on threads."""

import numpy as np
import pytest

from tinygrad_fm import Tensor, get_num_threads, set_num_threads
from tinygrad_fm.ops.matmul import PARALLEL, product


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


STACKS = {
    "attention": (
        lambda: normal(9, 4, 40, 80),
        lambda: normal(9, 4, 100, 80, seed=1).swapaxes(2, 3),
    ),
    "heads behind": (lambda: normal(9, 40, 4, 80).swapaxes(1, 2), lambda: normal(9, 4, 80, 100)),
    "one for all": (lambda: normal(9, 40, 400), lambda: normal(400, 70)),
    "one axis for all": (lambda: normal(9, 1, 80, 80), lambda: normal(1, 5, 80, 80)),
    "a shorter stack": (lambda: normal(5, 80, 80), lambda: normal(9, 5, 80, 80)),
    "one and many": (lambda: normal(1, 80, 80), lambda: normal(40, 80, 80)),
    "vectors": (lambda: normal(200, 300, 300), lambda: normal(300)),
}


@pytest.mark.parametrize(("left", "right"), STACKS.values(), ids=STACKS)
def test_stacks(left, right):
    a, b = left(), right()
    expected = np.matmul(a.astype(float), b.astype(float))
    assert expected.size * a.shape[-1] > PARALLEL
    before, results = get_num_threads(), []
    for threads in (1, 2, 3):
        set_num_threads(threads)
        x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
        z = x @ y
        z.backward(Tensor(z.data))
        results.append((z.data, x.grad.data, y.grad.data))
    set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(results[0][0], expected, rtol=1e-4, atol=1e-4)
    x, y = Tensor(a.astype(float), requires_grad=True), Tensor(b.astype(float), requires_grad=True)
    (x @ y).backward(Tensor(expected))
    for got, wanted in zip(results[0][1:], (x, y), strict=True):
        np.testing.assert_allclose(got, wanted.grad.data, rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize("shapes", [((3, 0, 4), (4, 5)), ((3, 2, 0), (0, 5)), ((0, 2, 4), (4, 5))])
def test_stacks_of_nothing(shapes):
    a, b = (np.ones(shape, np.float32) for shape in shapes)
    np.testing.assert_array_equal(product(a, b), np.matmul(a, b))
    x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    (x @ y).sum().backward()
    np.testing.assert_array_equal(y.grad.data, np.zeros_like(b))

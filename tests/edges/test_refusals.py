"""Single edges of tensors, by name: what is refused, in which words, and what must come out."""

import numpy as np
import pytest
import torch

import tinygrad_fm as tg
from tinygrad_fm import Tensor
from tinygrad_fm.nn import functional as F

BYTES = Tensor(np.array([3, 0, 200], np.uint8))
MASK = Tensor(np.array([True, False, True]))


@pytest.mark.parametrize("name", ["silu", "elu", "gelu", "leaky_relu", "softplus"])
def test_activations_refuse_bytes(name):
    with pytest.raises(TypeError, match=rf"{name} needs a floating-point dtype, got uint8"):
        getattr(F, name)(BYTES)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_refuses_integers(name):
    with pytest.raises(TypeError, match=rf"{name} needs a floating-point dtype, got uint8"):
        getattr(BYTES, name)(0)


@pytest.mark.parametrize(
    "run",
    [
        lambda: True - BYTES, lambda: BYTES - True, lambda: MASK - BYTES, lambda: 1.5 - MASK,
        lambda: BYTES.float() - MASK, lambda: MASK - MASK, lambda: -MASK, lambda: MASK**MASK,
        lambda: MASK % MASK, lambda: MASK // MASK, lambda: abs(MASK), lambda: MASK.relu(),
        lambda: MASK @ MASK, lambda: BYTES.clone().sub_(True), lambda: BYTES.clone().sub_(MASK),
    ],
    ids=[
        "True - bytes", "bytes - True", "mask - bytes", "1.5 - mask", "floats - mask",
        "mask - mask", "-mask", "mask ** mask", "mask % mask", "mask // mask", "abs(mask)",
        "mask.relu()", "mask @ mask", "bytes.sub_(True)", "bytes.sub_(mask)",
    ],
)  # fmt: skip
def test_arithmetic_refuses_booleans(run):
    with pytest.raises(TypeError, match=r"not defined for booleans|boolean subtract"):
        run()


def test_an_index_of_bytes_or_of_nested_lists_is_refused():
    x = tg.arange(6).reshape(2, 3)
    for index in (Tensor(np.array([0, 1], np.uint8)), np.array([0, 1], np.uint8)):
        with pytest.raises(TypeError, match=r"mask\.bool\(\).*places\.long\(\)"):
            x[index]
        with pytest.raises(TypeError, match=r"mask\.bool\(\)"):
            x[index] = 0
    with pytest.raises(TypeError, match=r"got \[\[0, 1\], \[1, 0\]\]; .* write x\[tensor"):
        x[[[0, 1], [1, 0]]]
    assert x[np.uint8(1)].tolist() == [3, 4, 5]  # a number is no mask
    assert x[[0, 1], [1, 0]].tolist() == [1, 3]


@pytest.mark.parametrize("divisor", [0, tg.tensor([1, 0])])
def test_integers_are_not_divided_by_zero(divisor):
    x = tg.tensor([7, -7])
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        x // divisor
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        x % divisor
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        x //= divisor
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        x %= divisor
    assert x.tolist() == [7, -7]


def test_whole_division_in_place_writes_into_the_memory():
    x = tg.tensor([7, -7])
    alias = x
    alias //= 2
    assert x.tolist() == [3, -4]
    alias %= 3
    assert x.tolist() == [0, 2]


def test_floor_division_has_no_derivative():
    x = tg.tensor([5.0, -3.0], requires_grad=True)
    y = x // 2
    assert y.tolist() == [2, -2]
    with pytest.raises(RuntimeError, match=r"a // b has no derivative"):
        y.sum().backward()


def test_in_place_keeps_dtype_and_shape_under_autograd():
    y = tg.tensor([1.0, 2.0], requires_grad=True)
    x = y * 1
    x *= y.double()
    assert x.dtype == tg.float32
    with pytest.raises(TypeError, match=r"Cannot cast .* to dtype"):
        tg.tensor([1, 2]).__imul__(y)
    with pytest.raises(
        RuntimeError, match=r"shape \(3, 2\), which cannot be written into .*\(2,\)"
    ):
        x += tg.ones(3, 2)


def test_einsum_does_not_read_beyond_an_array():
    """NumPy's `ii->i` of (0, 3) returns what lies in memory behind it."""
    with pytest.raises(ValueError, match=r"diagonal \('ii'\) of shape \(0, 3\)"):
        tg.einsum("ii->i", tg.zeros(0, 3))


def test_einsum_of_bytes_sums_up_to_int64():
    x = Tensor(np.full((3, 3), 200, np.uint8))
    assert tg.einsum("ij->i", x).tolist() == [600, 600, 600]
    assert tg.einsum("ii", x).dtype == tg.int64


@pytest.mark.parametrize("scale", [1e20, 1e-25])
def test_the_deviation_of_very_large_and_very_small_numbers(scale):
    x = np.array([1, -3, 2, 5], np.float32) * np.float32(scale)
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours.std().backward()
    theirs.std().backward()
    assert ours.std().item() == pytest.approx(theirs.std().item(), rel=1e-6)
    assert ours.grad.data == pytest.approx(theirs.grad.numpy(), rel=1e-5)


@pytest.mark.parametrize("scale", [1e20, 1e-25])
def test_the_slope_of_a_quotient_whose_divisor_has_no_square(scale):
    """a/b² is 0 or infinite in float32 for b = 1e20 or 1e-25; (a/b)/b is neither."""
    a = tg.tensor([2.0], requires_grad=True) * scale
    b = tg.tensor([1.0]) * scale
    b.requires_grad_()
    (a / b).backward()
    assert b.grad.item() == pytest.approx(-2 / scale, rel=1e-6)


def test_arange_counts_exactly():
    assert tg.arange(0.0, -8.000001, -4.0, dtype=tg.int64).tolist() == [0, -4]
    assert tg.arange(2**53, 2**53 + 3).tolist() == [2**53, 2**53 + 1, 2**53 + 2]
    for args in ((5, 2), (0, 1, 0.3), (0, 5, 0), (0, float("nan")), (0.0, float("inf"))):
        with pytest.raises(ValueError, match="arange"):
            tg.arange(*args, dtype=tg.int64)


def test_softmax_over_an_axis_of_nothing():
    x = tg.zeros(2, 0)
    assert x.softmax(1).shape == x.log_softmax(1).shape == (2, 0)
    assert x.logsumexp(1).tolist() == [-np.inf, -np.inf]


def test_a_number_has_the_axes_0_and_minus_1():
    x = tg.tensor(1.5)
    assert x.sum(0).item() == x.sum(-1).item() == 1.5
    for dim in (1, -2):
        with pytest.raises(IndexError, match="out of range"):
            x.sum(dim)
    with pytest.raises(ValueError, match="named once"):
        x.sum((0, -1))
    with pytest.raises(IndexError, match="index 3 is out of bounds"):
        x.gather(0, tg.tensor(3))


def test_matrices_only():
    with pytest.raises(ValueError, match=r"t\(\) transposes a matrix, got shape \(2, 3, 4\)"):
        tg.zeros(2, 3, 4).t()
    with pytest.raises(ValueError, match="mm needs two matrices"):
        tg.zeros(3).mm(tg.zeros(3))


def test_what_numpy_would_make_sense_of():
    with pytest.raises(ValueError, match=r"cannot reshape \(4,\)"):
        tg.zeros(4).reshape(-2)
    with pytest.raises(TypeError, match="holds numbers"):
        tg.tensor([None], dtype=tg.float32)
    with pytest.raises(TypeError, match="from_numpy needs an array, got list"):
        tg.from_numpy([1.0])
    with pytest.raises(TypeError, match=r"where needs a mask, got int64; use condition\.bool\(\)"):
        tg.where(tg.tensor([1, 0]), 1.0, 2.0)
    with pytest.raises(TypeError):
        tg.randint(2.5, (3,))


def test_a_part_without_elements_stays_in_the_graph():
    nothing = tg.zeros(0, requires_grad=True)
    tg.cat([nothing, tg.ones(2, 3)]).sum().backward()
    assert nothing.grad.shape == (0,)

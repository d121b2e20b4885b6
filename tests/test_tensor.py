"""Tensor's construction, dtypes, operators, indexing and shapes, held against PyTorch's."""

from __future__ import annotations

import copy
import inspect
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_fm as tg
from tinygrad_fm import Tensor
from tinygrad_fm.ops.function import Function

Change = Callable[[Any], Any]


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def both(array: np.ndarray) -> tuple[Tensor, torch.Tensor]:
    """The same numbers as our tensor and as PyTorch's, in memory of their own."""
    return Tensor(array.copy()), torch.from_numpy(array.copy())


def assert_same(ours: Tensor, theirs: torch.Tensor) -> None:
    expected = theirs.detach().numpy()
    assert ours.shape == expected.shape
    assert ours.dtype == expected.dtype
    np.testing.assert_array_equal(ours.data, expected)


# ------------------------------------------------------------------------ construction


PLAIN = [1, 2.5, True, [1, 2], [1.0, 2.0], [[True], [False]], [], [[]], (1, 2.5)]
DOUBLE = np.float64(1.5)


@pytest.mark.parametrize(
    "data", [*PLAIN, DOUBLE, [1, DOUBLE], ([1.5], [DOUBLE]), [np.float32(1.5), 2.5]], ids=repr
)
def test_dtype_of_python_data_is_torchs(data: object) -> None:
    tensor = tg.tensor(data)
    assert str(tensor.dtype) == str(torch.tensor(data).dtype).removeprefix("torch.")
    assert tensor.shape == np.shape(data)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
def test_arrays_keep_their_dtype(dtype: str) -> None:
    assert Tensor(np.zeros(3, dtype)).dtype == dtype


def test_constructor_shares_memory_and_tensor_copies() -> None:
    array = np.zeros(3, np.float32)
    shared, copied = Tensor(array), tg.tensor(array)
    array[0] = 5
    assert shared.data is array
    assert tg.from_numpy(array).data is array
    assert copied.tolist() == [0, 0, 0]


def test_dtype_argument_converts() -> None:
    assert Tensor([1, 2], dtype=np.float64).dtype == np.float64
    assert tg.tensor([1.7], dtype=tg.int64).tolist() == [1]


@pytest.mark.parametrize("data", ["abc", None, [None], {"a": 1}, np.array(["x"])], ids=repr)
def test_only_numbers_make_a_tensor(data: object) -> None:
    with pytest.raises(TypeError, match="a tensor holds numbers, got"):
        Tensor(data)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
def test_integer_tensors_cannot_require_a_gradient(dtype: str) -> None:
    wanted = rf"only floating-point tensors can require a gradient, got {dtype}.*x\.float\(\)"
    with pytest.raises(TypeError, match=wanted):
        Tensor(np.zeros(2, dtype), requires_grad=True)
    tensor = Tensor(np.zeros(2, dtype))
    with pytest.raises(TypeError, match=wanted):
        tensor.requires_grad_()
    assert not tensor.requires_grad


def test_conversions() -> None:
    x = tg.tensor([0.0, 1.7])
    assert [t.dtype.name for t in (x.double(), x.long(), x.bool(), x.to(np.int32))] == [
        "float64",
        "int64",
        "bool",
        "int32",
    ]
    assert x.float() is x
    assert x.to("cpu") is x
    assert x.cpu() is x
    assert x.long().tolist() == [0, 1]


def test_gradients_flow_between_floating_point_types_and_stop_at_integers() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    (x.double() * tg.tensor([3.0, 4.0], dtype=tg.float64)).sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == np.float32
    assert x.grad.tolist() == [3, 4]
    assert not x.long().requires_grad


# ------------------------------------------------------------------------ promotion

SCALARS = [True, 2, 1.5]
ARRAYS = [
    np.full(shape, 1.5, dtype)
    for dtype in ("bool", "uint8", "int32", "int64", "float32", "float64")
    for shape in ((), (2,))
]
PAIRS = [
    (a, b)
    for a in [*SCALARS, *ARRAYS]
    for b in [*SCALARS, *ARRAYS]
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray)
]


def side(x: object, wrap: Change) -> object:
    return wrap(x.copy()) if isinstance(x, np.ndarray) else x


def spell(x: object) -> str:
    return f"{x.dtype}-{x.ndim}d" if isinstance(x, np.ndarray) else type(x).__name__


@pytest.mark.parametrize("symbol", ["add", "mul", "truediv"])
@pytest.mark.parametrize(("a", "b"), PAIRS, ids=spell)
def test_promotion_is_torchs(a: object, b: object, symbol: str) -> None:
    run = getattr(operator, symbol)
    theirs = run(side(a, torch.tensor), side(b, torch.tensor))
    assert_same(run(side(a, Tensor), side(b, Tensor)), theirs)


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=spell)
def test_where_promotes_as_torch(a: object, b: object) -> None:
    condition = np.array([True, False])
    theirs = torch.where(torch.tensor(condition), side(a, torch.tensor), side(b, torch.tensor))
    assert_same(tg.where(Tensor(condition), side(a, Tensor), side(b, Tensor)), theirs)


def test_where_between_two_numbers() -> None:
    chosen = tg.where(tg.tensor([True, False]), 1.0, 0.0)
    assert (chosen.dtype, chosen.tolist()) == (np.float32, [1, 0])


@pytest.mark.parametrize("number", [np.float64(2.5), np.float32(2.5), np.int64(2)], ids=repr)
def test_numpy_scalars_do_not_widen_a_float32_tensor(number: np.generic) -> None:
    x = tg.tensor([1.0, 2.0])
    for result in (x * number, number * x, x + number, number - x, x / number, number / x):
        assert result.dtype == np.float32


@pytest.mark.parametrize("number", [256, -3, np.array(256)], ids=repr)
def test_bytes_are_divided_as_float32(number: object) -> None:
    ours, theirs = both(np.array([1, 128], np.uint8))
    assert_same(ours / side(number, Tensor), theirs / side(number, torch.tensor))
    assert_same(side(number, Tensor) / ours, side(number, torch.tensor) / theirs)


@pytest.mark.parametrize("symbol", ["add", "mul", "sub", "and_"])
def test_numbers_that_no_byte_holds_raise_where_torch_wraps_around(symbol: str) -> None:
    ours, theirs = both(np.array([1, 255], np.uint8))
    assert getattr(operator, symbol)(theirs, 256).dtype == torch.uint8
    with pytest.raises(OverflowError, match="256 out of bounds for uint8"):
        getattr(operator, symbol)(ours, 256)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "float64"])
def test_float64_scalars_of_numpy_count_as_numbers(dtype: str) -> None:
    ours, theirs = both(np.array([0, 1], dtype))
    for run in (operator.add, operator.mul, operator.truediv):
        assert_same(run(ours, np.float64(0.5)), run(theirs, np.float64(0.5)))


def test_bool_tensors_do_not_subtract_in_either_library() -> None:
    mask = np.array([True])
    with pytest.raises(RuntimeError):
        torch.from_numpy(mask) - torch.from_numpy(mask)
    with pytest.raises(TypeError, match="boolean subtract"):
        Tensor(mask) - Tensor(mask)


@pytest.mark.parametrize("name", ["sum", "prod", "cumsum"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32", "float64"])
def test_sums_of_small_integers_widen_as_torchs(name: str, dtype: str) -> None:
    ours, theirs = both(np.array([0, 1, 1], dtype))
    assert_same(getattr(ours, name)(0), getattr(theirs, name)(0))


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh", "sigmoid"])
@pytest.mark.parametrize("dtype", ["bool", "int64"])
def test_functions_of_integers_are_float32(name: str, dtype: str) -> None:
    ours, theirs = both(np.array([1, 1], dtype))
    result, wanted = getattr(ours, name)(), getattr(theirs, name)()
    assert result.dtype == wanted.numpy().dtype == np.float32
    np.testing.assert_allclose(result.data, wanted.numpy(), rtol=1e-6)


BOUNDS = {
    "floats": lambda m, x: x.clamp(0.5, 1.5),
    "an integer": lambda m, x: x.clamp(max=1),
    "a number and a tensor": lambda m, x: x.clamp(0.5, m.tensor(1)),
    "tensors": lambda m, x: x.clamp(m.tensor([[1.5], [0.5]]), m.tensor(2.0, dtype=m.float64)),
    "a double": lambda m, x: x.clamp(min=m.tensor([0.5, 1.0, 1.5], dtype=m.float64)),
}


@pytest.mark.parametrize("run", BOUNDS.values(), ids=BOUNDS)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "float64"])
def test_clamp_promotes_as_torch(run: Callable[..., Any], dtype: str) -> None:
    ours, theirs = both(np.array([0, 1, 3], dtype))
    assert_same(run(tg, ours), run(torch, theirs))


@pytest.mark.parametrize("name", ["mean", "var", "std"])
def test_moments_of_integers_raise(name: str) -> None:
    with pytest.raises(TypeError, match=r"needs a floating-point dtype, got int64; use x\.float"):
        getattr(tg.tensor([1, 2]), name)()


# ------------------------------------------------------------------------ in place


def test_in_place_writes_into_the_same_memory_outside_a_graph() -> None:
    x = tg.tensor([1.0, 2.0, 0.0])
    same, memory = x, x.data
    x += 1
    x -= tg.tensor([1.0, 1.0, 1.0])
    x *= np.float32(4)
    x /= 2
    x.add_(tg.tensor([1.0, 1.0, 1.0]), alpha=2).sub_(1).mul_(2).div_(2)
    x **= 2
    assert x is same
    assert x.data is memory
    assert x.tolist() == [9, 25, 1]
    assert x.zero_().tolist() == [0, 0, 0]
    assert x.fill_(7).tolist() == [7, 7, 7]
    assert x.copy_(tg.tensor([1.0])).tolist() == [1, 1, 1]


def test_in_place_on_zero_happens_once() -> None:
    x = tg.tensor(0.0)
    x += 0.0
    x += 1.0
    assert x.item() == 1


def test_in_place_keeps_float64_exact() -> None:
    x = Tensor(np.zeros(2))
    x += 0.1
    x[0] = 0.3
    assert x.tolist() == [0.3, 0.1]
    assert (x == 0.1).tolist() == [False, True]


IN_PLACE = {
    "+=": lambda x: operator.iadd(x, 1.0),
    "**=": lambda x: operator.ipow(x, 2),
    "*=": lambda x: operator.imul(x, 2.0),
    "add_": lambda x: x.add_(1.0),
    "zero_": lambda x: x.zero_(),
    "copy_": lambda x: x.copy_(1.0),
    "[0]": lambda x: operator.setitem(x, 0, 5.0),
}


@pytest.mark.parametrize("write", IN_PLACE.values(), ids=IN_PLACE)
def test_leaves_that_require_a_gradient_may_not_change(write: Change) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"leaf tensor that requires a gradient.*no_grad\(\)"):
        write(x)
    assert x.tolist() == [1, 2]
    with tg.no_grad():
        write(x)
    assert x.tolist() != [1, 2]
    assert x.is_leaf


def test_augmented_assignment_on_a_result_writes_into_it_and_is_recorded() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = before = x * 2
    y += x
    y *= x
    y -= 1
    y /= 2
    y **= 2
    assert y is before
    assert y.tolist() == [1, 30.25]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [6, 66]  # d/dx ((3x² - 1)/2)²


def test_a_running_total_records_what_is_added_to_it() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    total = tg.zeros()
    for factor in (1.0, 10.0):
        total += (x * factor).sum()
    total.backward()
    assert total.item() == 33
    assert x.grad is not None
    assert x.grad.tolist() == [11, 11]


def test_a_plain_tensor_takes_the_history_of_what_is_written_into_it() -> None:
    x, plain = tg.tensor([3.0], requires_grad=True), tg.zeros(2)
    plain[0] = x[0]
    plain.add_(x)
    (plain * plain).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2 * 6 * 2 + 2 * 3]  # d/dx ((2x)² + x²)


def test_in_place_does_not_change_the_dtype() -> None:
    with pytest.raises(TypeError, match="Cannot cast"):
        operator.iadd(tg.tensor([1, 2]), 0.5)
    half = tg.tensor([1.0])
    half += Tensor(np.array([0.5]))
    assert half.dtype == np.float32


@pytest.mark.parametrize("other", ["bool", "uint8", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("symbol", ["iadd", "itruediv"])
def test_in_place_takes_the_dtypes_that_torch_takes(symbol: str, dtype: str, other: str) -> None:
    run, (ours, theirs) = getattr(operator, symbol), both(np.array([0, 1, 1], dtype))
    ones, wanted = both(np.ones(3, other))
    try:
        run(theirs, wanted)
    except RuntimeError:
        with pytest.raises(TypeError, match="Cannot cast"):
            run(ours, ones)
    else:
        assert run(ours, ones) is ours
        assert_same(ours, theirs)


# ------------------------------------------------------------------------ indexing

INDICES = {
    "integer": 1,
    "negative": -1,
    "slice": slice(1, 3),
    "step": (slice(None), slice(None, None, 2)),
    "none": (None, 0),
    "ellipsis": (..., 1),
    "mixed": (1, slice(None), 2),
    "list": [0, 2, 0],
    "two lists": ([0, 1], [1, 2]),
    "list and slice": (slice(None), [2, 0, 2]),
    "tuple inside": ((0, 0), slice(1, 3)),
    "empty list": [],
    "array": np.array([[0, 1], [2, 0]]),
    "mask": np.arange(60).reshape(3, 4, 5) % 3 == 0,
    "row mask": np.array([True, False, True]),
    "all integers": (2, 3, -1),
    "integer, slice, list": (1, slice(None), [1, 2, 2]),
    "integers around a list": (1, [0, 2], 3),
    "number, slice, mask": (np.array(0), slice(1, 3), np.arange(5) % 2 == 0),
    "list, slice, integer": ([0, 1], slice(None), -1),
    "integer, none, list": (0, None, [1, 1]),
    "list, ellipsis, integer": ([2, 0], ..., 1),
    "mask of two axes, integer": (np.arange(12).reshape(3, 4) % 2 == 0, 2),
    "true": True,
    "true and integer": (True, 1),
}


def for_library(index: object, wrap: Change) -> object:
    if isinstance(index, tuple):
        return tuple(for_library(part, wrap) for part in index)
    return wrap(index.copy()) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_reading_and_its_gradient(index: object) -> None:
    ours, theirs = both(values(3, 4, 5))
    ours.requires_grad_()
    theirs.requires_grad_()
    result = ours[for_library(index, Tensor)]
    wanted = theirs[for_library(index, torch.from_numpy)]
    assert_same(result, wanted)
    (result * result).sum().backward()
    (wanted * wanted).sum().backward()
    assert ours.grad is not None
    assert_same(ours.grad, theirs.grad)


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_writing(index: object) -> None:
    ours, theirs = both(values(3, 4, 5))
    ours[for_library(index, Tensor)] = 7.5
    theirs[for_library(index, torch.from_numpy)] = 7.5
    assert_same(ours, theirs)


@pytest.mark.parametrize("index", [1, (1, 2), (1, ..., 2), slice(0, 2), (..., 0), ()], ids=repr)
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5)], ids=str)
def test_integers_and_slices_give_views(index: object, shape: tuple[int, ...]) -> None:
    ours, theirs = both(values(*shape))
    for x in (ours, theirs):
        x[index].add_(5)
    assert_same(ours, theirs)


def test_iterating_gives_views() -> None:
    x = tg.ones(3)
    for number in x:
        number.zero_()
    assert x.tolist() == [0, 0, 0]


def test_writing_broadcasts_tensors_and_arrays() -> None:
    x = tg.zeros(2, 3)
    x[0] = tg.tensor([1.0, 2.0, 3.0])
    x[:, 1] = np.array([8, 9])
    x[1, 0] = tg.tensor([7.0])
    assert x.tolist() == [[1, 8, 3], [7, 9, 0]]


def test_a_tensor_of_one_integer_is_an_index() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    assert x[tg.tensor(1)].item() == 2
    assert [10, 20, 30][tg.tensor([2])] == 30
    assert list(range(tg.tensor(2))) == [0, 1]
    with pytest.raises(TypeError, match="float"):
        [1, 2][tg.tensor(1.0)]


@pytest.mark.parametrize("index", [5, (0, 0, 0, 0), [7], np.array([True, False])], ids=repr)
def test_bad_indices_raise(index: object) -> None:
    with pytest.raises(IndexError):
        tg.zeros(3, 4, 5)[index]


# ------------------------------------------------------------------------ NumPy


@pytest.mark.parametrize("symbol", ["add", "sub", "mul", "truediv", "pow", "matmul"])
def test_arrays_and_tensors_mix_in_either_order(symbol: str) -> None:
    run = getattr(operator, symbol)
    a, b = np.abs(values(2, 2)), np.abs(values(2, 2)) + 1
    for result in (run(a, Tensor(b, True)), run(Tensor(a, True), b)):
        assert type(result) is Tensor
        assert result.grad_fn is not None
        np.testing.assert_allclose(result.data, run(a, b), rtol=1e-6)


@pytest.mark.parametrize("symbol", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparison(symbol: str) -> None:
    run = getattr(operator, symbol)
    array = np.array([-1.0, 0.1, 2.0])
    ours, theirs = both(array)
    for other in (0.1, 2, True, np.float64(0.1)):
        assert_same(run(ours, other), run(theirs, other))
        assert_same(run(ours.float(), other), run(theirs.float(), other))
    assert_same(getattr(ours, symbol)(ours.flatten()), getattr(theirs, symbol)(theirs))
    for other in (array[::-1], [3.0, 0.1, 2.0]):
        np.testing.assert_array_equal(run(ours, other).data, run(array, np.asarray(other)))
    reflected = run(array[::-1], ours)
    assert type(reflected) is Tensor
    np.testing.assert_array_equal(reflected.data, run(array[::-1], array))


def test_comparison_with_what_is_no_number() -> None:
    x = tg.ones(2)
    assert (x == None) is False  # noqa: E711
    assert (x != "one") is True
    with pytest.raises(TypeError, match="'<' not supported"):
        x < None  # noqa: B015


def test_uint8_labels_compare_with_any_integer() -> None:
    assert (Tensor(np.array([0, 255], np.uint8)) == -1).tolist() == [False, False]


@pytest.mark.parametrize("symbol", ["eq", "xor"])
@pytest.mark.parametrize(("a", "b"), PAIRS, ids=spell)
def test_comparison_and_logic_promote_as_torch(a: object, b: object, symbol: str) -> None:
    run = getattr(operator, symbol)
    try:
        theirs = run(side(a, torch.tensor), side(b, torch.tensor))
    except NotImplementedError:  # bits of floating-point numbers
        with pytest.raises(TypeError, match="not supported for the input types"):
            run(side(a, Tensor), side(b, Tensor))
    else:
        assert_same(run(side(a, Tensor), side(b, Tensor)), theirs)


def test_a_float32_tensor_equals_a_double_without_axes() -> None:
    ours, theirs = both(np.array([0.1, 0.2], np.float32))
    double = np.array(0.1)
    assert_same(ours == Tensor(double), theirs == torch.tensor(double))
    assert_same(ours > Tensor(double[None]), theirs > torch.tensor(double[None]))
    assert (ours == Tensor(double)).tolist() == [True, False]


def test_logic() -> None:
    a, b = tg.tensor([True, True, False]), tg.tensor([True, False, False])
    assert (a & b).tolist() == [True, False, False]
    assert (a | b).tolist() == [True, True, False]
    assert (a ^ b).tolist() == [False, True, False]
    assert (~a).tolist() == [False, False, True]
    for run in (operator.and_, operator.or_, operator.xor):
        assert run(True, b).tolist() == run(b, True).tolist()
    assert (a.any().item(), a.all().item()) == (True, False)
    table = tg.tensor([[True, False], [True, True]])
    assert table.all(dim=0).tolist() == [True, False]
    assert table.any(1, keepdim=True).tolist() == [[True], [True]]


def test_asarray_shares_memory_and_refuses_a_gradient() -> None:
    x = tg.tensor([1.0, 2.0])
    assert np.asarray(x) is x.data
    assert x.numpy() is x.data
    assert np.array(x) is not x.data
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    x.requires_grad_()
    for read in (x.numpy, lambda: np.asarray(x)):
        with pytest.raises(RuntimeError, match=r"x\.detach\(\)\.numpy\(\)"):
            read()
    assert x.detach().numpy() is x.data


# ------------------------------------------------------------------------ Python


def test_one_element_is_a_number() -> None:
    for x in (tg.tensor(2.5), tg.tensor([2.5]), tg.tensor([[2.5]], requires_grad=True)):
        assert x.item() == float(x) == 2.5
        assert int(x) == 2
        assert f"{x:.3f}" == "2.500"
    assert type(tg.tensor(3).item()) is int
    assert f"{tg.tensor([1.0, 2.0])}" == repr(tg.tensor([1.0, 2.0]))


@pytest.mark.parametrize(
    "convert", [Tensor.item, float, int, "{:.2f}".format], ids=["item", "float", "int", "format"]
)
def test_many_elements_are_no_number(convert: Change) -> None:
    with pytest.raises(ValueError, match="size 1"):
        convert(tg.ones(2))


def test_truth() -> None:
    assert tg.tensor([3.0])
    assert not tg.tensor(0)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(tg.ones(2))


def test_length_and_iteration() -> None:
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert len(x) == 2
    first, second = x
    (first * second).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[3, 4], [1, 2]]
    with pytest.raises(TypeError, match="no axes"):
        len(tg.tensor(1.0))
    with pytest.raises(TypeError, match="no axes"):
        iter(tg.tensor(1.0))


def test_tensors_are_hashable_by_identity() -> None:
    x, y = tg.ones(2), tg.ones(2)
    assert {x: 1, y: 2}[y] == 2


def test_deepcopy_of_leaves_only() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    (x * 3).sum().backward()
    twin = copy.deepcopy(x)
    twin.data[0] = 9
    assert twin.grad is not None
    twin.grad.zero_()
    assert twin.requires_grad
    assert x.tolist() == [1, 2]
    assert x.grad is not None
    assert x.grad.tolist() == [3, 3]
    with pytest.raises(RuntimeError, match="only leaf tensors"):
        copy.deepcopy(x * 2)


# ------------------------------------------------------------------------ repr


def test_repr_shows_few_values_and_sums_up_many() -> None:
    assert repr(tg.tensor([1.0, -2.5])) == "Tensor([1. , -2.5], 2, float32)"
    assert repr(tg.tensor(3)) == "Tensor(3, scalar, int64)"
    assert repr(tg.tensor([[1, 2], [3, 4]])) == "Tensor([[1, 2], [3, 4]], 2x2, int64)"
    assert repr(tg.zeros(0, 3)) == "Tensor(0x3, float32)"
    assert repr(tg.arange(20)) == "Tensor(20, int64, in [0, 19])"
    large = repr(tg.arange(64.0).reshape(8, 8))
    assert large == "Tensor(8x8, float32, in [0, 63], mean=31.5, std=18.5)"


def test_repr_names_gradient_and_operation() -> None:
    x = tg.ones(2, requires_grad=True)
    assert repr(x).endswith("float32, requires_grad)")
    assert repr(x * 2).endswith("grad_fn=Mul)")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_repr_of_extreme_values_is_silent(bad: float) -> None:
    small, large = tg.full((2,), bad), tg.full((3, 20), bad)
    large[0, 0] = 1
    assert f"{bad}"[0] in repr(small)
    assert ("NaN!" in repr(large)) == np.isnan(bad)
    assert "\n" not in repr(large)


def test_repr_of_other_dtypes() -> None:
    assert "bool" in repr(tg.zeros(20, dtype=bool))
    assert "complex" in repr(Tensor(np.ones(20, complex)))


# ------------------------------------------------------------------------ shapes

SHAPES = {
    "reshape": lambda x: x.reshape(4, 6),
    "reshape tuple": lambda x: x.reshape((2, 12)),
    "reshape -1": lambda x: x.reshape(-1, 3),
    "view": lambda x: x.view(-1),
    "view numpy integer": lambda x: x.reshape(int(np.prod(x.shape))),
    "flatten": lambda x: x.flatten(),
    "flatten from 1": lambda x: x.flatten(1),
    "flatten middle": lambda x: x.flatten(1, 2),
    "flatten negative": lambda x: x.flatten(-2, -1),
    "transpose": lambda x: x.transpose(0, -1),
    "permute": lambda x: x.permute(2, 0, 3, 1),
    "permute tuple": lambda x: x.permute((3, 2, 1, 0)),
    "squeeze": lambda x: x.squeeze(),
    "squeeze one": lambda x: x.squeeze(1),
    "squeeze negative": lambda x: x.squeeze(-3),
    "squeeze two": lambda x: x.squeeze((0, 1)),
    "squeeze nothing": lambda x: x.squeeze(0),
    "unsqueeze": lambda x: x.unsqueeze(0),
    "unsqueeze last": lambda x: x.unsqueeze(-1),
    "unsqueeze middle": lambda x: x.unsqueeze(2),
    "expand": lambda x: x.expand(2, 5, 3, 4),
    "expand keeps": lambda x: x.expand(-1, 5, -1, -1),
    "expand leads": lambda x: x.expand(7, 2, 1, 3, 4),
    "expand tuple": lambda x: x.expand((2, 2, 3, 4)),
    "t": lambda x: x[0, 0].t(),
    "T": lambda x: x[0, 0].T,
    "contiguous": lambda x: x.transpose(0, 3).contiguous(),
    "clone": lambda x: x.transpose(0, 3).clone(),
    "view_as": lambda x: x.view_as(x.reshape(24)),
    "chain": lambda x: x.squeeze().permute(1, 2, 0).reshape(3, 8).unsqueeze(1).flatten(1),
}


@pytest.mark.parametrize("change", SHAPES.values(), ids=SHAPES)
def test_shapes_are_torchs(change: Change) -> None:
    ours, theirs = both(values(2, 1, 3, 4))
    ours.requires_grad_()
    theirs.requires_grad_()
    result, wanted = change(ours), change(theirs)
    assert_same(result, wanted)
    (result * result).sum().backward()
    (wanted * wanted).sum().backward()
    assert ours.grad is not None
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), rtol=1e-6)
    assert ours.grad.shape == ours.shape


@pytest.mark.parametrize("name", ["squeeze 0", "unsqueeze 1", "reshape 1 3 4 5 1"])
def test_axes_of_size_1_come_and_go_without_copying(name: str) -> None:
    method, *sizes = name.split()
    for ours in (tg.zeros(1, 5, 3, 4), tg.zeros(1, 2, 5, 3, 4)[:, 0]):
        view = getattr(ours.permute(0, 2, 3, 1), method)(*map(int, sizes))
        view.fill_(1)
        assert ours.sum().item() == ours.numel()


def test_view_of_one_number_per_axis_and_of_none() -> None:
    x = tg.tensor([[3.0]])
    assert x.squeeze().shape == ()
    assert x.squeeze().squeeze(0).shape == ()
    assert x.squeeze().reshape(1, 1, 1).shape == (1, 1, 1)
    assert x.squeeze().flatten().shape == (1,)
    assert x.squeeze().unsqueeze(0).unsqueeze(-1).shape == (1, 1)
    assert x.squeeze().permute().shape == ()


def test_size_and_friends() -> None:
    x = tg.zeros(2, 3, 4)
    assert (x.size(), x.size(1), x.size(-1)) == ((2, 3, 4), 3, 4)
    assert (x.dim(), x.ndim, x.numel(), len(x)) == (3, 3, 24, 2)


BAD_SHAPES = {
    "reshape": (lambda x: x.reshape(5, 5), ValueError, r"reshape \(2, 1, 3, 4\) \(24 elements\)"),
    "two -1": (lambda x: x.view(-1, -1), ValueError, r"into \(-1, -1\)"),
    "flatten": (lambda x: x.flatten(2, 1), ValueError, "flatten from axis 2 to 1"),
    "flatten axis": (lambda x: x.flatten(4), IndexError, "axis 4 is out of range"),
    "transpose": (lambda x: x.transpose(0, 4), IndexError, r"axis 4 .* shape \(2, 1, 3, 4\)"),
    "permute twice": (lambda x: x.permute(0, 0, 1, 2), ValueError, "each of 4 axes once"),
    "permute few": (lambda x: x.permute(1, 0), ValueError, "each of 4 axes once"),
    "squeeze": (lambda x: x.squeeze(4), IndexError, "axis 4 is out of range"),
    "unsqueeze": (lambda x: x.unsqueeze(5), IndexError, "axis 5 is out of range for 4 axes"),
    "unsqueeze low": (lambda x: x.unsqueeze(-6), IndexError, "axis -6 is out of range"),
    "expand size": (lambda x: x.expand(2, 1, 5, 4), ValueError, r"expand \(2, 1, 3, 4\) to"),
    "expand few": (lambda x: x.expand(3, 4), ValueError, "cannot expand"),
    "expand -1": (lambda x: x.expand(-1, 2, 1, 3, 4), ValueError, "cannot expand"),
    "sum": (lambda x: x.sum(4), IndexError, "axis 4 is out of range"),
    "split": (lambda x: x.split([1, 1], 2), ValueError, r"\[1, 1\] do not divide axis 2.* 3"),
    "split zero": (lambda x: x.split(0), ValueError, "do not divide axis 0"),
    "split negative": (lambda x: x.split([-1, 3]), ValueError, "do not divide axis 0"),
    "chunk": (lambda x: x.chunk(0), ValueError, "at least one piece, got chunks=0"),
    "split number": (lambda x: x.sum().split(1), ValueError, "no axes cannot be split"),
    "matmul": (lambda x: x @ x, ValueError, r"matmul needs .* got \(2, 1, 3, 4\) @"),
    "matmul number": (lambda x: x @ x.sum(), ValueError, "matmul needs"),
    "bmm": (lambda x: x.bmm(x), ValueError, "bmm needs two 3-d stacks"),
    "gather": (lambda x: x.gather(0, x), ValueError, "integer index with 4 axes, got float32"),
    "gather behind": (
        lambda x: x.gather(0, x.argmin(0, keepdim=True) - 1),
        IndexError,
        "counts from 0 on, got an index of -1",
    ),
    "clamp": (lambda x: x.clamp(), ValueError, "min, max or both"),
    "retain_grad": (lambda x: x.retain_grad(), RuntimeError, "requires a gradient"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_errors_say_what_does_not_fit(call: Change, error: type[Exception], message: str) -> None:
    ours, theirs = both(values(2, 1, 3, 4))
    with pytest.raises(error, match=message):
        call(ours)
    with pytest.raises((RuntimeError, ValueError, IndexError, TypeError)):
        call(theirs)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("pieces", [1, 2, 3, 4, 5, 6, 9])
def test_chunk_and_split_are_torchs(pieces: int, dim: int) -> None:
    ours, theirs = both(values(5, 6))
    for name in ("chunk", "split"):
        got, wanted = getattr(ours, name)(pieces, dim), getattr(theirs, name)(pieces, dim)
        assert len(got) == len(wanted)
        for piece, other in zip(got, wanted, strict=True):
            assert_same(piece, other)
            assert np.shares_memory(piece.data, ours.data)


def test_split_by_sizes_and_of_nothing() -> None:
    ours, theirs = both(values(5, 0))
    for run in (
        lambda x: x.split([2, 0, 3]),
        lambda x: x.split(2, dim=1),
        lambda x: x.split(0, dim=1),
        lambda x: x.chunk(3, dim=1),
    ):
        assert [t.shape for t in run(ours)] == [tuple(t.shape) for t in run(theirs)]


def test_gradients_of_split_pieces_come_together() -> None:
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    a, b = x.split([1, 2])
    (a * 10 + b.sum()).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [10, 1, 1]


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("keepdim", [False, True])
def test_extrema_along_an_axis_are_pairs(name: str, keepdim: bool) -> None:
    ours, theirs = both(values(3, 4))
    got, wanted = getattr(ours, name)(1, keepdim), getattr(theirs, name)(1, keepdim)
    assert_same(got.values, wanted.values)
    assert_same(got.indices, wanted.indices)
    best, _ = getattr(ours, name)(0)
    assert_same(best, getattr(theirs, name)(0)[0])
    assert_same(getattr(ours, name)(), getattr(theirs, name)())
    assert_same(getattr(ours, f"arg{name}")(1, keepdim), getattr(theirs, f"arg{name}")(1, keepdim))
    assert_same(getattr(ours, f"arg{name}")(), getattr(theirs, f"arg{name}")())
    with pytest.raises(ValueError, match="at least one element"):
        getattr(tg.zeros(0), name)()


@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "amax", "amin"])
@pytest.mark.parametrize("dim", [None, 0, -1, (0, 2)], ids=str)
@pytest.mark.parametrize("keepdim", [False, True])
def test_reductions_take_torchs_arguments(name: str, dim: object, keepdim: bool) -> None:
    if dim is None and name.startswith("a"):
        dim = ()  # torch's spelling of "all axes" for amax
        ours, theirs = both(values(2, 3, 4))
        got = getattr(ours, name)(keepdim=keepdim)
    else:
        ours, theirs = both(values(2, 3, 4))
        got = getattr(ours, name)(dim=dim, keepdim=keepdim)
    wanted = getattr(theirs, name)(dim=dim, keepdim=keepdim)
    assert got.shape == tuple(wanted.shape)
    np.testing.assert_allclose(got.data, wanted.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "amax", "amin"])
def test_to_reduce_over_no_named_axis_is_to_reduce_over_all(name: str) -> None:
    ours, theirs = both(np.arange(6.0).reshape(2, 3))
    got, wanted = getattr(ours, name)(dim=()), getattr(theirs, name)(dim=())
    assert got.shape == ()
    assert got.item() == pytest.approx(wanted.item())


@pytest.mark.parametrize("name", ["var", "std"])
@pytest.mark.parametrize("arguments", [(False,), (True,), (0, False), (1, True, True)], ids=str)
def test_the_old_flag_of_unbiased_moments(name: str, arguments: tuple) -> None:
    ours, theirs = both(np.array([[1.0, 2.0, 6.0], [3.0, 5.0, 7.0]]))
    got, wanted = getattr(ours, name)(*arguments), getattr(theirs, name)(*arguments)
    assert got.shape == tuple(wanted.shape)
    np.testing.assert_allclose(got.data, wanted.numpy())


NO_AXES = {
    "cumsum": lambda m, x: x.cumsum(0),
    "max": lambda m, x: x.max(0).values,
    "min": lambda m, x: x.min(-1, keepdim=True).values,
    "index": lambda m, x: x.max(0).indices,
    "transpose": lambda m, x: x.transpose(0, -1),
    "gather": lambda m, x: x.gather(0, m.tensor(0)),
    "softmax": lambda m, x: x.softmax(0),
}


@pytest.mark.parametrize("run", NO_AXES.values(), ids=NO_AXES)
def test_a_number_counts_as_one_axis(run: Callable[..., Any]) -> None:
    ours, theirs = both(np.array(3.0))
    ours.requires_grad_()
    theirs.requires_grad_()
    got, wanted = run(tg, ours), run(torch, theirs)
    assert_same(got, wanted)
    if got.requires_grad:
        (got * 2).backward()
        (wanted * 2).backward()
        assert ours.grad is not None
        assert_same(ours.grad, theirs.grad)


@pytest.mark.parametrize("name", ["max", "min"])
def test_extrema_of_an_empty_batch(name: str) -> None:
    ours, theirs = both(np.zeros((0, 3), np.float32))
    for got, wanted in zip(getattr(ours, name)(1), getattr(theirs, name)(1), strict=True):
        assert_same(got, wanted)
    for x, arguments in ((ours, (0,)), (tg.zeros(3, 0), (1,)), (ours, ())):
        with pytest.raises(ValueError, match="at least one element, got shape"):
            getattr(x, name)(*arguments)


# ------------------------------------------------------------------------ operations of one's own


class Cube(Function):
    """y = x³, as a user would write it."""

    def forward(self, x: np.ndarray, scale: float) -> np.ndarray:
        self.scale = scale
        self.save_for_backward(x)
        return scale * x**3

    def backward(self, grad: np.ndarray) -> np.ndarray:
        (x,) = self.saved
        return grad * 3 * self.scale * x**2


def test_apply_runs_an_operation_of_ones_own() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = tg.apply(Cube, x, scale=2.0)
    assert y.tolist() == [2, 16]
    assert "grad_fn=Cube" in repr(y)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [6, 24]


def test_each_method_is_found_by_its_name_as_pickle_does() -> None:
    for method in vars(Tensor).values():
        if inspect.isfunction(method):
            assert getattr(Tensor, method.__name__) is method
    assert pickle.loads(pickle.dumps(tg.relu)) is tg.relu

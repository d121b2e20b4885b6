"""`Tensor`: an array, its gradient, and the operation that made it.

The methods are PyTorch's. Each one prepares its arguments and calls `apply` on an operation from
`tinygrad_fm.ops`; the derivatives are written there.

Where we differ from PyTorch: `.data` is the NumPy array itself, a dtype is a NumPy dtype, and
`x += y` on a recorded tensor makes a new tensor instead of writing into the old memory.
"""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import wraps
from itertools import count
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinygrad_fm import ops
from tinygrad_fm.autograd.mode import enable_grad, mode, tell
from tinygrad_fm.autograd.promotion import holds_float64, result_type
from tinygrad_fm.formatting import describe
from tinygrad_fm.ops.elementwise import floor_divide, remainder
from tinygrad_fm.ops.fast.memory import copy_of
from tinygrad_fm.ops.function import Function
from tinygrad_fm.ops.readonly import write_into
from tinygrad_fm.ops.shape import ARRAY

next_number = count(1).__next__
new_tensor = object.__new__  # without `__init__` and its questions
PICKLED = ("_requires_grad", "data", "grad", "grad_fn")
Scalar = int | float | bool | complex
Flag = bool  # inside the class `bool` is the method
Dim = int | Sequence[int] | None
Unary = Callable[["Tensor"], "Tensor"]
Binary = Callable[["Tensor", Any], "Tensor"]


class RemovableHandle:
    """What registering a hook returns; `remove()` takes the hook off again."""

    def __init__(self, hooks: dict[Any, Callable], key: object) -> None:
        self.hooks, self.key = hooks, key

    def remove(self) -> None:
        """Take the hook off; a second time does nothing."""
        self.hooks.pop(self.key, None)


def numpy_names(reduction: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a reduction take `axis=` and `keepdims=` as well, as PyTorch's do."""

    @wraps(reduction)
    def renamed(self: Tensor, *args: Any, **options: Any) -> Tensor:
        if "axis" in options:
            options["dim"] = options.pop("axis")
        if "keepdims" in options:
            options["keepdim"] = options.pop("keepdims")
        return reduction(self, *args, **options)

    return renamed


class MinMax(NamedTuple):
    """What `max(dim)` and `min(dim)` return."""

    values: Tensor
    indices: Tensor


def apply(operation: type[Function], *inputs: Tensor, **options: Any) -> Tensor:
    """Run an operation on tensors and, if any of them wants a gradient, record it.

    `options` are handed to the operation's `forward` as they are. This is also the way to use an
    operation of your own: `apply(MyFunction, x, y, alpha=2.0)`.
    """
    node = operation()
    recording, runner = mode.stack[-1]
    if recording:
        # One loop for all that is asked of the inputs: comprehensions would cost twice as much.
        arrays, needs, edges = [], [], []
        for t in inputs:
            arrays.append(t.data)
            wants = t._requires_grad
            needs.append(wants)
            edges.append((t.grad_fn or t) if wants else None)
        node.needs_input_grad = tuple(needs)
        recording = True in needs
    else:
        arrays = [t.data for t in inputs]
    if runner is None:
        data = node.forward(*arrays, **options)
    else:
        data = runner(node, node.forward, tuple(arrays), options)
    result = new_tensor(Tensor)
    result.data = data if type(data) is np.ndarray else np.asarray(data)
    result.grad = None
    result._requires_grad = recording
    if recording:
        node.edges = edges
        node.number = next_number()
        node.output_shape = result.data.shape
        if options:
            node.options = options
        if node.saved:
            node.ids = [*map(id, arrays), id(result.data)]
        result.grad_fn = node
    else:
        result.grad_fn = None
    return result


def discrete(function: Callable[..., Any], *inputs: Tensor, **how: Any) -> Tensor:
    """function(*arrays, **how), to which no gradient flows: see `ops.Discrete`."""
    node, arrays = ops.Discrete(), tuple(t.data for t in inputs)
    how["function"] = function
    if mode.runner is None:
        return Tensor(node.forward(*arrays, **how))
    return Tensor(mode.runner(node, node.forward, arrays, how))


def view_of(x: Tensor, operation: type[Function], **options: Any) -> Tensor:
    """`apply` for an operation whose result shares x's memory (if it does): see `inplace.py`."""
    y = apply(operation, x, **options)
    base = y.data.base
    if base is not None and (base is x.data or base is x.data.base):
        y.viewed = (x, operation, options)
        y.root = root = getattr(x, "root", x)
        views = getattr(root, "views", None)
        if views is None:
            views = root.views = []
        elif len(views) >= 16 and len(views).bit_count() == 1:  # at 16, 32, … look for dead ones
            views[:] = [reference for reference in views if reference() is not None]
        views.append(weakref.ref(y))
    return y


# -------------------------------------------------------------------------------- conversions


def as_array(data: Any, dtype: DTypeLike | None = None) -> np.ndarray:
    """An array of `data`: arrays as they are, Python floats as float32."""
    if isinstance(data, Tensor):
        data = data.data
    array = np.asarray(data, dtype=dtype)
    if dtype is None and not hasattr(data, "dtype") and array.dtype == np.float64:
        array = array if holds_float64(data) else array.astype(np.float32)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"a tensor holds numbers, got {type(data).__name__} ({array.dtype})")
    return array


def as_tensor(data: Any) -> Tensor:
    """`data` as a tensor: a tensor as it is, anything else wrapped."""
    return data if isinstance(data, Tensor) else Tensor(data)


def unwrapped(value: Any) -> Any:
    """A tensor's array; numbers and lists as they are, for NumPy to fit to its other operand."""
    if isinstance(value, Tensor):
        return value.data
    return float(value) if isinstance(value, float) else value  # np.float64 would not give way


def as_shape(sizes: tuple) -> tuple[int, ...]:
    """Accept both f(2, 3) and f((2, 3))."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], Sequence) else sizes


def as_index(index: Any) -> tuple[tuple, list[np.ndarray]]:
    """An index as `ops.Index` takes it: its static parts, and the arrays among them.

    Tensors, sequences and booleans become arrays, single integers Python's.
    """
    static, arrays = [], []
    for part in index if isinstance(index, tuple) else (index,):
        part = _index_part(part)
        if isinstance(part, np.ndarray):
            arrays.append(part)
            part = ARRAY
        elif isinstance(part, slice):
            ends = (part.start, part.stop, part.step)
            part = tuple(None if end is None else operator.index(end) for end in ends)
        static.append(part)
    return tuple(static), arrays


def _index_part(part: Any) -> Any:
    if isinstance(part, Sequence):
        if not all(isinstance(i, int | np.generic) for i in part):
            raise TypeError(
                f"an index holds lists of integers or of booleans, got {part!r}; for an array of "
                "indices write x[tensor(…)], for one index for each axis x[…, …]"
            )
        part = np.asarray(part, dtype=None if part else np.int64)
    part = unwrapped(part)
    if isinstance(part, np.ndarray) and part.dtype == np.uint8:
        raise TypeError(
            "an index of uint8 could be a mask, as it is in PyTorch, or places; "
            "write x[mask.bool()] or x[places.long()]"
        )
    if isinstance(part, bool | np.generic):
        part = np.asarray(part)
    single = isinstance(part, np.ndarray) and part.ndim == 0 and part.dtype.kind in "iu"
    return int(part) if single else part


def pair(a: Any, b: Any, no_bool: str = "") -> tuple[Tensor, Tensor]:
    """Two operands as tensors of one dtype, by PyTorch's rules of promotion.

    A Python number takes the tensor's dtype (a float meets an integer tensor as float32), an
    integer tensor the dtype of a floating one, and a tensor without axes gives way to one with.

    Raises:
        TypeError: if `no_bool` names the operation and only one operand is boolean. (Of two
            booleans NumPy itself refuses the difference: nothing is asked where dtypes agree.)
    """
    if not isinstance(a, Tensor):
        a = _like(a, b if isinstance(b, Tensor) else as_tensor(b), no_bool)
    if not isinstance(b, Tensor):
        b = _like(b, a, no_bool)
    if a.data.dtype is b.data.dtype:
        return a, b
    if no_bool:
        numbers(a, no_bool)
        numbers(b, no_bool)
    dtype = result_type(a.data, b.data)
    return a.to(dtype), b.to(dtype)


def float_pair(a: Any, b: Any, what: str = "") -> tuple[Tensor, Tensor]:
    """As `pair`, but integers meet as float32, where a byte may be divided by 256."""
    if not any(isinstance(x, Tensor) and x.data.dtype.kind in "fc" for x in (a, b)):
        a, b = (x.float() if isinstance(x, Tensor) else x for x in (a, b))
    return pair(a, b)


def number_pair(a: Any, b: Any, what: str) -> tuple[Tensor, Tensor]:
    """As `pair`, but two booleans are refused: NumPy would count them as integers of 8 bits."""
    a, b = pair(a, b)
    return numbers(a, what), b


def _like(value: Any, tensor: Tensor, no_bool: str = "") -> Tensor:
    value = unwrapped(value)
    if isinstance(value, Scalar):
        if no_bool and isinstance(value, bool):
            numbers(Tensor(value), no_bool)
        kinds = "iufc" if isinstance(value, int) else "fc" if isinstance(value, float) else "c"
        return Tensor(value, dtype=tensor.dtype if tensor.dtype.kind in kinds else None)
    return Tensor(value)


def numbers(x: Tensor, what: str) -> Tensor:
    """x, unless it is boolean.

    Raises:
        TypeError: naming the operation `what`.
    """
    if x.data.dtype.kind == "b":
        raise TypeError(
            f"{what} is not defined for booleans; invert a mask with ~, count with x.long()"
        )
    return x


def floats(x: Tensor, what: str = "") -> Tensor:
    """x, and as float32 if it is integer or boolean."""
    return x if x.data.dtype.kind in "fc" else x.float()


# -------------------------------------------------------------------------------- rules of methods


def elementwise(operation: type[Function], doc: str, prepared: Callable = floats) -> Unary:
    """A method that applies an operation to the tensor, as `prepared` makes it fit."""
    name = operation.__name__.lower()

    def method(self: Tensor) -> Tensor:
        return apply(operation, prepared(self, name))

    method.__doc__ = doc
    return method


def arithmetic(
    operation: type[Function], operands: Callable, ufunc: Callable, what: str = ""
) -> tuple[Binary, Binary, Binary]:
    """An operator's methods: `self + other`, `other + self`, and `self += other`.

    `operands` makes two tensors of both that fit, or raises an error that says `what`. Where
    nothing is recorded, and nobody watches, `ufunc` writes at once.
    """

    def left(self: Tensor, other: Any) -> Tensor:
        return apply(operation, *operands(self, other, what))

    def right(self: Tensor, other: Any) -> Tensor:
        return apply(operation, *operands(other, self, what))

    def into(self: Tensor, other: Any) -> Tensor:
        """The operator in place."""
        wants = getattr(self, "root", self)._requires_grad
        wants = wants or (isinstance(other, Tensor) and other._requires_grad)
        if ((mode.recording and wants) or mode.runner) and self.dtype.kind in "fc":
            return self._in_place(lambda x: left(x, other), other)
        if ufunc is np.subtract:
            numbers(self, what)
            numbers(as_tensor(other), what)
        value = unwrapped(other)
        if isinstance(other, Tensor) and self.dtype.kind in "iu" and value.dtype.kind in "iu":
            value = value.astype(self.dtype)  # any integers, as in PyTorch; never floats
        write_into(self.data, lambda: ufunc(self.data, value, out=self.data, casting="same_kind"))
        return self

    return left, right, into


def of_array(name: str, doc: str) -> Any:
    """A property that is the array's own."""
    return property(attrgetter(f"data.{name}"), doc=doc)


def comparison(ufunc: np.ufunc) -> Binary:
    """A method whose values, booleans or bits, have no gradient."""

    def method(self: Tensor, other: Any) -> Any:
        if isinstance(other, Tensor):  # of one dtype; NumPy fits a number or a list
            return discrete(ufunc, *pair(self.detach(), other.detach()))
        if isinstance(other, np.generic | Scalar):
            return discrete(ufunc, self, numbers=(unwrapped(other),))
        if not isinstance(other, np.ndarray | list | tuple):
            return NotImplemented  # x == None is False, x < None raises
        return discrete(ufunc, self, Tensor(np.asarray(other)))

    return method


class Tensor:
    """An n-dimensional array that remembers how it was computed.

    Args:
        data: an array (wrapped, not copied), a nested list or a number. Python floats become
            float32; NumPy arrays keep their dtype.
        dtype: a NumPy dtype, into which `data` is converted.
        requires_grad: whether `backward` should compute ∂L/∂(this tensor) into `.grad`.

    Raises:
        TypeError: if an integer or boolean tensor requires a gradient, or `data` holds no numbers.
    """

    __slots__ = (*PICKLED, "__weakref__", "hooks", "root", "viewed", "views")

    data: np.ndarray
    grad: Tensor | None
    grad_fn: Function | None
    shape: tuple[int, ...] = of_array("shape", "The length of each axis.")
    dtype: np.dtype = of_array("dtype", "The NumPy dtype of the elements.")
    ndim: int = of_array("ndim", "The number of axes.")
    hooks: dict[Any, Any]  # of a leaf; unset until there is one. Others have theirs in `grad_fn`
    root: Tensor  # what a view is a view of in the end; unset if it is none
    viewed: tuple[Tensor, type[Function], dict[str, Any]]  # one step towards it, and how
    views: list[weakref.ref[Tensor]]  # of a root

    def __init__(
        self, data: ArrayLike | Tensor, requires_grad: bool = False, dtype: DTypeLike | None = None
    ) -> None:
        self.data = as_array(data, dtype)
        self.grad = None
        self.grad_fn = None
        self._requires_grad = False
        if requires_grad:
            self.requires_grad = True

    # ---------------------------------------------------------------- the graph

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient flows to this tensor."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and self.data.dtype.kind not in "fc":
            raise TypeError(
                f"only floating-point tensors can require a gradient, got {self.data.dtype}; "
                "convert it first, as in x.float()"
            )
        if not value and self.grad_fn is not None:
            raise RuntimeError("this tensor was computed; use x.detach() to cut it from its graph")
        self._requires_grad = value

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` and return the tensor itself."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return self.grad_fn is None

    @property
    def edge(self) -> Any:
        """Where gradients of this tensor go: to the operation that made it, or to itself."""
        return self.grad_fn or self

    @staticmethod
    def at(array: np.ndarray, edge: Any) -> Tensor:
        """An array as the tensor whose gradients go to `edge` (None: nowhere)."""
        if not isinstance(edge, Tensor):
            tensor = Tensor(array)
            tensor.grad_fn, tensor._requires_grad = edge, edge is not None
        elif edge.data is array:
            tensor = edge
        else:  # the leaf has been given other memory since
            tensor = edge.view_as(edge)
            tensor.data = array
        return tensor

    def apply_function(self, operation: type[Function], *inputs: Any, **options: Any) -> Tensor:
        """What `Function.of` does where an input is a tensor."""
        return apply(operation, *map(as_tensor, inputs), **options)

    def detach(self) -> Tensor:
        """The same memory outside the graph."""
        return Tensor(self.data)

    def retain_grad(self) -> None:
        """Keep `.grad` of this computed tensor as well (leaves always keep theirs)."""
        this = weakref.ref(self)  # the graph should not keep its results alive

        def keep(gradient: Tensor) -> None:
            tensor = this()
            if tensor is not None:
                tensor.accumulate_grad(gradient, False)

        hooks = self._hooks("retain_grad")
        if self.grad_fn is not None:
            hooks[math.inf] = keep  # behind all others

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook` with ∂L/∂(this tensor) whenever `backward` has computed it.

        What the hook returns, unless None, takes the gradient's place.

        Raises:
            RuntimeError: if the tensor requires no gradient.
        """
        hooks, key = self._hooks("register_hook"), next_number()
        hooks[key] = hook
        return RemovableHandle(hooks, key)

    def _hooks(self, what: str) -> dict[Any, Any]:
        if not self._requires_grad:
            raise RuntimeError(f"{what} needs a tensor that requires a gradient")
        tell("stop", f"calls {what}")
        edge = self.edge
        if getattr(edge, "hooks", None) is None:
            edge.hooks = {}
        return edge.hooks

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Tensor | Sequence[Tensor] | None = None,
    ) -> None:
        """Add ∂L/∂(leaf) to the `.grad` of every leaf that this tensor was computed from.

        L is this tensor itself or, with `gradient`, whatever is computed from it. Arguments and
        errors are those of `autograd.backward`; `gradient` may be left out for a single element.
        """
        from tinygrad_fm.autograd.engine import backward  # which is built on tensors

        backward(self, gradient, retain_graph, create_graph, inputs)

    def accumulate_grad(self, grad: np.ndarray | Tensor, owned: Flag) -> None:
        """Add to `.grad`; memory that is not `owned` is copied, so that no two gradients share."""
        if isinstance(grad, Tensor):
            with enable_grad():
                self.grad = grad.clone() if self.grad is None else self.grad + grad
        elif self.grad is None:
            self.grad = Tensor(grad if owned else copy_of(grad))
        elif self.grad._requires_grad or not self.grad.data.flags.writeable:
            self.grad = Tensor(self.grad.data + grad)
        else:
            self.grad.data += grad

    # ---------------------------------------------------------------- looking at it

    @property
    def T(self) -> Tensor:
        """The axes in reverse order: the transpose of a matrix (a view)."""
        return self.permute(*reversed(range(self.ndim)))

    def t(self) -> Tensor:
        """The transpose of a matrix (a view); vectors and numbers as they are.

        Raises:
            ValueError: of more than two axes.
        """
        if self.ndim > 2:
            raise ValueError(f"t() transposes a matrix, got shape {self.shape}; use permute or T")
        return self.T

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one axis."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of axes."""
        return self.ndim

    def numel(self) -> int:
        """The number of elements."""
        return self.data.size

    def item(self) -> Any:
        """The single element as a Python number.

        Raises:
            ValueError: if there is not exactly one.
        """
        tell("stop", "reads a tensor's value (item, float, int)")
        return self.data.item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        tell("stop", "reads a tensor's values (tolist)")
        return self.data.tolist()

    def numpy(self) -> np.ndarray:
        """The array itself, sharing memory.

        Raises:
            RuntimeError: if the tensor requires a gradient, as in PyTorch.
        """
        if self._requires_grad:
            raise RuntimeError("this tensor requires a gradient; use x.detach().numpy()")
        tell("stop", "reads a tensor's values (numpy)")
        return self.data

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        from tinygrad_fm.autograd.protocols import array_ufunc  # which is built on tensors

        return array_ufunc(ufunc, method, *inputs, **options)

    def __array_function__(self, function: Any, types: Any, args: tuple, options: dict) -> Any:
        from tinygrad_fm.autograd.protocols import array_function

        return array_function(function, args, options)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("a tensor with no axes has no length")
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        tell("stop", "branches on a tensor's value (bool)")
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.item())

    def __format__(self, spec: str) -> str:
        """A number as in f"{loss:.3f}"; without a format, as `str` does."""
        return format(self.item(), spec) if spec else str(self)

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        """What is pickled: all but hooks, and who is a view of whom."""
        return None, {name: getattr(self, name) for name in PICKLED}

    def __deepcopy__(self, memo: dict) -> Tensor:
        if self.grad_fn is not None:
            raise RuntimeError("only leaf tensors can be deep-copied; copy x.detach() instead")
        twin = type(self)(self.data.copy(order="K"), self._requires_grad)
        twin.grad = deepcopy(self.grad, memo)
        return twin

    def __repr__(self) -> str:
        """Shape, dtype, range, mean and deviation, and where the tensor comes from."""
        tell("stop", "prints a tensor")
        origin = "requires_grad" if self._requires_grad else ""
        if self.grad_fn is not None:
            origin = f"grad_fn={self.grad_fn.name()}"
        return describe(type(self).__name__, self.data, origin)

    # ---------------------------------------------------------------- types

    def to(self, dtype: DTypeLike) -> Tensor:
        """The tensor in another dtype; gradients flow between floating-point types.

        ("cpu" is where every tensor is: it returns the tensor itself, and so does `cpu()`.)
        """
        dtype = self.dtype if isinstance(dtype, str) and dtype == "cpu" else np.dtype(dtype)
        if dtype == self.dtype:
            return self
        if dtype.kind not in "fc":
            return discrete(np.ndarray.astype, self, dtype=dtype)
        return apply(ops.Cast, self, dtype=dtype)

    def float(self) -> Tensor:
        """The tensor in float32."""
        return self.to(np.float32)

    def double(self) -> Tensor:
        """The tensor in float64."""
        return self.to(np.float64)

    def long(self) -> Tensor:
        """The tensor in int64."""
        return self.to(np.int64)

    def bool(self) -> Tensor:
        """True where an element is not 0."""
        return self.to(np.bool_)

    def cpu(self) -> Tensor:
        """The tensor itself: it is on the CPU."""
        return self

    def clone(self) -> Tensor:
        """A copy, through which gradients flow."""
        return apply(ops.Clone, self)

    def contiguous(self) -> Tensor:
        """The tensor with its elements in row-major order in memory."""
        return self if self.data.flags.c_contiguous else apply(ops.Clone, self, order="C")

    # ---------------------------------------------------------------- arithmetic

    __add__, __radd__, __iadd__ = arithmetic(ops.Add, pair, np.add)
    __sub__, __rsub__, __isub__ = arithmetic(ops.Sub, pair, np.subtract, "subtraction")
    __mul__, __rmul__, __imul__ = arithmetic(ops.Mul, pair, np.multiply)
    __truediv__, __rtruediv__, __itruediv__ = arithmetic(ops.Div, float_pair, np.divide)
    __pow__, __rpow__, __ipow__ = arithmetic(ops.Pow, number_pair, np.power, "**")
    # ⌊a/b⌋ has no derivative: a `backward` that comes there raises, as in PyTorch.
    __floordiv__, __rfloordiv__, __ifloordiv__ = arithmetic(
        ops.FloorDiv, number_pair, floor_divide, "//"
    )
    __mod__, __rmod__, __imod__ = arithmetic(ops.Remainder, number_pair, remainder, "%")
    pow, mul_, div_ = __pow__, __imul__, __itruediv__

    def add_(self, other: Any, alpha: Any = 1) -> Tensor:
        """x += alpha·other, in place."""
        return self.__iadd__(other if alpha == 1 else as_tensor(other) * alpha)

    def sub_(self, other: Any, alpha: Any = 1) -> Tensor:
        """x -= alpha·other, in place."""
        return self.__isub__(other if alpha == 1 else as_tensor(other) * alpha)

    def matmul(self, other: Any) -> Tensor:
        """(…, n, k) @ (…, k, m) → (…, n, m), leading axes broadcast.

        A vector counts as one row (left) or column (right).

        Raises:
            ValueError: if the shapes do not fit.
        """
        a, b = number_pair(self, other, "matmul")
        if a.ndim == 0 or b.ndim == 0 or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
            raise ValueError(
                f"matmul needs (…, n, k) @ (…, k, m), got {a.shape} @ {b.shape}; "
                "the last axis of the left must equal the last but one of the right"
            )
        return apply(ops.Matmul, a, b)

    __matmul__ = matmul

    def __rmatmul__(self, other: Any) -> Tensor:
        return as_tensor(other) @ self

    def __pos__(self) -> Tensor:
        return numbers(self, "+")

    def __neg__(self) -> Tensor:
        return apply(ops.Neg, numbers(self, "negation"))

    def mm(self, other: Tensor) -> Tensor:
        """(n, k) @ (k, m) → (n, m), of matrices only."""
        if self.ndim != 2 or other.ndim != 2:
            raise ValueError(f"mm needs two matrices, got {self.shape} and {other.shape}")
        return self @ other

    def bmm(self, other: Tensor) -> Tensor:
        """(N, n, k) @ (N, k, m) → (N, n, m), without broadcasting."""
        if self.ndim != 3 or other.ndim != 3 or self.shape[0] != other.shape[0]:
            raise ValueError(
                f"bmm needs two 3-d stacks of the same length, got {self.shape} and "
                f"{other.shape}; for broadcasting use matmul"
            )
        return self @ other

    # ---------------------------------------------------------------- comparison

    __eq__: ClassVar[Binary] = comparison(np.equal)  # type: ignore[assignment]
    __ne__: ClassVar[Binary] = comparison(np.not_equal)  # type: ignore[assignment]
    __lt__, __le__ = comparison(np.less), comparison(np.less_equal)
    __gt__, __ge__ = comparison(np.greater), comparison(np.greater_equal)
    eq, ne, lt, le, gt, ge = __eq__, __ne__, __lt__, __le__, __gt__, __ge__
    __hash__ = object.__hash__

    __and__ = __rand__ = comparison(np.bitwise_and)
    __or__ = __ror__ = comparison(np.bitwise_or)
    __xor__ = __rxor__ = comparison(np.bitwise_xor)

    def __invert__(self) -> Tensor:
        return discrete(np.invert, self)

    @numpy_names
    def all(self, dim: Dim = None, keepdim: Flag = False) -> Tensor:
        """Whether all elements are true (not 0)."""
        return discrete(np.all, self, axis=self._axes(dim), keepdims=keepdim)

    @numpy_names
    def any(self, dim: Dim = None, keepdim: Flag = False) -> Tensor:
        """Whether any element is true (not 0)."""
        return discrete(np.any, self, axis=self._axes(dim), keepdims=keepdim)

    # ---------------------------------------------------------------- elementwise functions

    exp = elementwise(ops.Exp, "eˣ.")
    expm1 = elementwise(ops.Expm1, "eˣ - 1, exact for small x.")
    log = elementwise(ops.Log, "ln x: -∞ at 0, NaN below.")
    log1p = elementwise(ops.Log1p, "ln(1 + x), exact for small x.")
    sqrt = elementwise(ops.Sqrt, "√x.")
    sin = elementwise(ops.Sin, "sin x.")
    cos = elementwise(ops.Cos, "cos x.")
    erf = elementwise(ops.Erf, "erf x = 2/√π ∫₀ˣ e^(-t²) dt.")
    tanh = elementwise(ops.Tanh, "(eˣ - e⁻ˣ)/(eˣ + e⁻ˣ).")
    sigmoid = elementwise(ops.Sigmoid, "1/(1 + e⁻ˣ).")
    abs = __abs__ = elementwise(ops.Abs, "|x|.", numbers)
    relu = elementwise(ops.ReLU, "max(x, 0).", numbers)

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """Elements below `min` become `min`, those above `max` become `max`; tensors broadcast."""
        if min is None and max is None:
            raise ValueError("clamp needs min, max or both; got neither")
        x = self
        for bound in (min, max):
            x = x if bound is None else pair(x, bound)[0]
        if not isinstance(min, Tensor) and not isinstance(max, Tensor):
            return apply(ops.Clamp, x, low=unwrapped(min), high=unwrapped(max))
        for bound, beyond in ((min, np.less), (max, np.greater)):
            if bound is not None:
                b, x = pair(bound, x)
                beside = beyond(x.data, b.data) | (b.data != b.data)  # a bound of NaN gives NaN
                x = apply(ops.Where, Tensor(beside), b, x)
        return x

    # ---------------------------------------------------------------- reductions

    @numpy_names
    def sum(self, dim: Dim = None, keepdim: Flag = False, dtype: DTypeLike | None = None) -> Tensor:
        """Σ over `dim` (all axes if None). Integers and booleans add up to int64."""
        x = self if dtype is None else self.to(dtype)
        x = x if x.dtype.kind in "fc" else x.long()
        return apply(ops.Sum, x, axes=x._reduced(dim), keepdim=keepdim)

    @numpy_names
    def mean(self, dim: Dim = None, keepdim: Flag = False) -> Tensor:
        """Σ x / n over `dim` (all axes if None).

        Raises:
            TypeError: of integers or booleans.
        """
        self._need_float("mean")
        return apply(ops.Mean, self, axes=self._reduced(dim), keepdim=keepdim)

    @numpy_names
    def var(self, dim: Dim = None, correction: Any = 1, keepdim: Flag = False) -> Tensor:
        """Σ (x - μ)² / (n - correction) over `dim` (all axes if None).

        A correction of 1, PyTorch's default, makes the estimate unbiased; `var(False)` is biased.

        Raises:
            TypeError: of integers or booleans.
        """
        return self._spread(ops.Var, dim, correction, keepdim)

    @numpy_names
    def std(self, dim: Dim = None, correction: Any = 1, keepdim: Flag = False) -> Tensor:
        """√var; of constant numbers 0, and so is its gradient."""
        return self._spread(ops.Std, dim, correction, keepdim)

    def _spread(self, of: type[Function], dim: Dim, correction: Any, keepdim: Flag) -> Tensor:
        self._need_float(of.__name__.lower())
        if isinstance(dim, Flag):
            dim, correction = None, dim
        axes = self._reduced(dim)
        return apply(of, self, axes=axes, keepdim=keepdim, correction=correction)

    @numpy_names
    def prod(self, dim: Dim = None, keepdim: Flag = False) -> Tensor:
        """The product over `dim` (all axes if None). Integers and booleans give int64."""
        x = self if self.dtype.kind in "fc" else self.long()
        return apply(ops.Prod, x, axes=x._axes(dim), keepdim=keepdim)

    def logsumexp(self, dim: Dim, keepdim: Flag = False) -> Tensor:
        """ln Σ eˣ, shifted by max x so that nothing overflows."""
        return apply(ops.LogSumExp, floats(self), axes=self._reduced(dim), keepdim=keepdim)

    @overload
    def max(self, dim: None = None, keepdim: Flag = False) -> Tensor: ...
    @overload
    def max(self, dim: int, keepdim: Flag = False) -> MinMax: ...
    def max(self, dim: int | None = None, keepdim: Flag = False) -> Any:
        """The largest element, or with `dim` a pair (values, indices). The first of ties wins."""
        return self._extremum(Tensor.amax, Tensor.argmax, dim, keepdim)

    @overload
    def min(self, dim: None = None, keepdim: Flag = False) -> Tensor: ...
    @overload
    def min(self, dim: int, keepdim: Flag = False) -> MinMax: ...
    def min(self, dim: int | None = None, keepdim: Flag = False) -> Any:
        """The smallest element, or with `dim` a pair (values, indices). The first of ties wins."""
        return self._extremum(Tensor.amin, Tensor.argmin, dim, keepdim)

    @numpy_names
    def amax(self, dim: Dim = None, keepdim: Flag = False) -> Tensor:
        """The largest element along axes; ties share the gradient evenly."""
        return apply(ops.Extremum, self, axes=self._reduced(dim), keepdim=keepdim, largest=True)

    @numpy_names
    def amin(self, dim: Dim = None, keepdim: Flag = False) -> Tensor:
        """The smallest element along axes; ties share the gradient evenly."""
        return apply(ops.Extremum, self, axes=self._reduced(dim), keepdim=keepdim, largest=False)

    def _extremum(self, value: Callable, place: Callable, dim: int | None, keepdim: Flag) -> Any:
        if math.prod(self.shape[i] for i in self._axes(dim)) == 0:
            raise ValueError(f"max and min need at least one element, got shape {self.shape}")
        if dim is None:
            return value(self)
        indices = place(self, dim, keepdim=True)
        values = self.gather(dim, indices)
        if not keepdim:
            values, indices = values.squeeze(dim), indices.squeeze(dim)
        return MinMax(values, indices)

    @numpy_names
    def argmax(self, dim: int | None = None, keepdim: Flag = False) -> Tensor:
        """The index of the (first) largest element."""
        return discrete(np.argmax, self, axis=dim, keepdims=keepdim)

    @numpy_names
    def argmin(self, dim: int | None = None, keepdim: Flag = False) -> Tensor:
        """The index of the (first) smallest element."""
        return discrete(np.argmin, self, axis=dim, keepdims=keepdim)

    def cumsum(self, dim: int) -> Tensor:
        """y[i] = x[0] + … + x[i] along an axis."""
        x = self if self.dtype.kind in "fc" else self.long()
        return apply(ops.CumSum, x, axis=self._axis(dim))

    def softmax(self, dim: int) -> Tensor:
        """e^xᵢ / Σⱼ e^xⱼ along an axis.

        Raises:
            TypeError: of integers or booleans.
        """
        self._need_float("softmax")
        return apply(ops.Softmax, self, axis=self._axis(dim))

    def log_softmax(self, dim: int) -> Tensor:
        """xᵢ - ln Σⱼ e^xⱼ along an axis.

        Raises:
            TypeError: of integers or booleans.
        """
        self._need_float("log_softmax")
        return apply(ops.LogSoftmax, self, axis=self._axis(dim))

    # ---------------------------------------------------------------- shapes

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; one size may be -1."""
        wanted = as_shape(shape)
        try:
            if wanted and min(wanted) < -1:  # NumPy would take it for -1
                raise ValueError
            return view_of(self, ops.Reshape, shape=wanted)
        except ValueError:
            raise ValueError(
                f"cannot reshape {self.shape} ({self.numel()} elements) into {wanted}"
            ) from None

    view = reshape

    def view_as(self, other: Tensor) -> Tensor:
        """The same elements in another tensor's shape."""
        return self.reshape(other.shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Merge the axes from `start_dim` to `end_dim` into one."""
        start, end = self._axis(start_dim), self._axis(end_dim)
        if self.ndim == 0:
            return self.reshape(1)
        if start > end:
            raise ValueError(f"flatten from axis {start_dim} to {end_dim}: the start lies behind")
        merged = math.prod(self.shape[start : end + 1])
        return self.reshape(*self.shape[:start], merged, *self.shape[end + 1 :])

    def permute(self, *dims: Any) -> Tensor:
        """The axes in another order (a view)."""
        axes = tuple(self._axis(d) for d in as_shape(dims))
        if sorted(axes) != list(range(self.ndim)):
            raise ValueError(f"permute needs each of {self.ndim} axes once, got {as_shape(dims)}")
        return view_of(self, ops.Permute, axes=axes)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two axes swapped (a view)."""
        axes = list(range(self.ndim))
        a, b = self._axis(dim0), self._axis(dim1)
        if a != b:  # a number has no axes, but may be told to swap 0 and -1
            axes[a], axes[b] = b, a
        return view_of(self, ops.Permute, axes=tuple(axes))

    swapaxes = transpose

    def flip(self, *dims: Any) -> Tensor:
        """The elements in reverse order along axes (a copy)."""
        x = self
        for axis in self._axes(as_shape(dims)):
            x = x[(slice(None),) * axis + (np.arange(x.shape[axis])[::-1],)]
        return x

    def squeeze(self, dim: Dim = None) -> Tensor:
        """Drop axes of size 1: all of them, or those of `dim`."""
        chosen = self._axes(dim)
        return self.reshape(*(n for i, n in enumerate(self.shape) if n != 1 or i not in chosen))

    def unsqueeze(self, dim: int) -> Tensor:
        """A new axis of size 1 at position `dim`."""
        position = dim if dim >= 0 else dim + self.ndim + 1
        if not 0 <= position <= self.ndim:
            raise IndexError(f"unsqueeze: axis {dim} is out of range for {self.ndim} axes")
        return self.reshape(*self.shape[:position], 1, *self.shape[position:])

    def expand(self, *sizes: Any) -> Tensor:
        """Repeat axes of size 1 (-1 keeps a size) and add leading axes, without copying."""
        given = as_shape(sizes)
        own = (-1,) * (len(given) - self.ndim) + self.shape
        wanted = tuple(n if size == -1 else size for size, n in zip(given, own, strict=False))
        try:
            return view_of(self, ops.Expand, shape=wanted)
        except ValueError:
            raise ValueError(
                f"cannot expand {self.shape} to {given}: sizes must agree from the last "
                "axis on, except where the tensor has size 1"
            ) from None

    def split(self, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Views of consecutive pieces of `split_size` (or of the given sizes) along an axis."""
        axis, length = self._axis(dim), self._length(dim)
        if isinstance(split_size, int):
            steps = range(0, length, max(split_size, 1))
            sizes = [min(split_size, length - i) for i in steps] or [min(split_size, 0)]
        else:
            sizes = list(split_size)
        if sum(sizes) != length or min(sizes, default=0) < 0:
            raise ValueError(f"split sizes {sizes} do not divide axis {dim}, which has {length}")
        ends = np.cumsum(sizes).tolist()
        pieces = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        before = (slice(None),) * axis
        return tuple([self[before + (piece,)] for piece in pieces])  # noqa: RUF005

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` pieces of equal size (the last may be smaller) along an axis."""
        if chunks < 1:
            raise ValueError(f"chunk makes at least one piece, got chunks={chunks}")
        return self.split(math.ceil(self._length(dim) / chunks) or [0] * chunks, dim)

    def gather(self, dim: int, index: Tensor) -> Tensor:
        """`y[i][j] = x[i][index[i][j]]` for dim = 1, and likewise for others."""
        if index.ndim != self.ndim or index.dtype.kind not in "iu":
            raise ValueError(
                f"gather needs an integer index with {self.ndim} axes, "
                f"got {index.dtype} with {index.ndim}"
            )
        if index.numel() and index.data.min() < 0:
            raise IndexError(f"gather counts from 0 on, got an index of {index.data.min()}")
        axis = self._axis(dim)
        if self.ndim == 0:  # a number counts as one axis
            return self.reshape(1)[index.reshape(1)].reshape(())
        places: list[Any] = list(np.ogrid[tuple(slice(n) for n in index.shape)])
        places[axis] = index
        return self[tuple(places)]

    def __getitem__(self, index: Any) -> Tensor:
        """Slices, integers, None, `...`, boolean masks and integer arrays, as in PyTorch."""
        static, arrays = as_index(index)
        if arrays:
            return apply(ops.Index, self, *map(Tensor, arrays), index=static)
        return view_of(self, ops.Index, index=static)

    def __setitem__(self, index: Any, value: Any) -> None:
        """Write in place."""
        from tinygrad_fm.autograd.inplace import set_item  # which is built on tensors

        set_item(self, index, value)

    # ---------------------------------------------------------------- in place

    def clamp_(self, min: Any = None, max: Any = None) -> Tensor:
        """`clamp` in place."""
        return self._in_place(lambda x: x.clamp(min, max), min, max)

    def copy_(self, source: Any) -> Tensor:
        """Overwrite with (broadcast) `source`."""
        self[...] = source.expand(*self.shape) if isinstance(source, Tensor) else source
        return self

    def fill_(self, value: Any) -> Tensor:
        """Overwrite with one number."""
        self[...] = value
        return self

    def zero_(self) -> Tensor:
        """Overwrite with zeros."""
        return self.fill_(0)

    def _in_place(self, compute: Callable[[Tensor], Tensor], *others: Any) -> Tensor:
        from tinygrad_fm.autograd.inplace import in_place  # which is built on tensors

        return in_place(self, compute, *others)

    # ---------------------------------------------------------------- axes

    def _axis(self, dim: int) -> int:
        n = self.ndim or 1
        if not -n <= dim < n:
            raise IndexError(f"axis {dim} is out of range for shape {self.shape}")
        return dim % n

    def _length(self, dim: int) -> int:
        if self.ndim == 0:
            raise ValueError("a tensor with no axes cannot be split")
        return self.shape[self._axis(dim)]

    def _axes(self, dim: Dim) -> tuple[int, ...]:
        if dim is None:
            return tuple(range(self.ndim))
        axes = tuple(self._axis(d) for d in ((dim,) if isinstance(dim, int) else dim))
        if len(set(axes)) < len(axes):
            raise ValueError(f"each axis may be named once, got {dim} for shape {self.shape}")
        return axes if self.ndim else ()  # a number has no axes, but may be told 0 and -1

    def _reduced(self, dim: Dim) -> tuple[int, ...]:
        return self._axes(dim) or tuple(range(self.ndim))  # to name no axis is to name all

    def _need_float(self, what: str) -> None:
        if self.dtype.kind not in "fc":
            raise TypeError(f"{what} needs a floating-point dtype, got {self.dtype}; use x.float()")


for _name, _method in vars(Tensor).items():
    if "<locals>" in getattr(_method, "__qualname__", ""):  # made by a rule: it is found by name
        _method.__name__, _method.__qualname__ = _name, f"Tensor.{_name}"

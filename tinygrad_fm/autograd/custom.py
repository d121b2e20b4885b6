"""`Function`: an operation of your own on tensors, as PyTorch's `torch.autograd.Function`.

(`tinygrad_fm.ops.Function` is the other way: on arrays, as this library's own operations are.)

One call is one node of the graph. Nodes have one output; of a function with several each is a small
node of its own, that hands its gradient on to the call's as one of `Parts`. So backward is called
once, with a gradient for each output.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from tinygrad_fm.autograd.mode import mode, no_grad
from tinygrad_fm.autograd.tensor import Tensor, as_tensor, next_number
from tinygrad_fm.callsite import user_line
from tinygrad_fm.ops import function as ops
from tinygrad_fm.ops.readonly import ReadOnly


class Context:
    """`ctx`: what a function's forward leaves for its backward. It takes attributes of your own.

    Attributes:
        needs_input_grad: for each argument of forward, whether its gradient is wanted.
        saved_tensors: in backward, what was saved, in that order.
    """

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self.saved_tensors: tuple[Any, ...] = ()
        self._to_save: tuple[Tensor | None, ...] = ()
        self._flat: tuple[Tensor, ...] = ()
        self._materialize = True

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs and outputs (and what has no derivative, such as masks) for backward.

        They are read-only until then. Other results can be saved as well, but forbid a second
        derivative: its part through them would be missing.
        """
        if not all(t is None or isinstance(t, Tensor) for t in tensors):
            raise TypeError("save_for_backward keeps tensors; put anything else on ctx itself")
        self._to_save = tensors

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """Let outputs require no gradient, as integer ones never do."""
        self._flat = outputs

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (the default), or None, for an output that was not used."""
        self._materialize = value


class Function:
    """A differentiable operation, written by static methods on tensors; called by `apply`.

    `forward(ctx, *args)` computes one tensor or a tuple of them. Nothing is recorded inside. It
    leaves what backward needs by `ctx.save_for_backward(…)`, or as an attribute of ctx if it is no
    tensor. (Or `forward(*args)` computes, and `setup_context(ctx, inputs, output)` saves.)

    `backward(ctx, *grads)` gets ∂L/∂(each output) and returns ∂L/∂(each argument): one for each, of
    its shape, and None for what is no tensor. Written in operations on tensors it has derivatives
    of its own; if it is not, decorate it with `once_differentiable`.

    Examples:
        >>> import tinygrad_fm as tg
        >>> class Cube(tg.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x**3
        ...     @staticmethod
        ...     def backward(ctx, grad):
        ...         (x,) = ctx.saved_tensors
        ...         return grad * 3 * x**2
        >>> tg.func.grad(tg.func.grad(Cube.apply))(tg.tensor(2.0)).item()
        12.0
    """

    setup_context: Callable[..., Any] | None = None

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The outputs, to be written by a subclass."""
        raise NotImplementedError("a Function needs a static method forward(ctx, *args)")

    @staticmethod
    def backward(ctx: Any, *grads: Any, **kwargs: Any) -> Any:
        """The gradients of the arguments, to be written by a subclass."""
        raise NotImplementedError("a Function needs a static method backward(ctx, *grads)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Compute, and record it if an argument requires a gradient.

        Raises:
            RuntimeError: if forward wrote into an argument that requires a gradient.
            RuntimeError: in `backward`, if the function's backward returns gradients of another
                number or shape than the arguments have, or for what is no tensor.
        """
        needs = tuple(isinstance(x, Tensor) and x.requires_grad for x in args)
        ctx = Context(needs if mode.recording else (False,) * len(needs))
        recorded = True in ctx.needs_input_grad
        call = Call(cls, ctx, args) if recorded else None
        wanted = zip(args, ctx.needs_input_grad, strict=True)
        unwritten = ReadOnly(tuple(x.data for x, need in wanted if need))
        with no_grad():
            if cls.setup_context is None:
                returned = cls.forward(ctx, *args)
            else:
                returned = cls.forward(*args)
                cls.setup_context(ctx, args, returned)
        if call is None:
            return returned
        unwritten.check(call.name())
        return call.outputs(returned)


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a backward that is not written in operations: a second derivative raises."""

    @wraps(backward)
    def unrecorded(ctx: Context, *grads: Any) -> Any:
        with no_grad():
            return backward(ctx, *grads)

    unrecorded.once = True  # type: ignore[attr-defined]
    return unrecorded


class Call(ops.Function):
    """The node of one call of a user's function."""

    def __init__(self, function: type[Function], ctx: Context, args: tuple) -> None:
        self.function, self.ctx, self.args = function, ctx, args
        self.needs_input_grad = ctx.needs_input_grad
        needs = self.needs_input_grad
        self.edges = [x.edge if need else None for x, need in zip(args, needs, strict=True)]
        self.inputs = [(x.shape, x.dtype) if isinstance(x, Tensor) else None for x in args]
        self.ids = [id(x.data) for x in args if isinstance(x, Tensor)]
        self.number = next_number()
        self.where = None if mode.runner is None else user_line()

    def outputs(self, returned: Any) -> Any:
        """What forward returned, as tensors that this node has made."""
        args, self.args = self.args, ()
        self.single = not isinstance(returned, tuple)
        given = (returned,) if self.single else returned
        taken = [x.data for x in args if isinstance(x, Tensor)]
        self.flat: set[int] = set()
        self.likes: list[np.ndarray | None] = []  # of no memory: shape and dtype of each output
        results = []
        for i, y in enumerate(given):
            if not isinstance(y, Tensor):
                self.likes.append(None)
                results.append(y)
                continue
            # An input, a view of one, or one output twice: two tensors on one memory that know
            # nothing of each other would not see each other's writes.
            apart = not any(np.may_share_memory(y.data, array) for array in taken)
            array = y.data if apart else y.data.copy(order="K")
            taken.append(array)
            self.likes.append(np.broadcast_to(np.zeros((), y.dtype), y.shape))
            if y.dtype.kind not in "fc" or any(y is other for other in self.ctx._flat):
                self.flat.add(i)
            results.append(Tensor.at(array, None if i in self.flat else self.edge_of(i)))
        self.output_shape = next((y.shape for y in results if isinstance(y, Tensor)), ())
        self.keep(args, given, results)
        return results[0] if self.single else tuple(results)

    def edge_of(self, i: int) -> ops.Function:
        """Where the gradient of the i-th output goes."""
        return self if self.single else Output(self, i)

    def keep(self, args: tuple, given: tuple, results: list) -> None:
        """Save arrays, each with its place among the inputs (from 0) or outputs (from -1 down)."""
        places = {id(y.data): ~i for i, y in enumerate(given) if isinstance(y, Tensor)}
        places |= {id(x.data): i for i, x in enumerate(args) if isinstance(x, Tensor)}
        self.kept: list[tuple[np.ndarray | None, int | None]] = []
        for t in self.ctx._to_save:
            place = None if t is None else places.get(id(t.data))
            made = place is not None and place < 0
            source = results[~place] if made and place is not None else t
            self.kept.append((None if source is None else source.data, place))
        self.ctx._to_save = ()
        self._lock = ReadOnly(tuple(array for array, _ in self.kept))

    def release(self) -> None:
        super().release()
        self.kept = []

    def name(self) -> str:
        return self.function.__name__

    # ---------------------------------------------------------------- backward

    def backward(self, grad: Any) -> Any:
        parts = grad.parts if isinstance(grad, Parts) else {0: grad}
        recorded = mode.recording
        once = getattr(self.function.backward, "once", False)
        self.ctx.saved_tensors = self.saved_again(recorded and not once)
        grads = [self.upstream(parts.get(i), like) for i, like in enumerate(self.likes)]
        try:
            found = self.function.backward(self.ctx, *grads)
        finally:
            self.ctx.saved_tensors = ()
        results = [
            self.checked(i, g, recorded)
            for i, g in enumerate(self.counted(found if isinstance(found, tuple) else (found,)))
        ]
        if recorded and once:
            return tuple(None if g is None else Once.behind(g, self, grads) for g in results)
        return tuple(results)

    def upstream(self, grad: Any, like: np.ndarray | None) -> Tensor | None:
        if like is None or (grad is None and not self.ctx._materialize):
            return None
        return as_tensor(np.zeros_like(like) if grad is None else grad)

    def saved_again(self, twice: bool) -> tuple[Tensor | None, ...]:
        """The saved tensors with their histories: of inputs their own, of outputs this node."""
        if twice:
            lost = [name for name, value in vars(self.ctx).items() if self.has_no_history(value)]
            if lost:
                raise RuntimeError(_ONCE.format(name=self.name(), what=f"ctx.{lost[0]}"))
        tensors: list[Tensor | None] = []
        for array, place in self.kept:
            if array is None:
                tensors.append(None)
                continue
            edge = None
            if place is not None and place >= 0:
                assert self.edges is not None
                edge = self.edges[place]
            elif place is not None:
                edge = None if ~place in self.flat else self.edge_of(~place)
            elif twice and array.dtype.kind in "fc":
                what = f"saved tensor {len(tensors)}"
                raise RuntimeError(_ONCE.format(name=self.name(), what=what))
            tensors.append(Tensor.at(array, edge))
        return tuple(tensors)

    def has_no_history(self, value: Any) -> bool:
        """Whether this was computed in forward from who knows what."""
        array = value.data if isinstance(value, Tensor) else value
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fc":
            return False
        return not (id(array) in self.ids or (isinstance(value, Tensor) and value.requires_grad))

    def counted(self, found: tuple) -> tuple:
        """One gradient for each argument; further ones may only be None."""
        n = len(self.inputs)
        if len(found) < n or any(g is not None for g in found[n:]):
            raise RuntimeError(
                f"backward of {self.name()} returned {len(found)} gradients, but forward took {n} "
                "arguments; return one for each, None for what is no tensor"
            )
        return found[:n]

    def checked(self, i: int, grad: Any, recorded: bool) -> Any:
        """The gradient of the i-th argument, in its shape and dtype."""
        like = self.inputs[i]
        if grad is None or (like is not None and not self.needs_input_grad[i]):
            return None
        if like is None:
            raise RuntimeError(
                f"backward of {self.name()} returned a gradient for argument {i}, which is no "
                "tensor; return None for it"
            )
        shape, dtype = like
        grad = as_tensor(grad)
        if grad.shape != shape:
            if not _stretches(shape, grad.shape):
                raise RuntimeError(
                    f"backward of {self.name()} returned a gradient of shape {grad.shape} for "
                    f"argument {i}, which has shape {shape}"
                )
            grad = ops.unbroadcast(grad, shape)
        grad = grad.to(dtype)
        return grad if recorded else grad.data.view()  # a view: it may be memory of the user's


class Output(ops.Function):
    """One of several outputs of a call."""

    def __init__(self, call: Call, i: int) -> None:
        self.edges, self.needs_input_grad = [call], (True,)
        self.index, self.function_name = i, call.name()
        self.number = next_number()
        like = call.likes[i]
        self.output_shape = () if like is None else like.shape

    def backward(self, grad: Any) -> Any:
        return (Parts({self.index: grad}),)

    def name(self) -> str:
        return self.function_name


class Parts:
    """The gradients of some outputs of a call, by number, on their way to the call's node."""

    base = None  # what the walk asks of arrays

    def __init__(self, parts: dict[int, Any]) -> None:
        self.parts = parts

    def __add__(self, other: Parts) -> Parts:
        total = dict(self.parts)
        for i, grad in other.parts.items():
            total[i] = total[i] + grad if i in total else grad
        return Parts(total)

    @property
    def nbytes(self) -> int:
        """As an array's, for the profiler."""
        return sum(grad.nbytes for grad in self.parts.values())


class Once(ops.Function):
    """Stands behind the gradients of a function that has no second derivative."""

    function_name: str

    @staticmethod
    def behind(grad: Tensor, call: Call, grads: list[Tensor | None]) -> Tensor:
        node = Once()
        node.function_name = call.name()
        assert call.edges is not None
        upstream = [g.edge for g in grads if g is not None and g.requires_grad]
        node.edges, node.number = [*call.edges, *upstream], next_number()
        node.output_shape = grad.shape
        return Tensor.at(grad.data, node)

    def backward(self, grad: Any) -> Any:
        raise RuntimeError(
            f"{self.function_name} can be differentiated only once: its backward is marked "
            "once_differentiable; write it in operations on tensors"
        )


def _stretches(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


_ONCE = (
    "{name} can be differentiated only once: it keeps {what}, a result of its forward that is not "
    "returned, whose own derivative is not known. Save inputs and outputs and compute it again in "
    "backward; or mark backward as once_differentiable"
)

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

from tinygrad_fm.autograd.engine import is_float_array
from tinygrad_fm.autograd.mode import mode, no_grad, tell
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
        on = mode.recording
        needs = tuple(on and isinstance(x, Tensor) and x.requires_grad for x in args)
        ctx = Context(needs)
        call = Call(cls, ctx, args) if True in needs else None
        if call is not None:
            tell("stop", f"calls {cls.__name__}, which has a backward of its own")
        wanted = zip(args, needs, strict=True)
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
        return call.outputs(args, returned)


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a backward that is not written in operations: a second derivative raises."""

    @wraps(backward)
    def unrecorded(ctx: Context, *grads: Any) -> Any:
        with no_grad():
            return backward(ctx, *grads)

    unrecorded.once = True  # type: ignore[attr-defined]
    return unrecorded


class _Node(ops.Function):
    """A node that bears the name of a user's function."""

    function: type[Function]

    def name(self) -> str:
        return self.function.__name__


class Call(_Node):
    """The node of one call of a user's function.

    An argument or output is known by its place: arguments from 0, outputs from -1 down.
    """

    edges: list[Any]

    def __init__(self, function: type[Function], ctx: Context, args: tuple) -> None:
        self.function, self.ctx = function, ctx
        self.needs_input_grad = needs = ctx.needs_input_grad
        self.edges = [x.edge if need else None for x, need in zip(args, needs, strict=True)]
        self.inputs = _likes(args)
        self.ids = [id(x.data) for x in args if isinstance(x, Tensor)]
        self.number = next_number()
        self.where = None if mode.runner is None else user_line()

    def outputs(self, args: tuple, returned: Any) -> Any:
        """What forward returned, as tensors that this node has made."""
        self.single = not isinstance(returned, tuple)
        given = (returned,) if self.single else returned
        taken = [x.data for x in args if isinstance(x, Tensor)]
        self.flat: set[int] = set()  # places of outputs without a gradient
        self.likes = _likes(given)
        results = list(given)
        for i, y in enumerate(given):
            if not isinstance(y, Tensor):
                continue
            # An input, a view of one, or one output twice: two tensors on one memory that know
            # nothing of each other would not see each other's writes.
            apart = not any(np.may_share_memory(y.data, array) for array in taken)
            array = y.data if apart else y.data.copy(order="K")
            taken.append(array)
            if y.dtype.kind not in "fc" or any(y is other for other in self.ctx._flat):
                self.flat.add(~i)
            results[i] = Tensor.at(array, self.edge_of(~i))
        self.output_shape = next((like[0] for like in self.likes if like), ())
        self.keep(args, given, results)
        return results[0] if self.single else tuple(results)

    def edge_of(self, place: int | None) -> Any:
        """Where the gradient of an argument or output goes."""
        if place is None or place in self.flat:
            return None
        if place >= 0:
            return self.edges[place]
        return self if self.single else Output(self, ~place, self.likes[~place][0])

    def keep(self, args: tuple, given: tuple, results: list) -> None:
        """Save arrays, each with its place."""
        places = {id(y.data): ~i for i, y in enumerate(given) if isinstance(y, Tensor)}
        places |= {id(x.data): i for i, x in enumerate(args) if isinstance(x, Tensor)}
        self.kept: list[tuple[np.ndarray | None, int | None]] = []
        for t in self.ctx._to_save:
            place = None if t is None else places.get(id(t.data))
            source = t if place is None or place >= 0 else results[~place]
            self.kept.append((None if source is None else source.data, place))
        self.ctx._to_save = ()
        self._lock = ReadOnly(tuple(array for array, _ in self.kept))

    def release(self) -> None:
        super().release()
        self.kept = []

    # ---------------------------------------------------------------- backward

    def backward(self, grad: Any) -> Any:
        parts = grad if isinstance(grad, Parts) else {0: grad}
        recorded = mode.recording
        once = getattr(self.function.backward, "once", False)
        if recorded and not once:
            self.refuse_hidden()
        self.ctx.saved_tensors = tuple(
            None if array is None else Tensor.at(array, self.edge_of(place))
            for array, place in self.kept
        )
        grads = [self.upstream(parts.get(i), like) for i, like in enumerate(self.likes)]
        try:
            found = self.function.backward(self.ctx, *grads)
        finally:
            self.ctx.saved_tensors = ()
        results = self.checked(found if isinstance(found, tuple) else (found,))
        if not recorded:  # views: they may be memory of the user's
            return tuple(None if g is None else g.data.view() for g in results)
        if once:
            upstream = [g.edge for g in grads if g is not None and g.requires_grad]
            return tuple(None if g is None else Once.behind(g, self, upstream) for g in results)
        return results

    def upstream(self, grad: Any, like: Any) -> Tensor | None:
        if like is None or (grad is None and not self.ctx._materialize):
            return None
        return as_tensor(np.zeros(*like) if grad is None else grad)

    def refuse_hidden(self) -> None:
        """Raise if something is kept that was computed in forward from who knows what."""
        hidden = [
            f"ctx.{name}"
            for name, value in vars(self.ctx).items()
            if is_float_array(array := value.data if isinstance(value, Tensor) else value)
            and id(array) not in self.ids
            and not (isinstance(value, Tensor) and value.requires_grad)
        ]
        for i, (array, place) in enumerate(self.kept):
            if place is None and is_float_array(array):
                hidden.append(f"saved tensor {i}")
        if hidden:
            raise RuntimeError(
                f"{self.name()} can be differentiated only once: it keeps {hidden[0]}, a result of "
                "its forward that is not returned, whose own derivative is not known. Save inputs "
                "and outputs and compute it again in backward; or mark backward as "
                "once_differentiable"
            )

    def checked(self, found: tuple) -> tuple[Tensor | None, ...]:
        """One gradient for each argument, in its shape and dtype; further ones may only be None."""
        n, name = len(self.inputs), f"backward of {self.name()} returned"
        if len(found) < n or any(g is not None for g in found[n:]):
            raise RuntimeError(
                f"{name} {len(found)} gradients, but forward took {n} arguments; return one for "
                "each, None for what is no tensor"
            )
        results: list[Tensor | None] = []
        grad: Any
        for i, (grad, like) in enumerate(zip(found, self.inputs, strict=False)):
            if grad is None or (like is not None and not self.needs_input_grad[i]):
                results.append(None)
                continue
            if like is None:
                raise RuntimeError(
                    f"{name} a gradient for argument {i}, which is no tensor; return None for it"
                )
            (shape, dtype), grad = like, as_tensor(grad)
            pairs = zip(shape[::-1], grad.shape[::-1], strict=False)
            if len(shape) > grad.ndim or any(n not in (1, m) for n, m in pairs):
                raise RuntimeError(
                    f"{name} a gradient of shape {grad.shape} for argument {i}, which has shape "
                    f"{shape}"
                )
            grad = ops.unbroadcast(grad, shape)
            results.append(grad.to(dtype))
        return tuple(results)


class Output(ops.Function):
    """One of several outputs of a node, which gets its gradient as one of `Parts`."""

    def __init__(self, node: ops.Function, i: int, shape: tuple[int, ...]) -> None:
        self.index, self.number = i, next_number()
        self.edges, self.needs_input_grad = [node], (True,)
        self.output_shape, self.title = shape, node.name()

    def name(self) -> str:
        return self.title

    def backward(self, grad: Any) -> Any:
        return (Parts({self.index: grad}),)


class Parts(dict[int, Any]):
    """The gradients of some outputs of a call, by number, on their way to the call's node."""

    base = None  # what the walk asks of arrays

    def __add__(self, other: Parts) -> Parts:
        return Parts({**self, **other} | {i: self[i] + other[i] for i in self if i in other})

    @property
    def nbytes(self) -> int:
        """As an array's, for the profiler."""
        return sum(grad.nbytes for grad in self.values())


class Once(_Node):
    """Stands behind the gradients of a function that has no second derivative."""

    @staticmethod
    def behind(grad: Tensor, call: Call, upstream: list) -> Tensor:
        node = Once()
        node.function, node.number, node.output_shape = call.function, next_number(), grad.shape
        node.edges = [*call.edges, *upstream]
        return Tensor.at(grad.data, node)

    def backward(self, grad: Any) -> Any:
        raise RuntimeError(
            f"{self.name()} can be differentiated only once: its backward is marked "
            "once_differentiable; write it in operations on tensors"
        )


def _likes(values: tuple) -> list[Any]:
    """Shape and dtype of what is a tensor, None for what is not."""
    return [(x.shape, x.dtype) if isinstance(x, Tensor) else None for x in values]

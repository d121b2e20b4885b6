"""Walking the graph back: `backward`, and `grad`, on which every other derivative is built.

A graph is made of `Function` nodes. Nodes are numbered as they are made, so the node with the
highest number never feeds into another one that is still waiting: taking the highest number first
walks the graph in a valid order without recursion and without sorting it beforehand.

Gradients are plain arrays. With `create_graph` they are tensors, and so is what the nodes saved:
the same lines of each operation's `backward` are then recorded, and have derivatives of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from tinygrad_fm.autograd.mode import Recording, effect, enable_grad, mode
from tinygrad_fm.autograd.tensor import Tensor, as_array, as_tensor
from tinygrad_fm.ops.fast.memory import is_fresh
from tinygrad_fm.ops.function import Function
from tinygrad_fm.ops.readonly import writes

Edge = Any  # a Function, or a leaf tensor
Tensors = Tensor | Sequence[Tensor]
Gradients = Tensor | None | Sequence[Tensor | None]


@effect
def backward(
    tensors: Tensors,
    grad_tensors: Gradients = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Add ∂L/∂(leaf) to the `.grad` of every leaf that `tensors` were computed from.

    L is the sum of `tensors`, each times its gradient in `grad_tensors`.

    Args:
        tensors: one tensor, or several.
        grad_tensors: ∂L/∂(each), of its shape; None for a single element, where it is 1.
        retain_graph: keep the graph, so that it can be walked once more (default: `create_graph`).
        create_graph: record the gradients' own computation, for derivatives of higher order.
        inputs: add to the `.grad` of these alone; they need not be leaves.

    Raises:
        RuntimeError: if nothing requires a gradient, if a gradient is missing or of the wrong
            shape, if a part of the graph was already walked and released, or if what it saved was
            written into.
    """
    wanted = None if inputs is None else _several(inputs)
    arrived = _carried(tensors, grad_tensors, retain_graph, create_graph, wanted)
    for tensor in dict.fromkeys(wanted or ()):
        if tensor.edge in arrived:
            tensor.accumulate_grad(*arrived[tensor.edge])


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Gradients = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Tensor, ...]:  # None among them only if `allow_unused`: PyTorch's type, too
    """∂L/∂(each input), without touching any `.grad`. L is Σ ⟨grad_outputs, outputs⟩.

    Args:
        outputs, grad_outputs, retain_graph, create_graph: as `tensors`, … of `backward`.
        inputs: the tensors to differentiate by, leaves or not.
        allow_unused: give None for an input that does not lead to the outputs, not an error.
        materialize_grads: give zeros for such an input.

    Raises:
        RuntimeError: as `backward` does; also for an input that requires no gradient, or that was
            not used (unless allowed).
    """
    wanted = _several(inputs)
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "materialize_grads gives zeros for what is unused: allow_unused=False contradicts it"
        )
    arrived = _carried(outputs, grad_outputs, retain_graph, create_graph, wanted)
    results: list[Any] = []
    for i, tensor in enumerate(wanted):
        if tensor.edge in arrived:
            value, owned = arrived[tensor.edge]
            results.append(value if create_graph else as_tensor(value if owned else value.copy()))
            arrived[tensor.edge] = value, False  # an input that is named twice gets a copy
        elif materialize_grads:
            results.append(Tensor(np.zeros_like(tensor.data)))
        elif allow_unused:
            results.append(None)
        else:
            raise RuntimeError(
                f"input {i} of grad, of shape {tensor.shape}, was not used in the graph of the "
                "outputs; pass allow_unused=True to get None for it, or materialize_grads=True "
                "for zeros"
            )
    return tuple(results)


def deliver(leaves: Sequence[Tensor], grads: Sequence[np.ndarray | None]) -> None:
    """Add gradients that were computed elsewhere to the `.grad` of leaves."""
    for leaf, grad in zip(leaves, grads, strict=True):
        if grad is None:
            continue
        owned = is_fresh(grad) and _readers(grad, grads) == 1
        if getattr(leaf, "hooks", None) is not None:
            grad, owned = _hooked(leaf.hooks, grad), False
        leaf.accumulate_grad(grad, owned)


# ------------------------------------------------------------------------------ where it begins


def _carried(
    outputs: Tensors,
    gradients: Gradients,
    retain_graph: bool | None,
    create_graph: bool,
    inputs: tuple[Tensor, ...] | None,
) -> dict[Edge, tuple[Any, bool]]:
    """What `_walk` gives, for the arguments of `backward` and `grad`."""
    edges, grads = _roots(_several(outputs), gradients, create_graph)
    keep = create_graph if retain_graph is None else retain_graph
    targets = None if inputs is None else _edges_of(inputs)
    return _walk(edges, grads, keep, create_graph, targets)


def _several(tensors: Tensors) -> tuple[Tensor, ...]:
    return (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)


def _edges_of(inputs: tuple[Tensor, ...]) -> set[Edge]:
    if not inputs:
        raise RuntimeError(
            "got an empty list of inputs to differentiate by; name at least one (or none at all, "
            "as in loss.backward(), for every leaf)"
        )
    for i, tensor in enumerate(inputs):
        if not tensor.requires_grad:
            raise RuntimeError(
                f"input {i}, of shape {tensor.shape}, does not require a gradient; "
                "use x.requires_grad_() before computing with it"
            )
    return {tensor.edge for tensor in inputs}


def _roots(
    tensors: tuple[Tensor, ...], gradients: Gradients, create_graph: bool
) -> tuple[list[Edge], list[Any]]:
    """The edges of the outputs, and the gradients to start with."""
    if gradients is None or isinstance(gradients, Tensor | np.ndarray):
        gradients = (gradients,) * len(tensors) if gradients is None else (gradients,)
    if len(gradients) != len(tensors):
        raise RuntimeError(f"got {len(tensors)} outputs, but {len(gradients)} gradients for them")
    edges, grads = [], []
    for tensor, gradient in zip(tensors, gradients, strict=True):
        if not tensor.requires_grad:
            raise RuntimeError(
                "backward needs a tensor that was computed from one with requires_grad=True; "
                "this one was not (or it was computed under no_grad)"
            )
        if gradient is None:
            if tensor.data.size != 1:
                raise RuntimeError(
                    f"backward without a gradient needs a single element, got shape "
                    f"{tensor.shape}; reduce it first, as in loss.mean().backward(), or pass "
                    "gradient="
                )
            grad: Any = np.ones_like(tensor.data)
        else:
            grad = as_array(gradient, tensor.dtype)
            if grad.shape != tensor.shape:
                raise RuntimeError(f"gradient has shape {grad.shape}, the tensor {tensor.shape}")
        if create_graph:
            grad = gradient.to(tensor.dtype) if isinstance(gradient, Tensor) else Tensor(grad)
        edges.append(tensor.edge)
        grads.append(grad)
    return edges, grads


def behind(
    edges: Iterable[Edge], shown: Callable[[Edge], Edge] = lambda edge: edge
) -> Iterator[Edge]:
    """Nodes and leaves from which gradients come to these edges' own, each once, and these.

    Args:
        shown: gives what is to stand in an edge's place.
    """
    seen: set[Edge] = {None}
    waiting = [*map(shown, edges)]
    while waiting:
        edge = waiting.pop()
        if edge not in seen:
            seen.add(edge)
            yield edge
            waiting += map(shown, (isinstance(edge, Function) and edge.edges) or ())


def _leading_to(targets: set[Edge], roots: Sequence[Edge]) -> set[Edge]:
    """The nodes between the roots and the targets, both included."""
    nodes = [edge for edge in behind(roots) if isinstance(edge, Function)]
    needed = set(targets)
    for node in sorted(nodes, key=lambda node: node.number):
        # (A node that was released raises when it is reached.)
        if node.edges is None or any(edge in needed for edge in node.edges if edge is not None):
            needed.add(node)
    return needed


# ------------------------------------------------------------------------------ the walk


def _walk(
    edges: Sequence[Edge],
    results: Sequence[Any],
    retain_graph: bool,
    create_graph: bool,
    targets: set[Edge] | None = None,
) -> dict[Edge, tuple[Any, bool]]:
    """Carry gradients back to the leaves, or give those that arrive at `targets`.

    A node's saved arrays are released as soon as it is done, unless `retain_graph`.
    """
    needed = None if targets is None else _leading_to(targets, edges)
    waiting: list[tuple[int, Function]] = []
    gradients: dict[Edge, tuple[Any, bool]] = {}  # with: may it be written into?
    arrived: dict[Edge, tuple[Any, bool]] = {}
    runner = mode.runner
    node: Function | None = None
    grad: Any = None
    with Recording(create_graph):
        while True:
            for edge, result in zip(edges, results):  # noqa: B905 — this loop is hot
                if edge is None or result is None:
                    continue
                # Fresh memory belongs to whoever receives it; a view, the upstream gradient itself
                # or what two inputs receive may have other readers.
                if create_graph or node is None or result is grad:
                    owned = False
                else:
                    owned = result.base is None or is_fresh(result)
                    if owned and len(results) > 1:
                        owned = _readers(result, results) == 1
                if edge in gradients:
                    gradients[edge] = (_add(gradients[edge], result), not create_graph)
                elif needed is not None and edge not in needed:
                    continue
                elif isinstance(edge, Function):
                    gradients[edge] = (result, owned)
                    heappush(waiting, (-edge.number, edge))
                elif needed is None and getattr(edge, "hooks", None) is None:
                    edge.accumulate_grad(result, owned)
                else:  # hooks, and who asked for it, get the sum
                    gradients[edge] = (result, owned)
            if not waiting:
                break
            node = heappop(waiting)[1]
            grad, owned = gradients.pop(node)
            if node.edges is None:
                raise RuntimeError(_TWICE.format(name=node.name()))
            if writes and node._lock is not None:
                node._lock.check(node.name())
            if node.hooks is not None:
                grad, owned = _hooked(node.hooks, grad), False
            edges = node.edges
            if targets is not None and node in targets:
                last = needed is None or needed.isdisjoint(edges)
                arrived[node] = grad, owned and last
                if last:
                    edges = results = ()
                    continue
            if create_graph:
                found = _recorded_derivative(node, grad)
            elif runner is None:
                found = node.backward(grad)
            else:
                found = runner(node, node.backward, (grad,), {})
            results = found if isinstance(found, tuple) else (found,)
            if not retain_graph:
                node.release()
        for leaf, (total, owned) in gradients.items():
            if getattr(leaf, "hooks", None) is not None:
                total, owned = _hooked(leaf.hooks, total), False
            if needed is None:
                leaf.accumulate_grad(total, owned)
            else:
                arrived[leaf] = total, owned
        return arrived


def _readers(result: np.ndarray, results: Sequence[np.ndarray | None]) -> int:
    """How many of a node's results are this array or a view of it."""
    readers = 0
    for other in results:
        if other is result or (other is not None and other.base is result):
            readers += 1
    return readers


def _add(accumulated: tuple[Any, bool], grad: Any) -> Any:
    """Sum two gradients: in place, unless the memory of the first has other readers."""
    total, owned = accumulated
    if not owned:
        return total + grad
    total += grad  # (a scalar, which cannot be written into, is replaced)
    return total


def _hooked(hooks: dict[float, Callable[[Tensor], Tensor | None]], grad: Any) -> Any:
    """What the hooks of a tensor make of its gradient, one after the other."""
    recorded = isinstance(grad, Tensor)
    given = _read_only(as_tensor(grad))
    for _, hook in sorted(hooks.items()):
        result = hook(given)
        if result is None:
            continue
        if not isinstance(result, Tensor):
            raise TypeError(f"a hook returns a tensor or None, got {type(result).__name__}")
        if result.shape != given.shape:
            raise RuntimeError(
                f"a hook returned a gradient of shape {result.shape} for one of {given.shape}"
            )
        given = result
    return given if recorded else given.data


def _read_only(grad: Tensor) -> Tensor:
    """The same gradient, not to be written into: it may have other readers."""
    view = grad.data.view()
    view.flags.writeable = False
    return Tensor.at(view, grad.edge if grad.requires_grad else None)


_TWICE = (
    "backward reached {name} a second time, but its saved arrays were released by the first: "
    "a graph is used up by backward. Run the forward pass again, or keep the graph with "
    "backward(retain_graph=True)."
)


# ------------------------------------------------------------------------------ create_graph


def _recorded_derivative(node: Function, grad: Tensor) -> Any:
    """`node.backward` on tensors: of what was saved, inputs and outputs come back as they were."""
    if node.twin is not None:
        saved_by_id = {id(array): array for array in node.saved}
        arrays = [saved_by_id.get(number) for number in node.ids[:-1]]
        for i, need in enumerate(node.needs_input_grad):
            if need and arrays[i] is None:
                raise RuntimeError(_ONCE.format(name=node.name(), what=f"did not save input {i}"))
        return _twin_derivative(node, [_saved_tensor(node, array) for array in arrays], grad)
    hidden = [name for name, value in vars(node).items() if is_float_array(value)]
    if hidden:
        raise RuntimeError(_ONCE.format(name=node.name(), what=f"keeps {hidden[0]!r}"))
    saved = node.saved
    node.saved = tuple(_saved_tensor(node, array) for array in saved)
    try:
        return node.backward(grad)  # type: ignore[arg-type]
    finally:
        node.saved = saved


def _twin_derivative(node: Function, inputs: list[Tensor], grad_output: Any) -> Any:
    """The derivative of the same thing in plain operations."""
    with enable_grad():
        # By views of the inputs: one input may have been computed from another.
        needs = node.needs_input_grad
        views = [x.view_as(x) if need else x for x, need in zip(inputs, needs, strict=True)]
        y = node.twin(*views, **node.options)
        if isinstance(grad_output, dict):  # of several outputs, by number
            y, grad_output = [y[i] for i in grad_output], [*grad_output.values()]
        wanted = [x for x, need in zip(views, needs, strict=True) if need]
        found = iter(grad(y, wanted, grad_output, create_graph=True, allow_unused=True))
    return tuple(next(found) if need else None for need in needs)


def _saved_tensor(node: Function, array: Any) -> Any:
    """A saved array as the tensor that it was: an input, the output, or a constant."""
    if array is None:
        return None
    *inputs, output = node.ids
    assert node.edges is not None
    edges = {edge for edge, number in zip(node.edges, inputs, strict=True) if number == id(array)}
    if len(edges) > 1:
        raise RuntimeError(
            f"two inputs of {node.name()} are one array with two histories, such as x and "
            "x.detach(); to differentiate twice, give one of them a copy: x.detach().clone()"
        )
    if edges:
        return Tensor.at(array, *edges)
    if id(array) == output:
        return Tensor.at(array, node)
    if is_float_array(array):
        raise RuntimeError(_ONCE.format(name=node.name(), what="saves an intermediate result"))
    return array


def is_float_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fc"


_ONCE = (
    "{name} can be differentiated only once: it {what}. For derivatives of higher order an "
    "operation saves its inputs, its output, or integers and booleans, and writes backward in "
    "operations; or it names a twin, the same thing in plain operations."
)

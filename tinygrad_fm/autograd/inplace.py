"""Writing into a tensor that a graph knows: `x += y`, `x[i] = v`, `x.mul_(y)`.

A write happens in memory, where every view and alias sees it at once. For the graph it is recorded
as if it were none: new values are computed from the old ones by an ordinary operation, and the
tensor's name goes over to them. Where the tensor is a view of another one, the other is told:
`Overwrite` is its old values with the view's new ones in their places; and each view of the changed
tensor is derived from it anew. What a graph saved before the write is found by `backward`
(`ops/readonly.py`), which refuses to compute with other values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_fm.autograd.mode import mode, tell
from tinygrad_fm.autograd.tensor import Tensor, apply, as_index, pair, unwrapped
from tinygrad_fm.ops import Index, Overwrite
from tinygrad_fm.ops.readonly import write_into
from tinygrad_fm.ops.shape import filled, two_steps


def in_place(x: Tensor, compute: Callable[[Tensor], Tensor], *others: Any) -> Tensor:
    """Give x the values, and the history, of `compute(x)`, which uses `others`.

    Raises:
        RuntimeError: if x is a leaf that requires a gradient (or a view of one), or if the result
            has another shape.
        TypeError: if the result is of a higher kind of dtype.
    """
    recorded = is_recorded(x, *others)
    if recorded:  # the operation may save the values from before
        before = x.data.copy(order="K")
        tell("copied", x.data, before)
        new = compute(Tensor.at(before, x.edge if x.requires_grad else None))
    else:
        new = compute(x.detach())
    if new.shape != x.shape:
        raise RuntimeError(
            f"the result has shape {new.shape}, which cannot be written into shape {x.shape}"
        )
    write_into(x.data, lambda: np.copyto(x.data, new.data, casting="same_kind"))
    if recorded:
        _rename(x, new.to(x.dtype))
    elif hasattr(x, "viewed") or hasattr(x, "views"):
        tell("stop", "writes into a view, or what has views, where no graph is recorded")
    else:
        tell("renamed", x.data, new.to(x.dtype).data)
    return x


def set_item(x: Tensor, index: Any, value: Any) -> None:
    """x[index] = value, in place."""
    static, arrays = as_index(index)
    view, picks = two_steps(filled(static, arrays))
    if not is_recorded(x, value):
        tell("stop", "writes into a tensor where no graph is recorded")
        write_into(x.data, lambda: x.data[view].__setitem__(picks, unwrapped(value)))
        return
    part = value if isinstance(value, Tensor) else pair(value, x)[0]
    part = part.to(x.dtype).expand(*x.data[view][picks].shape)
    how = {"view": Index, "options": (("index", static),)}
    in_place(x, lambda old: apply(Overwrite, old, part, *map(Tensor, arrays), **how), value)


def is_recorded(x: Tensor, *others: Any) -> bool:
    """Whether a write into x has to be recorded.

    Raises:
        RuntimeError: if it must not happen, because x is a leaf, a view of a leaf, or a view that
            was made under no_grad.
    """
    if not mode.recording:
        return False
    root = getattr(x, "root", x)
    if root.requires_grad and root.grad_fn is None:
        what = "a leaf tensor" if root is x else "a view of a leaf tensor"
        raise RuntimeError(
            f"{what} that requires a gradient cannot be written into, because its gradient belongs "
            "to the values that it has; compute a new tensor (x = x + y), write into x.clone(), or "
            "do it inside no_grad()"
        )
    if root.requires_grad and not x.requires_grad:
        raise RuntimeError(
            "a view that was made under no_grad cannot be written into where a graph is recorded, "
            "as it knows nothing of its base's history; make it outside, or write inside no_grad()"
        )
    wants = any(isinstance(t, Tensor) and t.requires_grad for t in (x, *others))
    return wants and x.dtype.kind in "fc"


def _rename(x: Tensor, new: Tensor) -> None:
    """Let x, what it is a view of, and all views of that have their values' new history."""
    tensor, part = x, new
    while (viewed := getattr(tensor, "viewed", None)) is not None:
        parent, operation, options = viewed
        how = {"view": operation, "options": tuple(options.items())}
        tensor, part = parent, apply(Overwrite, parent, part, **how)
    _give_history(tensor, part)
    for reference in getattr(tensor, "views", ()):  # a view of a view comes after it
        view = reference()
        if view is not None:
            parent, operation, options = view.viewed
            _give_history(view, apply(operation, parent, **options))


def _give_history(tensor: Tensor, source: Tensor) -> None:
    before, after = tensor.grad_fn, source.grad_fn
    assert after is not None
    if before is not None and before.hooks and math.inf in before.hooks:  # of `retain_grad`
        after.hooks = {math.inf: before.hooks.pop(math.inf)}
    tensor.grad_fn, tensor._requires_grad = after, True
    tell("renamed", tensor.data, source.data)

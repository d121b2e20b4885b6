"""Pruning: weights of small magnitude are held at zero. PyTorch's `torch.nn.utils.prune`.

    weight = weight_orig · weight_mask,   weight_mask in {0, 1}

The product is taken anew whenever the layer reads its weight, and recorded in the graph: whatever
the optimizer does to `weight_orig`, a pruned weight stays zero, and its gradient is zero as well.
`remove` makes the zeros permanent and gives the layer its plain weight back. Until then a pruned
convolution is not fused with the layers behind it, and takes longer.

Source: https://docs.pytorch.org/tutorials/intermediate/pruning_tutorial.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.nn.module import Module

__all__ = ["global_unstructured", "is_pruned", "l1_unstructured", "remove"]


class _Pruned(Module):
    """What a layer becomes while it has a mask: its own class, with this one before it."""

    def __getattr__(self, name: str) -> Any:
        if f"{name}_mask" in self.__dict__.get("_buffers", ()):
            return self._parameters[f"{name}_orig"] * self._buffers[f"{name}_mask"]
        return super().__getattr__(name)

    def __reduce__(self) -> tuple:
        """Pickled by the layer's own class: this one can't be found by its name."""
        return _new_pruned, (type(self).__bases__[1],), self.__dict__


def _pruned_class(own: type[Module]) -> type[Module]:
    return type(f"Pruned{own.__name__}", (_Pruned, own), {})


def _new_pruned(own: type[Module]) -> Module:
    return object.__new__(_pruned_class(own))


def l1_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prune one parameter alone; see `global_unstructured`."""
    global_unstructured([(module, name)], amount)
    return module


def global_unstructured(parameters: Iterable[tuple[Module, str]], amount: float) -> None:
    """Prune the share `amount` of what is left of all these parameters taken together.

    The entries of smallest magnitude go, wherever they are: a layer of large weights keeps more of
    them than one of small weights. What was pruned before stays pruned.

    Args:
        parameters: pairs such as (layer, "weight").
        amount: 0.2 takes away a fifth of what is left. (PyTorch takes a whole number for a count.)

    Raises:
        ValueError: `amount` is not in 0..1, or a layer has no such parameter.

    Source: Han et al. (2015), Learning both Weights and Connections for Efficient Neural Networks,
    https://arxiv.org/abs/1506.02626.
    """
    if not 0 <= amount <= 1:
        raise ValueError(f"amount is the share to prune, from 0 to 1; got {amount}")
    pairs = list(parameters)
    for module, name in pairs:
        _add_mask(module, name)
    masks = [module._buffers[f"{name}_mask"] for module, name in pairs]
    weights = [module._parameters[f"{name}_orig"].data for module, name in pairs]
    left = [mask.data != 0 for mask in masks]
    magnitudes = np.concatenate([np.abs(w[kept]) for w, kept in zip(weights, left, strict=True)])
    keep = np.ones(len(magnitudes), bool)
    keep[np.argsort(magnitudes, kind="stable")[: round(amount * len(magnitudes))]] = False
    ends = np.cumsum([np.count_nonzero(kept) for kept in left])
    for mask, kept, part in zip(masks, left, np.split(keep, ends[:-1]), strict=True):
        # A new array: the old one may be in a graph, which still needs it.
        mask.data = np.zeros_like(mask.data)
        mask.data[kept] = part


def remove(module: Module, name: str) -> Module:
    """Make the zeros of a pruned parameter permanent: it is a plain parameter again.

    Raises:
        ValueError: it is not pruned.
    """
    if f"{name}_mask" not in module._buffers:
        raise ValueError(f"{name!r} of {type(module).__name__} is not pruned: nothing to remove")
    parameter = module._parameters.pop(f"{name}_orig")
    parameter.data = parameter.data * module._buffers.pop(f"{name}_mask").data
    module._parameters[name] = parameter
    if not any(buffer.endswith("_mask") for buffer in module._buffers):
        module.__class__ = type(module).__bases__[1]
    return module


def is_pruned(module: Module) -> bool:
    """Whether this module, or one below it, has a mask."""
    return any(isinstance(below, _Pruned) for below in module.modules())


def _add_mask(module: Module, name: str) -> None:
    """Split a parameter into `name_orig` and a mask of ones, unless it has one already."""
    if f"{name}_mask" in module._buffers:
        return
    parameter = module._parameters.get(name)
    if parameter is None:
        known = ", ".join(n for n, p in module._parameters.items() if p is not None) or "none"
        raise ValueError(
            f"{type(module).__name__} has no parameter {name!r} to prune, only {known}"
        )
    del module._parameters[name]
    module._parameters[f"{name}_orig"] = parameter
    module._buffers[f"{name}_mask"] = Tensor(np.ones_like(parameter.data))
    if not isinstance(module, _Pruned):
        module.__class__ = _pruned_class(type(module))

"""What each layer of a model makes and costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinygrad_fm.autograd import no_grad
from tinygrad_fm.autograd.profiler import profile
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.nn import Module
from tinygrad_fm.train.evaluation import eval_mode


@dataclass(frozen=True)
class Layer:
    """A layer, or what a module does itself with the outputs of its layers."""

    name: str
    kind: str
    shape: tuple[int, ...]  # of its output
    parameters: int
    flops: int  # floating-point operations of one forward pass
    bytes: int  # of its output, parameters and buffers


def summarize(model: Module, inputs: Tensor) -> list[Layer]:
    """Run a model once in evaluation mode, and list its layers in the order in which they ran.

    Layers that would be fused into one operation are run one by one.
    """
    names = {module: name for name, module in model.named_modules()}
    layers: list[Layer] = []

    def note(module: Module, _: Any, output: Tensor) -> None:
        # Operations that no module below has accounted for are this one's own.
        flops = sum(cost.flops for cost in costs.operations) - sum(la.flops for la in layers)
        own = [*module._parameters.values(), *module._buffers.values()]
        tensors = [output, *(tensor for tensor in own if tensor is not None)]
        parameters = sum(p.numel() for p in module._parameters.values() if p is not None)
        if flops or parameters or not module._modules:
            size = sum(tensor.data.nbytes for tensor in tensors)
            kind = type(module).__name__
            layers.append(Layer(names[module], kind, output.shape, parameters, flops, size))

    hooks = [module.register_forward_hook(note) for module in names]
    try:
        with eval_mode(model), no_grad(), profile() as costs:
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return layers

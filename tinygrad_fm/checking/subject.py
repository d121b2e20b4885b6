"""What is checked: an output as a function of named float64 arrays, the same at every call."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_fm.autograd import no_grad
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.nn import Module
from tinygrad_fm.random import default_generator

Arrays = dict[str, np.ndarray]


class Subject:
    """A function or a module, with its floating-point inputs and parameters as variables.

    Everything is converted to float64, a module as a deep copy. Generators and buffers are put
    back after each call, so that dropout draws the same mask and running statistics stand still.
    """

    def __init__(
        self,
        fn: Callable[..., Tensor],
        inputs: Sequence[Any],
        loss: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.modules: list[Module] = []
        self.variables: dict[str, Tensor] = {}
        if isinstance(fn, Module):
            fn = copy.deepcopy(fn).double()
            self.modules = list(fn.modules())
            self.variables = {n: p for n, p in fn.named_parameters() if p.requires_grad}
        self.fn, self.loss = fn, loss
        self.inputs = [_in_double(value) for value in inputs]
        for number, tensor in enumerate(self.inputs):
            if tensor.requires_grad:
                self.variables[f"input {number}"] = tensor
        if not self.variables:
            raise ValueError("gradcheck needs at least one floating-point input or parameter")
        self.point: Arrays = {name: t.data for name, t in self.variables.items()}

    def output(self, changed: Mapping[str, np.ndarray]) -> np.ndarray:
        """The output where the variables in `changed` have other values.

        If one of them is complex all variables are: layers want one dtype of all their arrays.
        """
        values = {**self.point, **changed}
        dtype = np.result_type(*values.values())
        for name, tensor in self.variables.items():
            tensor.data = values[name].astype(dtype, copy=False)
        try:
            with no_grad():
                return self._call().data
        finally:
            for name, tensor in self.variables.items():
                tensor.data = self.point[name]

    def gradients(self, upstreams: Sequence[np.ndarray]) -> list[Arrays]:
        """∂⟨upstream, output⟩/∂(each variable) by backward, for each of `upstreams`."""
        y = self._call()
        each = []
        for upstream in upstreams:
            for tensor in self.variables.values():
                tensor.grad = None
            if y.requires_grad:
                y.backward(Tensor(upstream), retain_graph=True)
            each.append({name: _gradient(name, t) for name, t in self.variables.items()})
        return each

    def _call(self) -> Tensor:
        with self._undone():
            y = self.fn(*self.inputs)
            y = y if self.loss is None else self.loss(y)
        if not isinstance(y, Tensor):
            raise TypeError(f"gradcheck needs a function that returns one Tensor, got {type(y)}")
        return y

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Put generators back afterwards, and let buffers be written to as copies."""
        held = (value for module in self.modules for value in vars(module).values())
        generators = [g for g in held if isinstance(g, np.random.Generator)]
        generators.append(default_generator())
        states = [g.bit_generator.state for g in generators]
        buffers = [b for m in self.modules[:1] for b in m.buffers()]
        values = [b.data for b in buffers]
        for buffer, value in zip(buffers, values, strict=True):
            buffer.data = value.copy()
        try:
            yield
        finally:
            for generator, state in zip(generators, states, strict=True):
                generator.bit_generator.state = state
            for buffer, value in zip(buffers, values, strict=True):
                buffer.data = value


def _in_double(value: Any) -> Tensor:
    array = np.asarray(value.data if isinstance(value, Tensor) else value)
    floating = array.dtype.kind == "f"
    return Tensor(array.astype(np.float64) if floating else array, requires_grad=floating)


def _gradient(name: str, tensor: Tensor) -> np.ndarray:
    """A gradient that never came counts as zero.

    Raises:
        ValueError: if the gradient has not its tensor's shape.
    """
    if tensor.grad is None:
        return np.zeros(tensor.shape)
    if tensor.grad.shape != tensor.shape:
        raise ValueError(
            f"backward gave {name} of shape {tensor.shape} a gradient of shape {tensor.grad.shape}"
        )
    return tensor.grad.data

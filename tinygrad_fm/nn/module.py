"""`Module`: the base class of every layer and model; `Parameter`: a tensor that is trained."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_fm.autograd.mode import effect, tell
from tinygrad_fm.autograd.tensor import RemovableHandle, Tensor, as_array

StateDict = OrderedDict[str, np.ndarray]


class Parameter(Tensor):
    """A tensor that a module owns and an optimizer trains; it requires a gradient."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)


changes = [object()]  # another one whenever anything in any module has been set


def changed(what: str) -> None:
    """A module is not what it was: plans that were made of it have to look again."""
    changes[0] = object()
    tell("stop", what)


class Module:
    """A layer or model: parameters, buffers and submodules, in the order they were assigned.

    A subclass assigns them as attributes in `__init__` and computes in `forward`.

    Examples:
        >>> from tinygrad_fm import nn
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.fc = nn.Linear(4, 2)
        ...     def forward(self, x):
        ...         return self.fc(x).relu()
        >>> [name for name, _ in Net().named_parameters()]
        ['fc.weight', 'fc.bias']
    """

    training: bool
    _compiled: Any = None  # what carries out `forward` in its place: see `tinygrad_fm.compile`

    def __init__(self) -> None:
        for name in ("_parameters", "_buffers", "_modules", "_forward_hooks"):
            object.__setattr__(self, name, OrderedDict())
        object.__setattr__(self, "_unsaved", set())
        object.__setattr__(self, "training", True)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the module computes, to be written by a subclass; call the module itself."""
        raise NotImplementedError(f"{type(self).__name__} needs a forward method")

    def __call__(self, *inputs: Any, **options: Any) -> Tensor:
        compiled = self._compiled
        call: Any = self.forward if compiled is None else compiled
        result: Any = call(*inputs, **options)
        if self._forward_hooks:
            for hook in list(self._forward_hooks.values()):  # a hook may take itself off
                changed = hook(self, inputs, result)
                result = result if changed is None else changed
        return result

    def register_forward_hook(self, hook: Callable[[Module, tuple, Any], Any]) -> RemovableHandle:
        """Call `hook(module, inputs, output)` after each forward; what it returns replaces
        the output, unless it is None."""
        changed("registers a forward hook")
        key = object()  # equal to no other, so that no handle removes another's hook
        self._forward_hooks[key] = hook
        return RemovableHandle(self._forward_hooks, key)

    # ---------------------------------------------------------------- registration

    def __setattr__(self, name: str, value: Any) -> None:
        changed(f"sets {type(self).__name__}.{name}")
        if "_parameters" not in self.__dict__:
            if isinstance(value, Parameter | Module):
                raise AttributeError(f"{type(self).__name__}: call super().__init__() first")
            object.__setattr__(self, name, value)
            return
        registries = {Parameter: self._parameters, Tensor: self._buffers, Module: self._modules}
        of_value = (kind for kind in (Parameter, Module) if isinstance(value, kind))
        of_name = (kind for kind, registry in registries.items() if name in registry)
        kind = next(chain(of_value, of_name), None)
        if kind is None:
            object.__setattr__(self, name, value)
            return
        _need(name, value, kind)
        for other, registry in registries.items():
            if other is not kind:
                registry.pop(name, None)
        self.__dict__.pop(name, None)
        registries[kind][name] = value

    def __getattr__(self, name: str) -> Any:
        for registry in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(registry, ()):
                return self.__dict__[registry][name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        changed(f"deletes {type(self).__name__}.{name}")
        for registry in (self._parameters, self._buffers, self._modules):
            if name in registry:
                del registry[name]
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Register a parameter, or with None a name that a layer leaves out (as `bias=False`)."""
        changed(f"registers {name}")
        _need(name, parameter, Parameter)
        self._parameters[name] = parameter

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register a tensor that is not trained, but saved with the module if `persistent`."""
        changed(f"registers {name}")
        _need(name, tensor, Tensor)
        self._buffers[name] = tensor
        (self._unsaved.discard if persistent else self._unsaved.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Register a module, for names that are no identifiers or are computed."""
        changed(f"registers {name}")
        _need(name, module, Module)
        self._modules[name] = module

    # ---------------------------------------------------------------- walking

    def named_modules(
        self, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it with dotted names; a shared one once, unless told."""
        seen: set[Module] = set()
        stack: list[tuple[str, Module | None]] = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if module is None or (remove_duplicate and module in seen):
                continue
            seen.add(module)
            yield name, module
            below = [(f"{name}.{n}" if name else n, m) for n, m in module._modules.items()]
            stack.extend(reversed(below))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below this one, each once."""
        seen: set[Module | None] = {None}
        for name, module in self._modules.items():
            if module not in seen:
                seen.add(module)
                yield name, module

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def children(self) -> Iterator[Module]:
        """The modules directly below this one, each once."""
        return (module for _, module in self.named_children())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """All parameters (or its own, unless `recurse`) with dotted names after `prefix`.

        A shared one comes once, under its first name.
        """
        return self._named_tensors("_parameters", prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters (or its own, unless `recurse`), a shared one once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """All buffers, as `named_parameters`."""
        return self._named_tensors("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, as `parameters`."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _named_tensors(
        self, registry: str, prefix: str, recurse: bool
    ) -> Iterator[tuple[str, Any]]:
        seen = {id(None)}  # a name that is left out
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, tensor in module.__dict__[registry].items():
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield (f"{path}.{name}" if path else name), tensor

    # ---------------------------------------------------------------- state

    def state_dict(self) -> StateDict:
        """All parameters and persistent buffers by dotted name, as arrays that share their memory.

        What is shared stands under each of its names, as in PyTorch.
        """
        return OrderedDict((name, tensor.data) for name, tensor in self._named_state())

    def _named_state(self) -> Iterator[tuple[str, Tensor]]:
        for prefix, module in self.named_modules(remove_duplicate=False):
            buffers = [(n, b) for n, b in module._buffers.items() if n not in module._unsaved]
            for name, tensor in (*module._parameters.items(), *buffers):
                if tensor is not None:
                    yield (f"{prefix}.{name}" if prefix else name), tensor

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Copy arrays (or tensors, PyTorch's too) into the parameters and buffers of that name.

        Nothing is changed unless everything fits.

        Raises:
            ValueError: listing every missing and unexpected name (unless `strict` is False) and
                every shape that differs.
        """
        own = dict(self._named_state())
        given = {name: as_array(value) for name, value in state_dict.items()}
        problems = []
        if strict:
            problems += [f"missing: {n} {t.shape}" for n, t in own.items() if n not in given]
            problems += [f"unexpected: {n} {a.shape}" for n, a in given.items() if n not in own]
        problems += [
            f"shape of {name}: got {given[name].shape}, wanted {tensor.shape}"
            for name, tensor in own.items()
            if name in given and given[name].shape != tensor.shape
        ]
        if problems:
            lines = "\n  ".join(problems)
            raise ValueError(
                f"these weights do not fit {type(self).__name__}:\n  {lines}\n"
                "Build the model with the same arguments as the one that was saved."
            )
        for name, tensor in own.items():
            if name in given:
                if not tensor.data.flags.writeable:  # a live graph goes on seeing the old values
                    tensor.data = tensor.data.copy()
                tensor.data[...] = given[name]

    # ---------------------------------------------------------------- modes and types

    def train(self, mode: bool = True) -> Module:
        """Put this module and all below it into training (or evaluation) mode."""
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Module:
        """`train(False)`: dropout does nothing, batch norm uses its running estimates."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Train, or freeze, every parameter."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    @effect
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of every parameter, or set them to zero."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    def apply(self, function: Callable[[Module], Any]) -> Module:
        """Call `function` on every module, children first (to initialise weights, say)."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def to(self, dtype: DTypeLike) -> Module:
        """Convert floating-point parameters and buffers in place. ("cpu" changes nothing.)

        What is converted loses its gradient.

        Raises:
            TypeError: for an integer or boolean dtype.
        """
        if isinstance(dtype, str) and dtype == "cpu":
            return self
        if np.dtype(dtype).kind not in "fc":
            raise TypeError(f"a module's weights are of a floating-point dtype, got {dtype}")
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.dtype.kind == "f" and tensor.dtype != dtype:
                tensor.data = tensor.data.astype(dtype)
                tensor.grad = None
        return self

    def float(self) -> Module:
        """Convert to float32."""
        return self.to(np.float32)

    def double(self) -> Module:
        """Convert to float64."""
        return self.to(np.float64)

    # ---------------------------------------------------------------- printing

    def extra_repr(self) -> str:
        """A layer's arguments, as they are printed."""
        return ""

    def __repr__(self) -> str:
        """The tree of modules, with the number of parameters of each, in ASCII."""
        count = sum(p.numel() for p in self.parameters())
        title = f"{type(self).__name__}({self.extra_repr()})"
        title += f"  # {count:,} parameters" if count else ""
        lines = [title]
        children = [(name, child) for name, child in self._modules.items() if child is not None]
        for i, (name, child) in enumerate(children):
            last = i == len(children) - 1
            first, *rest = repr(child).splitlines()
            lines.append(f"{'`-' if last else '|-'} {name}: {first}")
            lines += [("   " if last else "|  ") + line for line in rest]
        return "\n".join(lines)


def _need(name: str, value: Any, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{name!r} is registered as a {kind.__name__}, got {type(value).__name__}")

"""Modules that hold modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, overload

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.nn.module import Module, changed

__all__ = ["ModuleList", "Sequential"]

__all__ = ["ModuleList", "Sequential"]


class _Numbered(Module):
    """Modules in order, named "0", "1", … unless they bring names of their own."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> _Numbered: ...
    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return self._of(OrderedDict(list(self._modules.items())[index]))
        return list(self._modules.values())[index]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(list(self._modules)[index], module)

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index]
        self._number(modules)

    def _number(self, modules: Iterable[Module]) -> None:
        """Hold these modules alone, by number; names of their own are lost, as in PyTorch."""
        changed(f"numbers the modules of {type(self).__name__}")
        self._modules.clear()
        self._modules.update((str(i), module) for i, module in enumerate(modules))

    def _of(self, modules: OrderedDict[str, Module]) -> _Numbered:
        raise NotImplementedError

    def append(self, module: Module) -> _Numbered:
        """Add a module at the end."""
        number = len(self)
        while str(number) in self._modules:  # a slice keeps its modules' names
            number += 1
        self.add_module(str(number), module)
        return self


class Sequential(_Numbered):
    """Modules one after another: the output of each is the input of the next.

    Examples:
        >>> from tinygrad_fm import nn
        >>> nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
        Sequential()  # 101,770 parameters
        |- 0: Linear(784, 128)  # 100,480 parameters
        |- 1: ReLU()
        `- 2: Linear(128, 10)  # 1,290 parameters
    """

    def __init__(self, *modules: Module | OrderedDict[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], dict):
            named = modules[0]
        else:
            named = OrderedDict((str(i), m) for i, m in enumerate(modules))  # type: ignore[misc]
        for name, module in named.items():
            self.add_module(name, module)

    def _of(self, modules: OrderedDict[str, Module]) -> Sequential:
        return Sequential(modules)

    def forward(self, x: Any) -> Tensor:
        for module in self._modules.values():
            x = module(x)
        return x


class ModuleList(_Numbered):
    """A list whose modules are registered; the model calls them itself."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def _of(self, modules: OrderedDict[str, Module]) -> ModuleList:
        return ModuleList(modules.values())

    def insert(self, index: int, module: Module) -> None:
        """Put a module before the one at `index`."""
        modules = list(self.append(module))
        modules.insert(index, modules.pop())
        self._number(modules)

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Add modules at the end."""
        for module in modules:
            self.append(module)
        return self

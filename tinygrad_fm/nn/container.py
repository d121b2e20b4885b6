"""Modules that hold modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, overload

from tinygrad_fm.nn.module import Module


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
        modules = list(self._modules.values())
        if isinstance(index, slice):
            return self._of(modules[index])
        return modules[index]

    def _of(self, modules: list[Module]) -> _Numbered:
        raise NotImplementedError

    def append(self, module: Module) -> _Numbered:
        """Add a module at the end."""
        setattr(self, str(len(self)), module)
        return self


class Sequential(_Numbered):
    """Modules one after another: the output of each is the input of the next.

    >>> from tinygrad_fm import nn
    >>> nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    Sequential()  # 101,770 parameters
    ├─ 0: Linear(784, 128)  # 100,480 parameters
    ├─ 1: ReLU()
    └─ 2: Linear(128, 10)  # 1,290 parameters
    """

    def __init__(self, *modules: Module | OrderedDict[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], dict):
            named = modules[0]
        else:
            named = OrderedDict((str(i), m) for i, m in enumerate(modules))  # type: ignore[misc]
        for name, module in named.items():
            setattr(self, name, module)

    def _of(self, modules: list[Module]) -> Sequential:
        return Sequential(*modules)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x


class ModuleList(_Numbered):
    """A list whose modules are registered; the model calls them itself."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        for module in modules:
            self.append(module)

    def _of(self, modules: list[Module]) -> ModuleList:
        return ModuleList(modules)

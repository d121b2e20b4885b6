"""What a function depends on besides its arguments, and what of it may change unnoticed.

Modules tell when an attribute is set. Nobody tells of a list that grows, or of a variable outside
the function that gets another value: these are found by the names in the function's code, and
looked at in each call.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

import numpy as np

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.nn.module import Module

Kind = TypeVar("Kind", Module, Tensor)
Place = Callable[[], Any]  # gives what is there now
_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype, slice)
_FIXED = (ModuleType, FunctionType, BuiltinFunctionType, type, np.ufunc, Tensor, np.ndarray)
_LIBRARIES = ("tinygrad_fm", "numpy", "logging")
DEPTH = 4  # of lists in lists


def places_of(function: Any, modules: Iterable[Module]) -> list[Place]:
    """Where values lie that a function and the modules it uses read, and that may change."""
    walk = _Walk()
    walk.reach(function)
    own = [m for root in modules for m in root.modules() if not _library(type(m))]
    for module in own:
        for kind in type(module).__mro__:
            for name, method in vars(kind).items():
                if isinstance(method, FunctionType) and name != "__init__":
                    walk.reach(method)
        for value in vars(module).values():
            walk.reach(value)
    for module in own:
        held = vars(module)  # (what is plain and set anew is told)
        named = [name for name in held.keys() & walk.names if not isinstance(held[name], _PLAIN)]
        walk.places += [partial(held.get, name) for name in sorted(named)]
    return [place for place in walk.places if _may_change(place())]


def found_by(function: Any, kind: type[Kind]) -> list[Kind]:
    """The modules or tensors that a function can reach: bound, in its closure, by a global name, in
    lists."""
    walk = _Walk()
    walk.reach(function)
    found = (thing for place in walk.places for thing in _things_in(place(), kind, DEPTH))
    return list({id(thing): thing for thing in found}.values())


def told(value: Any, depth: int = DEPTH) -> Hashable:
    """What can be compared of a value. Tensors and arrays by identity: their values are looked up
    each time anyway."""
    if isinstance(value, _PLAIN):
        return type(value), repr(value)
    if depth and isinstance(value, list | tuple | set | frozenset):
        return type(value), *(told(part, depth - 1) for part in value)
    if depth and isinstance(value, dict):
        return dict, *((repr(k), told(part, depth - 1)) for k, part in value.items())
    if depth and _may_change(value) and hasattr(value, "__dict__"):
        return id(value), told(vars(value), depth - 1)
    return id(value)


class _Walk:
    """The variables of functions outside their own calls, and of the functions that these call.

    Attributes:
        places: where these variables lie.
        names: that the functions' code has, of attributes too.
    """

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.names: set[str] = set()
        self.seen: set[int] = set()

    def reach(self, function: Any) -> None:
        if id(function) in self.seen:
            return
        self.seen.add(id(function))
        if isinstance(function, MethodType):
            self.places.append(lambda: function.__self__)
            self.reach(function.__func__)
        elif isinstance(function, partial):
            self.places.append(lambda: (function.args, function.keywords))
            self.reach(function.func)
        elif isinstance(function, FunctionType) and not _library(function):
            self.places.append(lambda: (function.__defaults__, function.__kwdefaults__))
            names, outside = set(_names(function.__code__)), function.__globals__
            self.names |= names
            places: list[Place] = [partial(_content, cell) for cell in function.__closure__ or ()]
            places += [partial(outside.get, name) for name in sorted(names & outside.keys())]
            self.places += places
            for place in places:
                self.reach(place())
        elif callable(function) and not (isinstance(function, _FIXED) or _library(type(function))):
            self.places.append(lambda: function)
            self.reach(type(function).__call__)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _may_change(value: Any) -> bool:
    """Not a function without defaults, and not what has its own ways to tell."""
    return not (isinstance(value, (*_FIXED, Module)) or value == (None, None)) and not _library(
        type(value)
    )


def _library(thing: Any) -> bool:
    return (getattr(thing, "__module__", None) or "").partition(".")[0] in _LIBRARIES


def _things_in(value: Any, kind: type[Kind], depth: int) -> Iterator[Kind]:
    if isinstance(value, kind):
        yield value
    elif depth and isinstance(value, list | tuple | set | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _things_in(part, kind, depth - 1)
    elif depth and hasattr(value, "__dict__") and not isinstance(value, (*_FIXED, Module)):
        yield from _things_in(vars(value), kind, depth - 1)

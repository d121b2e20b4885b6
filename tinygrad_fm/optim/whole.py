"""Parameters that lie one behind the other in one array, updated all at once.

`tinygrad_fm.compile` joins a model's parameters so, and the gradients of a planned step are parts
of one array as well. Nothing else knows: each is an ordinary parameter with a state of its own.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.ops.fast.chunks import chunks_of
from tinygrad_fm.ops.fast.memory import whole_of
from tinygrad_fm.ops.function import Array

Group = dict[str, Any]
State = dict[str, Any]
Scratch = tuple[Array, Array]

CHUNK = 1 << 17  # numbers that are updated at a time


class Whole:
    """Parameters that are parts of one array, and their states as parts of one array for each name.

    An update works on chunks of them, each on some thread: every optimizer's update is element by
    element, so it need not know where a parameter ends.
    """

    def __init__(self, p: Array, params: list[Tensor], states: list[State]) -> None:
        self.p, self.states = p, states
        self.params = [(parameter, parameter.data) for parameter in params]
        self.parts: list[Array] = []
        wholes: dict[str, Array] = {}
        for name in sorted(n for n, value in states[0].items() if isinstance(value, np.ndarray)):
            wholes[name], start = np.empty_like(p), 0
            for parameter, state in zip(params, states, strict=True):
                part = wholes[name][start : start + parameter.data.size]
                state[name] = self._moved(state[name], part.reshape(parameter.shape))
                start += parameter.data.size
        self.names = list(wholes)
        self.chunks: list[tuple[slice, State, Scratch]] = []
        for s in chunks_of(p.size, CHUNK):
            scratch = (np.empty_like(p[s]), np.empty_like(p[s]))
            self.chunks.append((s, {name: whole[s] for name, whole in wholes.items()}, scratch))

    def _moved(self, array: Array, place: Array) -> Array:
        place[...] = array
        self.parts.append(place)
        return place

    @classmethod
    def of(cls, params: list[Tensor], states: list[State | None]) -> Whole | None:
        """None if they are not parts of one array, have taken no step yet, or not the same ones."""
        p, first = whole_of([parameter.data for parameter in params]), states[0]
        known = [state for state in states if state is not None]
        if p is None or first is None or len(known) < len(states):
            return None
        if any(s.keys() != first.keys() or s["step"] != first["step"] for s in known):
            return None
        if not all(parameter.data.flags.writeable for parameter in params):
            return None
        return cls(p, params, known)

    def holds(self, params: list[Tensor], states: list[State | None]) -> bool:
        """Whether these are the parameters and states, with nothing put in their place, and no
        graph that needs the parameters as they are."""
        step, names = self.states[0]["step"], self.names
        buffers = [state.get(name) for name in names for state in self.states]
        return (
            len(params) == len(self.params)
            and all(map(operator.is_, states, self.states))
            and all(map(operator.is_, buffers, self.parts))
            and all(state["step"] == step for state in self.states)
            and all(
                p is q and p.data is data and data.flags.writeable
                for p, (q, data) in zip(params, self.params, strict=True)
            )
        )

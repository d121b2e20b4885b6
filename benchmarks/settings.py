"""What is measured, and how often."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from benchmarks.timing import PAUSE, TURN, interleaved

Row = dict[str, Any]


class Job(NamedTuple):
    """One line of the progress bar; `run` measures one or more rows of a section."""

    label: str
    run: Callable[[], list[Row]]


@dataclass(frozen=True)
class Settings:
    """The options of the command line; `quick` measures tiny sizes, to see that all works."""

    models: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    threads: tuple[int, ...]
    repeats: int
    quick: bool = False
    torch_compile: bool = False
    peers: Mapping[str, Sequence[str]] = field(default_factory=dict)  # name and command of each

    @property
    def inference_batch_sizes(self) -> tuple[int, ...]:
        return (1, 8) if self.quick else (1, 256)

    @property
    def large_batch(self) -> int:
        """For operations and memory."""
        return 8 if self.quick else 256

    @property
    def long_repeats(self) -> int:
        """Of what takes minutes: whole processes and whole epochs."""
        return min(self.repeats, 1 if self.quick else 3)

    @property
    def operation_repeats(self) -> int:
        """Of single operations, which are many."""
        return max(1, self.repeats // 3)

    def times(
        self, contenders: Mapping[str, Callable[[], object]], repeats: int | None = None
    ) -> dict[str, np.ndarray]:
        """Seconds per call, see `interleaved`."""
        turn, pause = (0.0, 0.0) if self.quick else (TURN, PAUSE)
        return interleaved(contenders, repeats or self.repeats, turn, pause)

"""Sides that are processes of their own: each answers requests, a line of JSON each, in turns."""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from benchmarks.timing import PAUSE, WARM_UP

ROOT = Path(__file__).parents[1]


class Side:
    """A process, for as long as a `with` block runs.

    Args:
        command: it is started in the project's folder.
        environment: variables beside those that we have.
    """

    def __init__(self, *command: object, environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env=os.environ | (environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, *request: Any) -> Any:
        """The answer to a request.

        Raises:
            RuntimeError: if the process has ended (its own message went to standard error).
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the measuring process ended at {request}: {self.process.args}")
        return json.loads(answer)

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()


def turns(
    sides: tuple[Side, ...], job: tuple[Any, ...], repeats: int, turn: float, pause: float = PAUSE
) -> list[np.ndarray]:
    """Seconds per call of each side, `repeats` turns in alternation.

    A side is asked for `[*job, calls]`, as many calls as last for `turn` seconds.
    """
    calls = []
    for side in sides:
        side.ask(*job, WARM_UP)
        calls.append(max(1, round(turn / side.ask(*job, 1))))
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(repeats):
        for side, count, seconds in zip(sides, calls, times, strict=True):
            time.sleep(pause)
            seconds.append(side.ask(*job, count))
    return [np.array(seconds) for seconds in times]

"""Interleaved timing, and ratios of what was measured side by side.

A shared machine is slower in one minute than in the next. So the contenders take turns (A B A B …),
each turn of A is compared with the turn of B right beside it, and the median of those ratios is
what counts: whatever slows both down cancels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

WARM_UP = 3  # calls that are left out: they fetch memory, wake threads and choose algorithms
# A turn lasts about this long, in seconds: a training loop goes on for hours, so it is its steady
# state that counts. (In turns of 0.02 s both are measured while the processor still changes over.)
TURN = 0.25
# PyTorch's OpenMP threads and OpenBLAS's go on spinning after their work is done, for 2²⁶ cycles at
# most, in wait of more, and would take a core away from whoever comes next.
PAUSE = 0.05
RESAMPLES = 2000
# So small that thousands of steps on one batch change next to nothing. Otherwise the batch would
# soon be learnt by heart, and gradients would fade into denormal numbers, which are slow.
LEARNING_RATE = 1e-7
COMPILED = "torch_compile"  # a contender that is shown beside, and never the one to beat


class Ratio(NamedTuple):
    """The median of pairwise ratios, and its 95 % interval."""

    median: float
    low: float
    high: float


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    repeats: int,
    turn: float = TURN,
    pause: float = PAUSE,
) -> dict[str, np.ndarray]:
    """Let the contenders take `repeats` turns each; seconds per call and turn, (repeats,).

    All make the same number of calls in a turn. Each turn begins after the same pause, and with a
    call that is not counted: it finds the caches full of the other contender's numbers.
    """
    for call in contenders.values():
        seconds_per_call(call, WARM_UP)
    fastest = min(seconds_per_call(call, 1) for call in contenders.values())
    calls = max(1, round(turn / fastest))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, call in contenders.items():
            time.sleep(pause)
            call()
            times[name].append(seconds_per_call(call, calls))
    return {name: np.array(seconds) for name, seconds in times.items()}


def seconds_per_call(call: Callable[[], object], calls: int) -> float:
    """The mean over some calls in a row."""
    started = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - started) / calls


def paired_ratio(a: np.ndarray, b: np.ndarray) -> Ratio:
    """The median of a[i] / b[i] with its 95 % interval, by the percentile bootstrap.

    Pairs are drawn again with replacement, 2,000 times; the interval holds the middle 95 % of the
    medians. The seed is fixed: the same times give the same interval. (Efron 1979,
    doi:10.1214/aos/1176344552.)
    """
    ratios = np.asarray(a) / np.asarray(b)
    rng = np.random.default_rng(0)
    drawn = ratios[rng.integers(len(ratios), size=(RESAMPLES, len(ratios)))]
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return Ratio(float(np.median(ratios)), float(low), float(high))


def compared(
    times: Mapping[str, np.ndarray], unit: str = "ms", scale: float = 1e3
) -> dict[str, Any]:
    """The columns of a result: medians, and the ratio of "ours" to the best other contender.

    `ratio_of_fastest` compares the single fastest turns of both. It says what a quiet machine
    would: on a busy one PyTorch's threads wait for each other, and the median flatters us.

    Args:
        times: by contender: "ours", "torch" and perhaps "torch_channels_last" and "torch_compile".
        unit: ends the names of the columns, as in `ours_ms`.
        scale: how many of the unit there are in what `times` holds.
    """
    medians = {name: float(np.median(t)) for name, t in times.items()}
    theirs = [name for name in times if name not in ("ours", COMPILED)]
    best = min(theirs, key=medians.__getitem__)
    columns: dict[str, Any] = {
        f"{name}_{unit}": round(medians[name] * scale, 5) if name in times else None
        for name in ("ours", "torch", "torch_channels_last", COMPILED)
    }
    return {**columns, **ratios(times["ours"], times[best], *(times[name] for name in theirs))}


def ratios(ours: np.ndarray, best: np.ndarray, *theirs: np.ndarray) -> dict[str, float]:
    """Columns of a result: our times beside the best contender's, and the fastest of all turns."""
    ratio = paired_ratio(ours, best)
    fastest = ours.min() / min(times.min() for times in (best, *theirs))
    return {
        "ratio": round(ratio.median, 4),
        "ratio_low": round(ratio.low, 4),
        "ratio_high": round(ratio.high, 4),
        "ratio_of_fastest": round(float(fastest), 4),
    }

"""Results as tables: for the terminal, or for a README, of one run or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.timing import COMPILED
from tinygrad_fm.report import format_table

Row = Mapping[str, Any]
Results = Mapping[str, Any]  # of one run, as in its JSON file

TITLES = {
    "training_step": "Training step",
    "inference": "Inference",
    "networks": "Other networks, training step",
    "networks_eager": "Other networks, not planned",
    "operation": "Operations",
    "overhead": "Overhead per operation",
    "memory": "Peak memory of a training process",
    "epoch": "Epoch with augmentation",
    "peers": "Training step, beside other libraries",
}
UNITS = {"overhead": "us", "memory": "mb", "epoch": "s"}  # ms otherwise
SYMBOLS = {"ms": "ms", "us": "µs", "mb": "MB", "s": "s"}
LABELS = ("model", "operation", "direction", "chain")
SPEEDS = ("gflops", "share_of_sgemm_peak", "gbytes_per_s", "share_of_copy_peak")
BUSY = 0.1  # share of the machine that others use
GOALS = {
    "training_step": {"sigmoid-mlp": 0.6, "mlp": 0.6, "mlp-deep": 0.6, "cnn": 0.85, "cnn-bn": 0.85,
                      "cnn-5conv": 0.85, "resnet": 1.3},
    "networks": {"depthwise-separable": 2.0},
    "networks_eager": {"depthwise-separable": 3.0},
}  # fmt: skip
USUAL_GOALS = {"inference": 0.8, "networks_eager": 1.5, "memory": 0.4}


class Line(NamedTuple):
    """One comparison, over all runs: medians, and the widest of the runs' intervals."""

    section: str
    name: str
    batch: int | None
    threads: int
    ours: float
    theirs: float  # PyTorch's in the better of its layouts, or the peer's
    ratio: float
    low: float
    high: float
    fastest: float  # ratio of the fastest turns
    goal: float  # for the ratio
    others: float | None  # share of the machine that others used, at most
    speed: dict[str, float]  # of an operation: GFLOP/s and so on
    compiled: float | None = None  # PyTorch by torch.compile, if it was measured
    peer: str | None = None  # a library that is not PyTorch, with its version
    busy: float | None = None  # seconds of processor time that the peer uses in a second

    @property
    def label(self) -> str:
        return self.name if self.batch is None else f"{self.name}, batch {self.batch}"


def lines(runs: Sequence[Results]) -> list[Line]:
    """The comparisons of all runs, each over those that measured it, in the order of the first."""
    found: list[Line] = []
    for section in TITLES:
        by_key = [{_key(row): row for row in run[section]} for run in runs if run.get(section)]
        keys = dict.fromkeys(key for rows in by_key for key in rows)
        found += [_line(section, [rows[key] for rows in by_key if key in rows]) for key in keys]
    return found


def tables(lines: Sequence[Line], markdown: bool = False) -> str:
    """Every section that was measured, each under its title."""
    found = []
    for section, title in TITLES.items():
        row = _speed_row if section == "operation" else _goal_row
        for count in sorted({line.threads for line in lines}):
            chosen = [line for line in lines if (line.section, line.threads) == (section, count)]
            if chosen:
                heading = f"{title}, {_threads(count)}"
                body = format_table([row(line) for line in chosen], markdown=markdown)
                found.append(f"**{heading}**\n\n{body}" if markdown else f"{heading}\n{body}")
    return "\n\n".join(found)


def warning(lines: Sequence[Line]) -> str:
    """A word about a machine that was busy with other things, or ""."""
    shares = [line.others for line in lines if line.others is not None]
    if not shares or float(np.median(shares)) < BUSY:
        return ""
    return (
        f"Other processes used {np.median(shares):.0%} of this machine (median over the rows). "
        "PyTorch's threads wait\nfor each other and suffer more from that than ours: the ratios "
        "flatter us. Trust those of the\nfastest turns more, or measure again when it is quiet."
    )


def met(line: Line) -> bool:
    """Whether the ratio, as printed, reaches its goal."""
    return round(line.ratio, 2) <= line.goal


def describe(machine: Mapping[str, Any]) -> str:
    """The machine in a few lines."""
    versions = machine["versions"]
    blas = ", ".join(
        f"{b['internal_api']} {b['version']} {b['architecture']}" for b in machine["numpy_blas"]
    )
    peaks = "; ".join(
        f"{p['sgemm_gflops']:.0f} GFLOP/s and {p['copy_gbytes_per_s']:.0f} GB/s on "
        f"{_threads(p['threads'])}"
        for p in machine["peaks"]
    )
    variables = " ".join(f"{name}={value}" for name, value in machine["environment"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores; NumPy {versions['numpy']} ({blas}), "
        f"PyTorch {versions['torch']} ({machine['torch_cpu_capability']}).\n"
        f"NumPy's measured peaks: {peaks}.\nEnvironment: {variables or 'nothing set'}."
    )


def _key(row: Row) -> tuple:
    return tuple(row.get(name) for name in (*LABELS, "batch_size", "peer", "threads"))


def _line(section: str, rows: Sequence[Row]) -> Line:
    """One comparison from its rows, one of each run."""
    unit = UNITS.get(section, "ms")

    def median(name: str) -> float:
        return float(np.median([row[name] for row in rows]))

    shares = [row["others_share"] for row in rows if row["others_share"] is not None]
    return Line(
        section=section,
        name=", ".join(str(rows[0][name]) for name in LABELS if name in rows[0]),
        # Operations all have the same.
        batch=rows[0].get("batch_size") if section != "operation" else None,
        threads=rows[0]["threads"],
        ours=median(f"ours_{unit}"),
        theirs=float(np.median([_theirs(row, unit) for row in rows])),
        ratio=median("ratio"),
        low=min(row["ratio_low"] for row in rows),
        high=max(row["ratio_high"] for row in rows),
        fastest=median("ratio_of_fastest"),
        goal=_goal(section, rows[0]),
        others=max(shares, default=None),
        speed={name: median(name) for name in SPEEDS if name in rows[0]},
        compiled=median(f"{COMPILED}_{unit}") if rows[0].get(f"{COMPILED}_{unit}") else None,
        peer=_peer(rows[0]),
        busy=median("cores_busy") if "cores_busy" in rows[0] else None,
    )


def _goal_row(line: Line) -> dict[str, Any]:
    return {
        SYMBOLS[UNITS.get(line.section, "ms")]: line.label,
        **({"library": line.peer} if line.peer else {}),
        "ours": _short(line.ours),
        "theirs" if line.peer else "PyTorch": _short(line.theirs),
        **({"cores": f"{line.busy:.1f}"} if line.busy is not None else {}),
        **({"torch.compile": _short(line.compiled)} if line.compiled else {}),
        "ratio (95 %)": f"{line.ratio:.2f} ({line.low:.2f}–{line.high:.2f})",
        "of fastest": f"{line.fastest:.2f}",
        "goal": f"≤ {line.goal} {'✓' if met(line) else '✗'}",
    }


def _speed_row(line: Line) -> dict[str, Any]:
    return {
        "ms": line.label,
        "ours": _short(line.ours),
        "PyTorch": _short(line.theirs),
        "ratio": f"{line.ratio:.2f}",
        "GFLOP/s": f"{line.speed['gflops']:.1f}",
        "of sgemm": f"{line.speed['share_of_sgemm_peak']:.0%}",
        "GB/s": f"{line.speed['gbytes_per_s']:.1f}",
        "of copy": f"{line.speed['share_of_copy_peak']:.0%}",
    }


def _theirs(row: Row, unit: str) -> float:
    times = (row.get(f"{name}_{unit}") for name in ("torch", "torch_channels_last", "peer"))
    return min(time for time in times if time is not None)


def _peer(row: Row) -> str | None:
    peer = row.get("peer")
    return peer and f"{peer} {row['versions'].get(peer, '')}".rstrip()


def _goal(section: str, row: Row) -> float:
    usual = USUAL_GOALS.get(section, 1.0)
    return GOALS.get(section, {}).get(row.get("model", ""), usual)


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _short(number: float) -> str:
    """Three digits that count."""
    return f"{number:.{max(0, 2 - int(np.floor(np.log10(number))))}f}"

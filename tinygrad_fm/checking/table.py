"""The printed table: the worst error of every operation, layer and loss, to second order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import NamedTuple

from tinygrad_fm.checking.cases import CASES, Case
from tinygrad_fm.checking.check import GradcheckReport
from tinygrad_fm.checking.run import check_case
from tinygrad_fm.checking.second import gradgradcheck

HEAD = f"""\
Worst relative error of outputs and derivatives beside a complex step or
differences, and PyTorch; of second derivatives beside either, and PyTorch
{"":37}{"first order":^28}{"second order":>14}
{"":32}{"cases":>5}{"step":>7}{"diff.":>7}{"f64":>7}{"f32":>7}{"steps":>7}{"f64":>7}"""
NAMES = list(dict.fromkeys(case.of for case in CASES))
TorchError = Callable[[Case], float | None]


@dataclass
class Row:
    """All cases of one name. An error is None where there was no such judge."""

    name: str
    cases: int = 0
    exact: float | None = None
    rough: float | None = None
    float64: float | None = None
    float32: float | None = None
    second: float | None = None
    second_torch: float | None = None
    derivatives: int = 0
    compared: int = 0
    failures: list[str] = field(default_factory=list)

    def worsen(self, judge: str, error: float) -> None:
        setattr(self, judge, max(error, getattr(self, judge) or 0.0))


def run_all(cases: Iterable[Case] = CASES) -> Iterator[Row]:
    """Check every case, against PyTorch too where it is installed; one row for each name."""
    judges = pytorch()
    for name, group in groupby(sorted(cases, key=order), key=lambda case: case.of):
        row = Row(name)
        for case in group:
            row.cases += 1
            try:
                if case.numeric:
                    report = check_case(case, raise_exception=False)
                    judge = "rough" if "differences" in report.methods else "exact"
                    add_report(row, case, report, judge)
                if not case.random:
                    row.compared += bool(judges)
                    add_comparison(row, case, judges[:2])
                if case.numeric:
                    twice = check_case(case, raise_exception=False, check=gradgradcheck)
                    add_report(row, case, twice, "second")
                if not case.random:
                    add_comparison(row, case, judges[2:])
            except Exception as error:  # whatever it is, the other rows are still wanted
                row.failures.append(f"{case.name}: {type(error).__name__}: {error}")
        yield row


def order(case: Case) -> int:
    """Cases of one name together, names in the order of the table of cases."""
    return NAMES.index(case.of)


def add_report(row: Row, case: Case, report: GradcheckReport, judge: str) -> None:
    row.derivatives += report.derivatives
    row.worsen(judge, report.worst_error)
    order = "second order: " * (judge == "second")
    row.failures += [f"{case.name}: {order}{failure}" for failure in report.failures[:1]]


class Judge(NamedTuple):
    """PyTorch in one dtype and order."""

    column: str
    label: str
    error: TorchError
    limit: float


def add_comparison(row: Row, case: Case, judges: Iterable[Judge]) -> None:
    for column, label, torch_error, limit in judges:
        error = torch_error(case)
        if error is None:  # PyTorch has no such derivative
            continue
        row.worsen(column, error)
        if error > limit:
            row.failures.append(f"{case.name}: differs from PyTorch {label} by {error:.2g}")


def pytorch() -> list[Judge]:
    """The comparisons with PyTorch: first order in two dtypes, second in one; [] without it."""
    try:
        from tinygrad_fm.reference.operations import (
            SECOND_TOLERANCE,
            TOLERANCE,
            torch_error,
            torch_second_error,
        )
    except ImportError:
        return []
    first = [Judge(d, d, partial(torch_error, dtype=d), limit) for d, limit in TOLERANCE.items()]
    second = partial(torch_second_error, dtype="float64")
    limit = SECOND_TOLERANCE["float64"]
    return [*first, Judge("second_torch", "in second order", second, limit)]


def print_table() -> bool:
    """Print a row for each operation, layer and loss as it is checked; True if all are right."""
    print(HEAD)
    rows = []
    for row in run_all():
        rows.append(row)
        print(line(row), flush=True)
        for failure in row.failures:
            print(f"    FAILED {failure}")
    print(summary(rows))
    return not any(row.failures for row in rows)


def line(row: Row) -> str:
    errors = (row.exact, row.rough, row.float64, row.float32, row.second, row.second_torch)
    shown = ["-" if error is None else f"{error:.0e}" if error else "0" for error in errors]
    return f"{row.name:<32}{row.cases:>5}" + "".join(f"{error:>7}" for error in shown)


def summary(rows: list[Row]) -> str:
    cases, derivatives, compared, failed = (
        sum(values)
        for values in zip(
            *((r.cases, r.derivatives, r.compared, len(r.failures)) for r in rows), strict=True
        )
    )
    lines = [
        f"{len(rows)} operations, layers and losses, {cases} cases: "
        f"{f'{failed} FAILURES' if failed else 'all right'}",
        f"{derivatives} derivatives checked against complex step or differences",
        f"{compared} cases compared with PyTorch, the first order in float64 and float32"
        if compared
        else "PyTorch is not installed: not compared with it (pip install tinygrad-fm[reference])",
    ]
    return "\n".join(lines)

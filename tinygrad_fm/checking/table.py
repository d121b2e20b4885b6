"""The printed table: the worst error of every operation, layer and loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from tinygrad_fm.checking.cases import CASES, Case
from tinygrad_fm.checking.check import GradcheckReport
from tinygrad_fm.checking.run import check_case

NAMES = list(dict.fromkeys(case.of for case in CASES))
TorchError = Callable[[Case, str], float]


@dataclass
class Row:
    """All cases of one name. An error is None where there was no such judge."""

    name: str
    cases: int = 0
    exact: float | None = None
    rough: float | None = None
    float64: float | None = None
    float32: float | None = None
    derivatives: int = 0
    compared: int = 0
    failures: list[str] = field(default_factory=list)

    def worsen(self, judge: str, error: float) -> None:
        setattr(self, judge, max(error, getattr(self, judge) or 0.0))


def run_all(cases: Iterable[Case] = CASES) -> Iterator[Row]:
    """Check every case, against PyTorch too where it is installed; one row for each name."""
    torch_error, tolerance = pytorch()
    for name, group in groupby(sorted(cases, key=order), key=lambda case: case.of):
        row = Row(name)
        for case in group:
            row.cases += 1
            try:
                if case.numeric:
                    add_report(row, case, check_case(case, raise_exception=False))
                if torch_error is not None and not case.random:
                    add_comparison(row, case, torch_error, tolerance)
            except Exception as error:  # whatever it is, the other rows are still wanted
                row.failures.append(f"{case.name}: {type(error).__name__}: {error}")
        yield row


def order(case: Case) -> int:
    """Cases of one name together, names in the order of the table of cases."""
    return NAMES.index(case.of)


def add_report(row: Row, case: Case, report: GradcheckReport) -> None:
    row.derivatives += report.derivatives
    row.worsen("rough" if "differences" in report.methods else "exact", report.worst_error)
    row.failures += [f"{case.name}: {failure}" for failure in report.failures[:1]]


def add_comparison(row: Row, case: Case, torch_error: TorchError, limits: dict[str, float]) -> None:
    row.compared += 1
    for dtype, limit in limits.items():
        error = torch_error(case, dtype)
        row.worsen(dtype, error)
        if error > limit:
            row.failures.append(f"{case.name}: differs from PyTorch {dtype} by {error:.2g}")


def pytorch() -> tuple[TorchError | None, dict[str, float]]:
    """The comparison with PyTorch and its tolerances, or None where it is not installed."""
    try:
        from tinygrad_fm.reference.operations import TOLERANCE, torch_error
    except ImportError:
        return None, {}
    return torch_error, TOLERANCE


def print_table() -> bool:
    """Print a row for each operation, layer and loss as it is checked; True if all are right."""
    print("Worst relative error of outputs and gradients")
    print(f"{'':33}{'cases':>6}{'complex':>10}{'differ-':>10}{'PyTorch':>10}{'PyTorch':>10}")
    print(f"{'':39}{'step':>10}{'ences':>10}{'float64':>10}{'float32':>10}")
    rows = []
    for row in run_all():
        rows.append(row)
        print(line(row), flush=True)
        for failure in row.failures:
            print(f"    FAILED {failure}")
    print(summary(rows))
    return not any(row.failures for row in rows)


def line(row: Row) -> str:
    exact, rough, double, single = (
        "-" if error is None else f"{error:.1e}" if error else "0"
        for error in (row.exact, row.rough, row.float64, row.float32)
    )
    return f"{row.name:<33}{row.cases:>6}{exact:>10}{rough:>10}{double:>10}{single:>10}"


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
        f"{compared} cases compared with PyTorch in float64 and float32"
        if compared
        else "PyTorch is not installed: not compared with it (pip install tinygrad-fm[reference])",
    ]
    return "\n".join(lines)

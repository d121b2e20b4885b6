"""The printed table: the worst error of every operation, layer and loss, to second order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

from tinygrad_fm.checking.cases import CASES, Case
from tinygrad_fm.checking.check import gradcheck
from tinygrad_fm.checking.run import check_case
from tinygrad_fm.checking.second import gradgradcheck

HEAD = f"""\
Worst relative error of outputs and derivatives beside a complex step or
differences, and PyTorch; of second derivatives beside either, and PyTorch
{"":37}{"first order":^28}{"second order":>14}
{"":32}{"cases":>5}{"step":>7}{"diff.":>7}{"f64":>7}{"f32":>7}{"steps":>7}{"f64":>7}"""
COLUMNS = ("exact", "rough", "float64", "float32", "second", "second_torch")
NAMES = list(dict.fromkeys(case.of for case in CASES))
# A judgement by PyTorch: its column, how it is called, the error (None: it has no such derivative),
# and what is too much.
Judge = tuple[str, str, Callable[[Case], float | None], float]


@dataclass
class Row:
    """All cases of one name, with the worst error in each column that there was a judge for."""

    name: str
    cases: int = 0
    derivatives: int = 0
    compared: int = 0
    errors: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def worsen(self, column: str, error: float) -> None:
        self.errors[column] = max(error, self.errors.get(column, 0.0))

    def check(self, case: Case, second: bool) -> None:
        """Against a complex step or differences."""
        report = check_case(case, False, gradgradcheck if second else gradcheck)
        first = "rough" if "differences" in report.methods else "exact"
        self.worsen("second" if second else first, report.worst_error)
        self.derivatives += report.derivatives
        order = "second order: " * second
        self.failures += [f"{case.name}: {order}{failure}" for failure in report.failures[:1]]

    def compare(self, case: Case, judges: Iterable[Judge]) -> None:
        """With PyTorch."""
        for column, label, torch_error, limit in judges:
            error = torch_error(case)
            if error is not None:
                self.worsen(column, error)
                if error > limit:
                    self.failures.append(
                        f"{case.name}: differs from PyTorch {label} by {error:.2g}"
                    )


def run_all(cases: Iterable[Case] = CASES) -> Iterator[Row]:
    """Check every case, against PyTorch too where it is installed; one row for each name."""
    judges = pytorch()
    in_order = sorted(cases, key=lambda case: NAMES.index(case.of))
    for name, group in groupby(in_order, key=lambda case: case.of):
        row = Row(name)
        for case in group:
            row.cases += 1
            row.compared += bool(judges[0]) and not case.random
            try:
                for second in (False, True):
                    if case.numeric:
                        row.check(case, second)
                    if not case.random:
                        row.compare(case, judges[second])
            except Exception as error:  # whatever it is, the other rows are still wanted
                row.failures.append(f"{case.name}: {type(error).__name__}: {error}")
        yield row


def pytorch() -> tuple[list[Judge], list[Judge]]:
    """The judges of the first order, in two dtypes, and of the second in one; none without it."""
    try:
        import tinygrad_fm.reference.operations as torch
    except ImportError:
        return [], []
    first: list[Judge] = [
        (dtype, dtype, partial(torch.torch_error, dtype=dtype), limit)
        for dtype, limit in torch.TOLERANCE.items()
    ]
    error = partial(torch.torch_second_error, dtype="float64")
    return first, [("second_torch", "in second order", error, torch.SECOND_TOLERANCE["float64"])]


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
    errors = (row.errors.get(column) for column in COLUMNS)
    shown = ["-" if error is None else f"{error:.0e}" if error else "0" for error in errors]
    return f"{row.name:<32}{row.cases:>5}" + "".join(f"{error:>7}" for error in shown)


def summary(rows: list[Row]) -> str:
    cases, derivatives, compared = (
        sum(getattr(row, count) for row in rows) for count in ("cases", "derivatives", "compared")
    )
    failed = sum(len(row.failures) for row in rows)
    lines = [
        f"{len(rows)} operations, layers and losses, {cases} cases: "
        f"{f'{failed} FAILURES' if failed else 'all right'}",
        f"{derivatives} derivatives checked against complex step or differences",
        f"{compared} cases compared with PyTorch, the first order in float64 and float32"
        if compared
        else "PyTorch is not installed: not compared with it (pip install tinygrad-fm[reference])",
    ]
    return "\n".join(lines)

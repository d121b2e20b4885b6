"""What happened in every epoch of a training, as a table that survives in a CSV file."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields

import numpy as np

from tinygrad_fm.files import read_regular, write_atomically

MAX_BYTES = 1 << 24  # a hundred thousand epochs


@dataclass(frozen=True)
class EpochRow:
    """One epoch. Losses and accuracies (0..1) are means over images; NaN: not measured.

    `epoch` counts from 1, `lr` is the learning rate at the start of the epoch, `seconds` the
    wall-clock time of training and validation together.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    seconds: float


COLUMNS = tuple(field.name for field in fields(EpochRow))


class History:
    """The rows of a training in order; `history["val_loss"]` is a column as an array."""

    def __init__(self) -> None:
        self.rows: list[EpochRow] = []

    def append(self, row: EpochRow) -> None:
        """Add the next epoch."""
        self.rows.append(row)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[EpochRow]:
        return iter(self.rows)

    def __getitem__(self, column: str) -> np.ndarray:
        """One column, (epochs,); epochs are integers, everything else float64.

        Raises:
            KeyError: there is no such column.
        """
        if column not in COLUMNS:
            raise KeyError(f"no column {column!r} in the history; choose from {', '.join(COLUMNS)}")
        dtype = np.int64 if column == "epoch" else np.float64
        return np.array([getattr(row, column) for row in self.rows], dtype=dtype)

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a header and one line per epoch; `read_csv` gives back the very same bits."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.rows:
            epoch, *numbers = astuple(row)
            # repr is the shortest text that reads back as the same float.
            writer.writerow([int(epoch), *(repr(float(number)) for number in numbers)])
        write_atomically(path, file.getvalue().encode())

    @classmethod
    def read_csv(cls, path: str | os.PathLike[str]) -> History:
        """Read what `write_csv` wrote.

        Raises:
            OSError: there is no such file, or it is a pipe or a device, or far too large.
            ValueError: the file is not such a table, its epochs are not 1, 2, …, or it has numbers
                that cannot be; the message names the line.
        """
        name = os.fspath(path)
        try:
            text = read_regular(path, MAX_BYTES).decode()
            header, *lines = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{name} is not a training history: {error}") from error
        if tuple(header) != COLUMNS:
            raise ValueError(
                f"{name} is not a training history: its first line is "
                f"{','.join(header)[:80]!r}, wanted {','.join(COLUMNS)!r}"
            )
        history = cls()
        for epoch, cells in enumerate(lines, start=1):
            row = _parse_row(cells, f"{name}, line {epoch + 1}")
            if row.epoch != epoch:
                raise ValueError(
                    f"{name}, line {epoch + 1}: got epoch {cells[0][:20]}, wanted {epoch}; rows "
                    "are lost, doubled or swapped"
                )
            history.append(row)
        return history


def _parse_row(cells: list[str], place: str) -> EpochRow:
    """The row, if its numbers are possible. Those that were not measured are NaN."""
    try:
        epoch, *numbers = cells
        row = EpochRow(int(epoch), *(float(number) for number in numbers))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{place}: wanted an epoch and {len(COLUMNS) - 1} numbers, got {','.join(cells)[:80]!r}"
        ) from error
    for column in ("train_accuracy", "val_accuracy"):
        if not (0 <= getattr(row, column) <= 1 or math.isnan(getattr(row, column))):
            raise ValueError(f"{place}: wanted {column} from 0 to 1, got {getattr(row, column)}")
    for column in ("lr", "seconds"):
        if not 0 <= getattr(row, column) < math.inf:
            raise ValueError(f"{place}: wanted {column} from 0, got {getattr(row, column)}")
    return row

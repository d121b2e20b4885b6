"""History: columns, and CSV files that give back the very same bits."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest

from tinygrad_fm.train.history import EpochRow, History


def awkward_history() -> History:
    """Numbers that lose bits in any format shorter than repr, and numbers that are not numbers."""
    history = History()
    history.append(EpochRow(1, 0.1 + 0.2, 1 / 3, math.nan, math.nan, 1e-30, 5e-324))
    history.append(EpochRow(2, math.pi, 1.0, math.inf, -0.0, 0.1, 1.7976931348623157e308))
    history.append(EpochRow(3, np.float32(0.1), np.float64(0.7), 2.0, 0.5, 1e16, 3.0))
    return history


def bits(history: History) -> np.ndarray:
    return np.array([astuple(row) for row in history], dtype=np.float64).view(np.uint64)


def test_csv_gives_back_the_same_bits(tmp_path):
    history = awkward_history()
    history.write_csv(tmp_path / "history.csv")
    again = History.read_csv(tmp_path / "history.csv")
    np.testing.assert_array_equal(bits(again), bits(history))
    assert [row.epoch for row in again] == [1, 2, 3]

    again.write_csv(tmp_path / "again.csv")
    first, second = (tmp_path / name for name in ("history.csv", "again.csv"))
    assert first.read_bytes() == second.read_bytes()


def test_csv_is_readable_by_others(tmp_path):
    awkward_history().write_csv(tmp_path / "history.csv")
    table = np.genfromtxt(tmp_path / "history.csv", delimiter=",", names=True)
    assert table.dtype.names[:2] == ("epoch", "train_loss")
    assert table["train_loss"][1] == math.pi


def test_columns_are_arrays():
    history = awkward_history()
    assert len(history) == 3
    assert history["epoch"].dtype == np.int64
    np.testing.assert_array_equal(history["lr"], [1e-30, 0.1, 1e16])
    assert History()["val_loss"].shape == (0,)


def test_an_unknown_column_names_the_known_ones():
    with pytest.raises(KeyError, match="val_loss"):
        History()["validation_loss"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a training history"),
        ("a,b\n1,2\n", "is not a training history"),
        ("{header}\n1,2,3\n", "line 2"),
        ("{header}\n1,1,1,1,1,1,1\n2,1,1,?,1,1,1\n", "line 3"),
        ("{header}\n1.5,1,1,1,1,1,1\n", "line 2"),
        ("{header}\n1,1,1,1,1,1,1,1\n", "line 2"),
        ("{header}\n\n", "line 2"),
        ("\xff\xfe\x00", "is not a training history"),
        ("{header}\n2,1,1,1,1,1,1\n", "line 2: got epoch 2, wanted 1; rows are lost"),
        ("{header}\n1,1,1,1,1,1,1\n1,1,1,1,1,1,1\n", "line 3: got epoch 1, wanted 2"),
        ("{header}\n1,1,1,1,1,1,1\n3,1,1,1,1,1,1\n2,1,1,1,1,1,1\n", "line 3: got epoch 3"),
        ("{header}\n1{zeros},1,1,1,1,1,1\n", "line 2: got epoch 10000"),
        ("{header}\n1,1,1,1,1,1,nan\n", "line 2: wanted seconds from 0, got nan"),
        ("{header}\n1,1,1,1,1,1,inf\n", "line 2: wanted seconds from 0, got inf"),
        ("{header}\n1,1,1,1,1,-1,1\n", "line 2: wanted lr from 0, got -1"),
        ("{header}\n1,1,1,1,inf,1,1\n", "line 2: wanted val_accuracy from 0 to 1, got inf"),
        ("{header}\n1,1,1.1,1,1,1,1\n", r"line 2: wanted train_accuracy from 0 to 1, got 1\.1"),
    ],
)
def test_another_or_torn_file_is_named(tmp_path, text, message):
    header = "epoch,train_loss,train_accuracy,val_loss,val_accuracy,lr,seconds"
    path = tmp_path / "torn.csv"
    path.write_bytes(text.format(header=header, zeros="0" * 30).encode("latin-1"))
    with pytest.raises(ValueError, match=message) as error:
        History.read_csv(path)
    assert "torn.csv" in str(error.value)

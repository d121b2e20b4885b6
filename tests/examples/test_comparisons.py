"""The comparing examples: one row and one dot for each way of training."""

from __future__ import annotations

import re

import pytest
from example_runner import run

WAYS = {
    "compare_regularisation": [
        "none",
        "weight decay",
        "dropout",
        "label smoothing",
        "augmentation",
        "all four",
    ],
    "compare_optimizers": [
        "SGD",
        "momentum",
        "Nesterov",
        "Adagrad",
        "RMSprop",
        "Adadelta",
        "Adam",
        "AdamW",
    ],
}


@pytest.mark.parametrize("example", WAYS)
def test_every_way_has_its_row_and_they_share_a_picture(example, lesson):
    output, out = lesson(example)
    # name, parameters, epochs, training, validation and test accuracy, seconds
    row = r"^(\S.*?) +[\d,]+ +1 +(\S+)% +(\S+)% +(\S+)% +\S+$"
    names, *accuracies = zip(*re.findall(row, output, re.MULTILINE), strict=True)
    assert list(names) == WAYS[example]
    assert all(float(accuracy) > 30 for column in accuracies for accuracy in column)
    assert len(set(zip(*accuracies, strict=True))) == len(names)  # each way makes a difference
    assert [path.name for path in out.iterdir()] == ["comparison.png"]
    assert (out / "comparison.png").stat().st_size > 1000


@pytest.mark.parametrize("example", ["compare_optimizers", "finetune"])
def test_missing_data_is_an_error_without_a_traceback(example, tmp_path):
    arguments = ("--dataset", "mnist", "--data-dir", tmp_path / "nowhere", "--out", tmp_path)
    result = run(example, *arguments)
    assert result.returncode == 1
    assert "mnist is not in" in result.stderr
    assert "Traceback" not in result.stderr

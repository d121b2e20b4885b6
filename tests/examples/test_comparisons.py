"""The comparing examples: one row and one dot for each way of training."""

from __future__ import annotations

import os
import re

import pytest
from example_runner import ROOT, run

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


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--epochs", "0"),
        ("--epochs", "-1"),
        ("--batch-size", "0"),
        ("--lr", "-1"),
        ("--seed", "-1"),
    ],
)
def test_a_number_out_of_range_is_bad_usage(option, value, tmp_path):
    result = run("compare_optimizers", option, value, "--out", tmp_path / "out")
    assert result.returncode == 2
    assert f"argument {option}: " in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("example", ["compare_optimizers", "finetune"])
def test_a_loss_that_explodes_is_told_in_a_line(example, tmp_path):
    result = run(example, "--lr", "1e30", "--epochs", "1", "--out", tmp_path)
    assert result.returncode == 1
    (line,) = (line for line in result.stderr.splitlines() if not line.startswith("training: "))
    assert line.startswith("the training loss is nan in epoch 1")
    assert "try a lower learning rate" in line


def test_a_mistake_in_a_script_keeps_its_traceback(tmp_path):
    """Whoever changes an example wants to see where it fails."""
    (tmp_path / "mine.py").write_text(
        "from options import parse\nparse('mine', dataset='garments', epochs=1, lr=None)\n1 / 0\n"
    )
    path = os.pathsep.join(map(str, (ROOT, ROOT / "examples")))
    result = run(tmp_path / "mine", "--out", tmp_path, PYTHONPATH=path)
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback")

"""Features of a trained network, and a network that goes on to another task."""

from __future__ import annotations

import re

from example_runner import run


def stages(output: str) -> dict[tuple[str, str], float]:
    """The table of the example: accuracies by stage and number of features."""
    rows = re.findall(r"^(\S.*?) +([\d,]+) +(\S+)%$", output, re.MULTILINE)
    return {(name, numbers): float(accuracy) for name, numbers, accuracy in rows}


def test_features_are_worth_more_than_pixels(lesson):
    output, out = lesson("features")
    assert "model.features(images): Tensor(500x64" in output
    assert "features, heard by a hook: (1000, 64)" in output
    assert "the same as model.features: True" in output
    found = stages(output)
    assert list(found) == [("Pixels", "784"), ("To linear 1", "576"), ("Features", "64")]
    assert 30 < found["Pixels", "784"] < found["Features", "64"]
    assert (out / "projection.png").stat().st_size > 1000


def test_features_of_a_network_that_has_no_such_part(tmp_path):
    arguments = ("--recipe", "mlp", "--dataset", "garments", "--epochs", "1", "--out", tmp_path)
    result = run("features", *arguments)
    assert result.returncode == 0, result.stderr
    assert "model.features" not in result.stdout
    found = stages(result.stdout)
    assert list(found) == [("Pixels", "784"), ("To linear 2", "128"), ("Features", "64")]
    assert 30 < found["Pixels", "784"] < found["Features", "64"]
    assert (tmp_path / "projection.png").stat().st_size > 1000


def test_features_of_features_are_not_on_offer(tmp_path):
    result = run("features", "--recipe", "features-mlp", "--out", tmp_path)
    assert result.returncode == 2
    assert "invalid choice: 'features-mlp'" in result.stderr


def test_a_task_is_learnt_anew_with_frozen_layers_and_with_trained_ones(lesson):
    output, out = lesson("finetune")
    row = r"^(\S+ half) +(\S+) +([\d,]+) +(\d+) +(\S+)% +\S+$"
    rows = re.findall(row, output, re.MULTILINE)
    ways = ("new", "frozen", "fine-tuned")
    assert [row[:2] for row in rows] == [
        (task, way) for task in ("second half", "first half") for way in ways
    ]
    counts = {way: int(count.replace(",", "")) for _, way, count, *_ in rows}
    early = (9 + 1) * 16 + (9 * 16 + 1) * 32  # weights and biases of the two convolutions
    assert counts["new"] - counts["frozen"] == early
    assert counts["new"] == counts["fine-tuned"]
    epochs = [int(epoch) for *_, epoch, _ in rows]
    assert all(1 <= epoch <= 25 for epoch in epochs)
    assert min(epochs) < 25  # the best is not always the last
    assert all(float(accuracy) > 40 for *_, accuracy in rows)  # of five classes
    assert (out / "comparison.png").stat().st_size > 1000

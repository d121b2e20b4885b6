"""Features of a trained network, and a network that goes on to another task."""

from __future__ import annotations

import re


def test_features_are_worth_more_from_stage_to_stage(lesson):
    output, out = lesson("features")
    assert "model.features(images): Tensor(500×64" in output
    assert "heard from MaxPool2d" in output
    assert "(2000, 32, 7, 7)" in output
    rows = re.findall(r"^(\S.*?) +([\d,]+) +(\S+)%$", output, re.MULTILINE)
    assert [row[:2] for row in rows] == [
        ("Pixels", "784"),
        ("Second pooling", "1,568"),
        ("model.features", "64"),
    ]
    pixels, _, features = (float(accuracy) for *_, accuracy in rows)
    assert 30 < pixels < features
    assert (out / "projection.png").stat().st_size > 1000


def test_a_task_is_learnt_anew_with_frozen_layers_and_with_trained_ones(lesson):
    output, out = lesson("finetune")
    row = r"^(\S+ half) +(\S+) +([\d,]+) +(\S+)% +\S+$"
    rows = re.findall(row, output, re.MULTILINE)
    ways = ("new", "frozen", "fine-tuned")
    assert [row[:2] for row in rows] == [
        (task, way) for task in ("second half", "first half") for way in ways
    ]
    counts = {way: int(count.replace(",", "")) for _, way, count, _ in rows}
    early = (9 + 1) * 16 + (9 * 16 + 1) * 32  # weights and biases of the two convolutions
    assert counts["new"] - counts["frozen"] == early
    assert counts["new"] == counts["fine-tuned"]
    assert all(float(accuracy) > 40 for *_, accuracy in rows)  # of five classes
    assert (out / "comparison.png").stat().st_size > 1000

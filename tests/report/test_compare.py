"""Comparing models: what is drawn are the figures that were given."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tinygrad_fm.report import format_comparison, plot_comparison
from tinygrad_fm.train.history import EpochRow, History

METRICS = {
    "mlp": {"parameters": 109386, "test_accuracy": 0.891, "validation_accuracy": 0.902},
    "cnn": {"test_accuracy": 0.93, "seed": 0, "per_class": {}},
}


def history(accuracies) -> History:
    result = History()
    for epoch, accuracy in enumerate(accuracies, start=1):
        result.append(EpochRow(epoch, 0.5, 0.9, 0.4, accuracy, lr=0.1, seconds=1.0))
    return result


HISTORIES = {"mlp": history([0.1, 0.88, 0.902, 0.9]), "cnn": history([0.91, 0.92, 0.94])}


def test_one_row_a_model_with_what_is_known_of_it():
    assert format_comparison(METRICS).splitlines() == [
        "model  parameters  validation   test",
        "------------------------------------",
        "mlp       109,386       90.2%  89.1%",
        "cnn             -           -  93.0%",
    ]


def test_curves_and_dots_of_a_model_share_a_colour():
    curves, dots = plot_comparison(HISTORIES, METRICS).axes
    for line, data in zip(curves.lines, HISTORIES.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), data["epoch"])
        np.testing.assert_array_equal(line.get_ydata(), data["val_accuracy"])
    tests = [line for line in dots.lines if line.get_markersize() == 9]
    assert [line.get_xdata()[0] for line in tests] == [0.891, 0.93]
    assert [line.get_color() for line in tests] == [line.get_color() for line in curves.lines]
    rings = [line for line in dots.lines if line.get_marker() == "o" and line not in tests]
    assert [ring.get_xdata()[0] for ring in rings] == [0.902]
    assert [text.get_text() for text in dots.texts] == ["89.1%", "93.0%"]
    assert [text.get_text() for text in dots.get_yticklabels()] == ["mlp", "cnn"]


def test_a_bad_start_does_not_press_the_curves_together():
    low, high = plot_comparison(HISTORIES, METRICS).axes[0].get_ylim()
    assert 0.7 < low < 0.88
    assert 0.94 < high < 1


def test_the_ring_is_explained_where_there_is_one():
    _, dots = plot_comparison(HISTORIES, METRICS).axes
    assert dots.get_xlabel().endswith("○  best validation")
    assert dots.get_legend() is None  # which could cover the title
    metrics = {name: {"test_accuracy": 0.9} for name in METRICS}
    assert plot_comparison(HISTORIES, metrics).axes[1].get_xlabel() == ""


def test_epochs_begin_with_1():
    ticks = plot_comparison(HISTORIES, METRICS).axes[0].get_xticks()
    np.testing.assert_array_equal(ticks, [1, 2, 3, 4])


def test_long_names_leave_room_for_one_another_and_for_the_dots():
    names = [f"{start}-{'rather-' * 5}long-{i}" for i, start in enumerate(("mlp", "_" * 50, "cnn"))]
    histories = dict.fromkeys(names, HISTORIES["cnn"])
    metrics = dict.fromkeys(names, METRICS["mlp"])
    figure = plot_comparison(histories, metrics)
    figure.draw_without_rendering()  # now everything has its place
    curves, dots = figure.axes
    labels = [label.get_window_extent() for label in dots.get_yticklabels()]
    assert all(a.y0 > b.y1 for a, b in pairwise(labels))
    assert min(label.x0 for label in labels) > curves.get_window_extent().x1
    assert dots.get_window_extent().width > 0.25 * figure.bbox.width
    ends = [label.get_text()[-4:] for label in dots.get_yticklabels()]
    assert ends == ["ng-0", "ng-1", "ng-2"]  # where the names of one experiment's runs differ


@pytest.mark.parametrize(
    ("histories", "metrics"),
    [
        ({}, {}),
        (HISTORIES, {"mlp": METRICS["mlp"]}),
        ({str(i): history([1]) for i in range(9)},) * 2,
    ],
)
def test_other_names_or_too_many_are_an_error(histories, metrics):
    with pytest.raises(ValueError, match="the same 1 to 8 models"):
        plot_comparison(histories, metrics)


@pytest.mark.parametrize("accuracies", [[], [np.nan, np.nan]])
def test_a_training_without_validation_is_an_error(accuracies):
    histories = {"mlp": HISTORIES["mlp"], "cnn": history(accuracies)}
    with pytest.raises(ValueError, match="cnn has no validation accuracy"):
        plot_comparison(histories, METRICS)

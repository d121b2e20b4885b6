"""Trials of a search: the table's order, and each dot in its place."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_fm.report import Trial, format_trials, plot_trials
from tinygrad_fm.report.style import RIGHT, SERIES
from tinygrad_fm.report.trials import PALE

TRIALS = [
    Trial(3, "running", 0, None, {}),
    Trial(0, "complete", 5, 0.85, {"optimizer": "sgd", "lr sgd": 0.01, "hidden": 1024}),
    Trial(1, "pruned", 2, 0.2, {"optimizer": "adam", "lr adam": 0.5, "hidden": 64}),
    Trial(4, "complete", 5, 0.84, {"optimizer": "adam", "lr adam": 0.002, "hidden": 96}),
    Trial(2, "complete", 5, 0.875, {"optimizer": "adam", "lr adam": 0.00123, "hidden": 128}),
]


def test_the_best_complete_trial_stands_on_top():
    assert format_trials(TRIALS).splitlines()[2:] == [
        "    2  complete       5      87.50%  adam, lr adam 0.0012, hidden 128",
        "    0  complete       5      85.00%  sgd, lr sgd 0.01, hidden 1024",
        "    4  complete       5      84.00%  adam, lr adam 0.002, hidden 96",
        "    1  pruned         2      20.00%  adam, lr adam 0.5, hidden 64",
        "    3  running        0           -",
    ]


def dots(axes) -> dict[tuple[float, float], tuple[str, str]]:
    """Colour and marker of each dot by its place."""
    return {
        (line.get_xdata()[0], line.get_ydata()[0]): (line.get_color(), line.get_marker())
        for line in axes.lines
        if line.get_marker() in ("o", "v")
    }


def test_the_line_climbs_to_the_best_and_every_measured_trial_is_a_dot(tmp_path):
    file = tmp_path / "trials.png"
    history = plot_trials(TRIALS, file).axes[0]
    assert file.stat().st_size > 1000
    (steps,) = [line for line in history.lines if line.get_color() == RIGHT]
    np.testing.assert_array_equal(steps.get_xdata(), [0, 2, 4, 4.5])
    np.testing.assert_array_equal(steps.get_ydata(), [0.85, 0.875, 0.875, 0.875])
    drawn = dots(history)
    assert drawn[0, 0.85] == drawn[2, 0.875] == drawn[4, 0.84] == (SERIES[0], "o")
    ((x, y),) = drawn.keys() - {(0, 0.85), (2, 0.875), (4, 0.84)}
    assert x == 1
    assert history.get_ylim()[0] < y < 0.84  # 0.2 is far below the picture
    assert drawn[x, y] == (PALE, "v")


def test_trials_that_have_not_come_to_an_end_are_not_drawn_as_given_up():
    others = [Trial(5, "running", 3, 0.86, {"hidden": 5}), Trial(6, "failed", 3, 0.86, {})]
    drawn, expected = plot_trials(TRIALS + others).axes, plot_trials(TRIALS).axes
    assert [dots(axes) for axes in drawn] == [dots(axes) for axes in expected]


def test_each_parameter_has_a_panel_and_alternatives_stand_together():
    _, *panels = plot_trials(TRIALS, logarithmic=["lr adam", "lr sgd"]).axes
    names = [axes.get_title(loc="left") for axes in panels]
    assert names == ["optimizer", "lr adam", "lr sgd", "hidden"]
    optimizer, adam, _, hidden = panels
    assert [text.get_text() for text in optimizer.get_xticklabels()] == ["adam", "sgd"]
    assert {(0, 0.875), (1, 0.85), (0, 0.84)} < dots(optimizer).keys()
    assert {(0.00123, 0.875), (0.002, 0.84)} < dots(adam).keys()
    assert len(dots(adam)) == 3  # of Adam's trials alone
    assert {(1024, 0.85), (128, 0.875), (96, 0.84)} < dots(hidden).keys()
    assert [axes.get_xscale() for axes in panels] == ["linear", "log", "log", "linear"]


@pytest.mark.parametrize("trials", [[], [TRIALS[0], TRIALS[2]]])
def test_nothing_complete_is_an_error(trials):
    with pytest.raises(ValueError, match=r"none of \d trials is complete"):
        plot_trials(trials)

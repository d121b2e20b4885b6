"""Pictures: the numbers in the axes are the data, files are written, pyplot stays out of it."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.image import imread

from tinygrad_fm.report import plot_confusion, plot_history, plot_predictions
from tinygrad_fm.report.predictions import choose
from tinygrad_fm.report.style import FAINT, RIGHT, WRONG
from tinygrad_fm.train.history import EpochRow, History

CLASSES = ("T-shirt/top", "Trouser", "Ankle boot", "Bag", "Dress")


def history(epochs: int, seed: int = 0, validation: bool = True) -> History:
    rng = np.random.default_rng(seed)
    result = History()
    for epoch in range(1, epochs + 1):
        row = rng.random(4) if validation else [*rng.random(2), np.nan, np.nan]
        result.append(EpochRow(epoch, *row, lr=0.1, seconds=1.0))
    return result


def predictions(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(n, 1, 28, 28), dtype=np.uint8)
    probabilities = rng.dirichlet(np.ones(len(CLASSES)), size=n)
    return images, probabilities, rng.integers(len(CLASSES), size=n)


# ---------------------------------------------------------------------------------- curves


def test_curves_draw_every_column_and_mark_the_best_epoch():
    data = history(epochs=6)
    loss, accuracy = plot_history(data).axes
    for axes, quantity in ((loss, "loss"), (accuracy, "accuracy")):
        training, validation = axes.lines[:2]
        np.testing.assert_array_equal(training.get_xdata(), data["epoch"])
        np.testing.assert_array_equal(training.get_ydata(), data[f"train_{quantity}"])
        np.testing.assert_array_equal(validation.get_ydata(), data[f"val_{quantity}"])
        assert training.get_linestyle() != "-"
        assert validation.get_linestyle() == "-"
    dot = accuracy.lines[2]
    best = data["val_accuracy"].argmax()
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (best + 1, data["val_accuracy"][best])


def test_curves_of_several_models_differ_in_colour_and_are_named_with_their_best():
    models = {"mlp": history(4), "cnn": history(9, seed=1), "new": history(3, validation=False)}
    accuracy = plot_history(models).axes[1]
    labels = [text.get_text() for text in accuracy.get_legend().get_texts()]
    best = [f"{name}, best {models[name]['val_accuracy'].max():.1%}" for name in ("mlp", "cnn")]
    assert labels == [*best, "new"]
    assert len({line.get_color() for line in accuracy.lines}) == 3


def test_without_validation_none_is_promised():
    loss, accuracy = plot_history(history(4, validation=False)).axes
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training"]
    assert not accuracy.get_legend().get_texts()


@pytest.mark.parametrize(("epochs", "ticks"), [(1, [1]), (3, [1, 2, 3]), (20, [1, 5, 10, 15, 20])])
def test_epochs_begin_with_1(epochs, ticks):
    for axes in plot_history(history(epochs)).axes:
        np.testing.assert_array_equal(axes.get_xticks(), ticks)


def test_a_single_epoch_is_visible_as_a_point():
    assert all(line.get_marker() == "o" for line in plot_history(history(1)).axes[0].lines)


@pytest.mark.parametrize("empty", [History(), {}, {"mlp": History()}])
def test_no_epochs_are_an_error(empty):
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_history(empty)


def test_more_models_than_colours_are_an_error():
    with pytest.raises(ValueError, match="got 50"):
        plot_history({str(i): history(1) for i in range(50)})


# ---------------------------------------------------------------------------------- confusion


def test_confusion_writes_counts_where_they_belong():
    confusion = np.array([[1200, 30, 0], [0, 50, 50], [0, 0, 0]])
    axes = plot_confusion(confusion, CLASSES[:3]).axes[0]
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    # (x, y) is (predicted, true)
    assert texts == {(0, 0): "1,200", (1, 0): "30", (1, 1): "50", (2, 1): "50"}
    assert [t.get_text() for t in axes.get_yticklabels()] == list(CLASSES[:3])
    recall = [t.get_text() for t in axes.child_axes[0].get_yticklabels()]
    assert recall == ["97.6%", "50.0%", "0.0%"]
    assert axes.get_title(loc="right") == "94.0% of 1,330 images right"


def test_confusion_colours_follow_the_share_of_the_row():
    confusion = np.array([[90, 10, 0], [0, 900, 100], [1, 0, 9]])
    colours = plot_confusion(confusion, CLASSES[:3]).axes[0].images[0].get_array()
    np.testing.assert_allclose(colours[0, 0], colours[1, 1])  # 90 % of any number of images
    np.testing.assert_allclose(colours[0, 1], colours[1, 2])
    np.testing.assert_allclose(colours[0, 1], colours[2, 0])
    red, green = colours[0, 1, :2]
    assert red > green  # a mistake is red
    red, green = colours[0, 0, :2]
    assert green > red  # a hit is green


def test_confusion_of_other_classes_is_an_error():
    with pytest.raises(ValueError, match=r"5 classes need .* \(5, 5\), got \(3, 3\)"):
        plot_confusion(np.eye(3, dtype=int), CLASSES)


# ---------------------------------------------------------------------------------- predictions


def cards(figure: matplotlib.figure.Figure) -> list[tuple[Axes, Axes]]:
    return [
        (picture, bars)
        for picture, bars in zip(figure.axes[::2], figure.axes[1::2], strict=True)
        if picture.images
    ]


def test_bars_are_the_probabilities_of_the_picture_beside_them():
    images, probabilities, labels = predictions(30)
    figure = plot_predictions(images, probabilities, labels, CLASSES, count=9)
    drawn = cards(figure)
    assert len(drawn) == 9
    for picture, bars in drawn:
        shown = picture.images[0].get_array()
        i = next(i for i, image in enumerate(images) if np.array_equal(image[0], shown))
        widths = [patch.get_width() for patch in bars.patches[4:]]  # the first four are tracks
        names = [text.get_text().removeprefix("✓ ").removeprefix("✗ ") for text in bars.texts[::2]]
        assert widths == [probabilities[i, CLASSES.index(name)] for name in names]
        assert widths[0] == probabilities[i].max()
        assert CLASSES[labels[i]] in names  # also when it is the least probable of all

        right = probabilities[i].argmax() == labels[i]
        top = bars.patches[4].get_facecolor()
        assert top == to_rgba(RIGHT if right else WRONG)
        true_bar = bars.patches[4 + names.index(CLASSES[labels[i]])]
        assert true_bar.get_facecolor() == to_rgba(RIGHT)
        assert bars.texts[0].get_text().startswith("✓" if right else "✗")
        assert bars.patches[0].get_facecolor() == to_rgba(FAINT)


@pytest.mark.parametrize(
    ("n_right", "n_wrong", "expected_right", "expected_wrong"),
    [(50, 50, 6, 6), (50, 2, 10, 2), (3, 50, 3, 9), (50, 0, 12, 0), (0, 5, 0, 5), (2, 1, 2, 1)],
)
def test_half_of_the_examples_are_mistakes_if_there_are_any(
    n_right, n_wrong, expected_right, expected_wrong
):
    right = np.random.default_rng(0).permutation([True] * n_right + [False] * n_wrong)
    chosen = choose(right, count=12)
    assert len(set(chosen)) == len(chosen)
    expected = [True] * expected_right + [False] * expected_wrong
    assert right[chosen].tolist() == expected


def test_fewer_classes_than_bars_and_pictures_without_channel():
    images, probabilities, labels = predictions(2)
    figure = plot_predictions(images[:, 0], probabilities[:, :2], labels % 2, CLASSES[:2])
    assert all(len(bars.patches) == 4 for _, bars in cards(figure))


@pytest.mark.parametrize("n", [0, 3])
def test_no_pictures_or_different_numbers_are_an_error(n):
    images, probabilities, labels = predictions(4)
    with pytest.raises(ValueError, match=f"got {n}, {n} and"):
        plot_predictions(images[:n], probabilities[:n], labels, CLASSES)


# ---------------------------------------------------------------------------------- files


def draw_all(folder):
    images, probabilities, labels = predictions(12)
    return [
        plot_history({"mlp": history(3)}, folder / "curves.png"),
        plot_confusion(np.eye(5, dtype=int), CLASSES, folder / "confusion.png"),
        plot_predictions(images, probabilities, labels, CLASSES, folder / "predictions.png"),
    ]


@pytest.mark.filterwarnings("error")
def test_files_are_twice_900_pixels_wide_on_white(tmp_path):
    draw_all(tmp_path)
    for name in ("curves", "confusion", "predictions"):
        pixels = imread(tmp_path / f"{name}.png")
        assert pixels.shape[1] == 1800
        assert pixels[0, 0].tolist() == [1, 1, 1, 1]
        assert pixels.std() > 0.05  # something is drawn


def test_the_callers_matplotlib_settings_are_left_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    draw_all(tmp_path)
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_imported():
    code = "import sys, tinygrad_fm.report; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

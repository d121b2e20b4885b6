"""The page about a run holds its figures, escapes what it is given, and loads nothing."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tinygrad_fm.report.line_chart import line_chart
from tinygrad_fm.report.page import Outcome, run_page
from tinygrad_fm.train.history import EpochRow, History

CLASSES = ("T-shirt/top", "Trouser", "<b>Bag & 'box'</b>")
VOID = {"meta", "img", "br", "path", "circle", "link"}


class Page(HTMLParser):
    """Checks that elements are nested; collects attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID or tag == "circle":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def outcome():
    """100 images, about 60 of them right."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, 1, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 3, 100)
    probabilities = rng.dirichlet(np.ones(3), 100)
    probabilities[np.arange(100), labels] += 0.3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Outcome(images, probabilities, labels, CLASSES)


@pytest.fixture
def history():
    result = History()
    for epoch, accuracy in enumerate([0.5, 0.9, 0.8], start=1):
        result.append(EpochRow(epoch, 1 / epoch, 0.6, 0.7, accuracy, lr=0.1, seconds=40.0))
    return result


def page(outcome, history=None, config=None) -> str:
    return run_page("<mlp> on & on", "a lead", 1234, outcome, history, config or {})


def test_the_figures_are_those_of_the_test(outcome, history):
    got = Page(page(outcome, history)).text
    right = (outcome.probabilities.argmax(axis=1) == outcome.labels).mean()
    for figure in (f"{right:.2%}", "1,234", "2 of 3", "90.00%", "2 min 0 s", "of 100 images"):
        assert figure in got


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs(outcome, history):
    text = page(outcome, history, {"command": "http://example.org"})
    elements = Page(text).elements
    assert "default-src 'none'" in text
    assert not {tag for tag, _ in elements} & {"script", "link", "iframe", "object"}
    for _, attributes in elements:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "data:").startswith("data:")
    assert "url(" not in text
    assert "@import" not in text


def test_everything_is_escaped(outcome):
    config = {"command": "<script>alert(1)</script>", "deep": {"'\"": "</code>"}}
    text = page(outcome, config=config)
    got = Page(text)
    assert "<script>alert(1)</script>" in got.text
    assert "<mlp> on & on" in got.text
    assert "<b>Bag & 'box'</b>" in got.text
    assert "<script" not in text
    assert not any(tag == "b" for tag, _ in got.elements)


def test_the_worst_mistake_comes_first_and_is_that_image(outcome):
    wrong = outcome.wrong
    assert (outcome.predicted[wrong] != outcome.labels[wrong]).all()
    assert (np.diff(outcome.confidence[wrong]) <= 0).all()
    section = page(outcome).split("Worst mistakes</h2>")[1]
    content = re.search('data:image/png;base64,([^"]+)', section).group(1)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    np.testing.assert_array_equal(picture, outcome.images[wrong[0], 0])


def test_the_matrix_counts_pairs(outcome):
    matrix = page(outcome).split("Confusion matrix</h2>")[1].split("</table>")[0]
    cells = [int(cell or 0) for cell in re.findall(r"<td[^>]*>(\d*)</td>", matrix)]
    np.testing.assert_array_equal(np.reshape(cells, (3, 3)), outcome.confusion)


def test_a_model_without_mistakes_and_one_without_history_have_pages(outcome):
    perfect = Outcome(outcome.images, np.eye(3)[outcome.labels], outcome.labels, CLASSES)
    text = Page(page(perfect)).text
    assert "Nothing was confused" in text
    assert "Worst mistakes" not in text
    assert "best epoch" not in text


def test_no_images_are_refused(outcome):
    empty = Outcome(outcome.images[:0], outcome.probabilities[:0], outcome.labels[:0], CLASSES)
    with pytest.raises(ValueError, match="has no images"):
        page(empty)


# ------------------------------------------------------------------------------------- chart


def points(chart: str) -> list[np.ndarray]:
    found = re.findall(r'points="([^"]*)"', chart)
    return [np.array([pair.split(",") for pair in text.split()], float) for text in found]


def test_the_chart_maps_values_linearly_and_skips_what_is_not_finite():
    chart = line_chart({"a": np.array([1.0, np.nan, 3.0, 2.0])}, "test")
    (line,) = points(chart)
    assert len(line) == 3
    x, y = line.T
    np.testing.assert_allclose(np.diff(x), [2 * (x[2] - x[1]), x[2] - x[1]], atol=0.2)
    np.testing.assert_allclose((y[0] - y[2]) * 2, y[0] - y[1], atol=0.2)
    assert y[1] < y[0]  # larger values are higher up


def test_the_chart_marks_the_best_epoch_on_the_last_line():
    series = {"a": np.array([0.1, 0.2]), "b": np.array([0.3, 0.9])}
    chart = line_chart(series, "test", percent=True, best=2)
    x, y = points(chart)[1][1]
    assert f'cx="{x}" cy="{y}"' in chart
    assert "epoch 2: 90.00%" in chart


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5], [1e-9, 1e9]])
def test_any_finite_values_can_be_drawn(values):
    chart = line_chart({"a": np.array(values)}, "test", percent=True)
    assert "nan" not in chart
    assert "inf" not in chart


def test_nothing_finite_is_refused():
    with pytest.raises(ValueError, match="at least one finite"):
        line_chart({"a": np.array([np.nan])}, "test")

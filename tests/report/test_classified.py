"""The drawing of one picture: the bars are the probabilities, in their order."""

from __future__ import annotations

import numpy as np
from PIL import Image

from tinygrad_fm.report import plot_classified


def test_the_bars_are_the_probabilities_and_the_input_is_drawn_as_it_is():
    seen = np.arange(784, dtype=np.uint8).reshape(28, 28)
    probabilities = np.array([0.2, 0.7, 0.1])
    figure = plot_classified(Image.new("RGB", (60, 90)), seen, probabilities, ("a", "b", "c"))
    picture, given, bars = figure.axes
    assert picture.images[0].get_array().shape == (90, 60, 3)
    np.testing.assert_array_equal(given.images[0].get_array(), seen)
    assert [t.get_text() for t in bars.get_yticklabels()] == ["b", "a", "c"]
    widths = [patch.get_width() for patch in bars.patches]
    np.testing.assert_allclose(widths[3:], [0.7, 0.2, 0.1])

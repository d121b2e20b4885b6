"""The curve of accuracy against sparsity."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_fm.report import plot_sparsity

SPARSITY = [0.0, 0.5, 0.9, 0.99]


def test_lines_run_from_all_weights_to_few(tmp_path):
    accuracies = {"fine-tuned": [0.9, 0.91, 0.9, 0.8], "only pruned": [0.9, 0.9, 0.7, 0.1]}
    file = tmp_path / "sparsity.png"
    (axes,) = plot_sparsity(SPARSITY, accuracies, file).axes
    assert file.stat().st_size > 1000
    for line, (name, values) in zip(axes.lines, accuracies.items(), strict=True):
        assert line.get_label() == name
        np.testing.assert_allclose(line.get_xdata(), [1, 0.5, 0.1, 0.01])
        np.testing.assert_array_equal(line.get_ydata(), values)
    left, right = axes.get_xlim()
    assert left > 1 > 0.01 > right
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels == ["100%", "50%", "20%", "10%", "5%", "2%", "1%"]


@pytest.mark.parametrize("accuracies", [{}, {"a": [0.9]}])
def test_another_number_of_accuracies_is_an_error(accuracies):
    with pytest.raises(ValueError, match="wanted 4 accuracies"):
        plot_sparsity(SPARSITY, accuracies)

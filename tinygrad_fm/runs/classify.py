"""What a saved run says of pictures that are in no data set."""

from __future__ import annotations

import numpy as np

from tinygrad_fm import data
from tinygrad_fm.autograd import no_grad
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.runs.folder import SavedRun


def classify(run: SavedRun, images: np.ndarray) -> np.ndarray:
    """Class probabilities (N, K) of inputs uint8 (N, 28, 28), as `data.as_input` makes them.

    Raises:
        RunError: the run has no weights yet, or damaged ones.
    """
    generator = np.random.default_rng(0)  # which transforms want; nothing is drawn
    pixels = data.ToFloat()(images[:, np.newaxis], generator)  # (N, 28, 28) -> (N, 1, 28, 28)
    inputs = Tensor(run.normalise(pixels, generator))
    with no_grad():
        return run.probabilities(run.model()(inputs).data)

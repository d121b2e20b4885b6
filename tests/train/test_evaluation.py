"""Evaluation: means over images rather than batches, and no trace left on the model."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_fm import nn
from tinygrad_fm.autograd import is_grad_enabled
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.data.dataset import ArrayDataset
from tinygrad_fm.data.loader import DataLoader
from tinygrad_fm.nn import functional as F
from tinygrad_fm.random import manual_seed
from tinygrad_fm.train.evaluation import evaluate, predict


def loader(n: int = 21, batch_size: int = 8, drop_last: bool = False) -> DataLoader:
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(n, 1, 2, 3), dtype=np.uint8)
    labels = rng.integers(4, size=n)
    return DataLoader(
        ArrayDataset(images, labels, tuple("abcd"), "noise"), batch_size, False, drop_last
    )


class Watched(nn.Module):
    """A small model with dropout and batch norm that notes how it is called."""

    def __init__(self) -> None:
        super().__init__()
        manual_seed(0)
        self.layers = nn.Sequential(
            nn.Flatten(), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 4)
        )
        self.calls: list[tuple[bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append((self.layers.training, is_grad_enabled()))
        return self.layers(x)


def fail(scores: Tensor, labels: Tensor) -> Tensor:
    raise RuntimeError("a loss that fails")


def test_means_are_over_images_although_the_last_batch_is_smaller():
    model = Watched()
    in_batches = evaluate(model, loader(batch_size=8), F.cross_entropy)
    at_once = evaluate(model, loader(batch_size=21), F.cross_entropy)
    assert in_batches.loss == pytest.approx(at_once.loss, rel=1e-6)
    assert in_batches.accuracy == at_once.accuracy

    scores = predict(model, loader()).scores
    labels = loader().dataset.labels
    assert in_batches.accuracy == np.mean(scores.argmax(axis=1) == labels)


def test_runs_in_evaluation_mode_without_a_graph_and_leaves_no_trace():
    model = Watched()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    evaluate(model, loader(), F.cross_entropy)
    predict(model, loader())
    assert set(model.calls) == {(False, False)}
    assert model.training
    assert is_grad_enabled()
    for name, array in model.state_dict().items():  # the running statistics among them
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("training", [True, False])
def test_every_modules_mode_comes_back_even_after_an_exception(training):
    model = Watched()
    model.train(training)
    frozen = model.layers[1]
    frozen.training = not training
    with pytest.raises(RuntimeError, match="a loss that fails"):
        evaluate(model, loader(), fail)
    assert is_grad_enabled()
    assert model.training is model.layers.training is model.layers[2].training is training
    assert frozen.training is not training


def test_predictions_keep_the_order_and_become_probabilities_on_demand():
    model = Watched()
    raw = predict(model, loader())
    np.testing.assert_array_equal(raw.labels, loader().dataset.labels)
    assert raw.scores.shape == (21, 4)

    def softmax(logits: np.ndarray) -> np.ndarray:
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    predicted, probabilities, _ = predict(model, loader(), to_probabilities=softmax)
    np.testing.assert_array_equal(probabilities, softmax(raw.scores))
    np.testing.assert_array_equal(predicted, raw.scores.argmax(axis=1))


@pytest.mark.parametrize("measure", [lambda m, x: evaluate(m, x, F.cross_entropy), predict])
def test_a_loader_without_images_is_an_error(measure):
    with pytest.raises(ValueError, match="no images"):
        measure(Watched(), loader(n=5, batch_size=8, drop_last=True))

"""Measure a model on a loader, and collect its predictions, without touching its training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import NamedTuple

import numpy as np

from tinygrad_fm.autograd import no_grad
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.nn import Module
from tinygrad_fm.nn.module import changes
from tinygrad_fm.ops.undo import Scope

Batches = Iterable[tuple[Tensor, Tensor]]
LossFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Evaluation:
    """Mean loss per image, and accuracy in 0..1."""

    loss: float
    accuracy: float


class Predictions(NamedTuple):
    """Predicted classes (N,), the scores they come from (N, K), and true classes (N,)."""

    predicted: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class RunningMean:
    """Mean loss and accuracy over the images of all batches added so far."""

    def __init__(self) -> None:
        self.loss_sum = 0.0
        self.correct = 0
        self.images = 0

    def add(self, loss: float, scores: np.ndarray, labels: np.ndarray) -> None:
        """Add a batch: its mean loss, the model's outputs (N, K) and the true classes (N,)."""
        self.loss_sum += loss * len(labels)
        self.correct += int(np.count_nonzero(scores.argmax(axis=1) == labels))
        self.images += len(labels)

    def state_dict(self) -> dict[str, float]:
        """The sums so far."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from the sums of another `state_dict`."""
        self.loss_sum = float(state["loss_sum"])
        self.correct, self.images = int(state["correct"]), int(state["images"])

    def result(self) -> Evaluation:
        """The means.

        Raises:
            ValueError: no image was added.
        """
        if self.images == 0:
            raise ValueError("the loader gave no images; is the data set smaller than one batch?")
        return Evaluation(self.loss_sum / self.images, self.correct / self.images)


class eval_mode(Scope):
    """Evaluation mode inside the block; afterwards every submodule has the mode it had before."""

    def __init__(self, model: Module) -> None:
        self.model = model
        variables = [vars(module) for module in model.modules()]
        before = [module.training for module in model.modules()]
        # `any` goes through all of them in C, the first time it is called.
        modes = map(dict.__setitem__, variables, repeat("training"), before)
        self.restore = partial(any, chain(modes, map(changes.__setitem__, [0], [object()])))

    def __enter__(self) -> None:
        self.model.eval()

    def undo(self) -> Callable[[], object]:
        return self.restore

    def leave(self) -> None:
        self.restore()


def evaluate(model: Module, loader: Batches, loss_fn: LossFunction) -> Evaluation:
    """Mean loss and accuracy over a loader, in evaluation mode and without a graph.

    Args:
        model: images (N, ...) -> scores (N, K); the class with the highest score is predicted.
        loader: yields (images, labels).
        loss_fn: (scores, labels) -> the mean loss of the batch, a scalar.

    Raises:
        ValueError: the loader gives no images.
    """
    mean = RunningMean()
    with eval_mode(model), no_grad():
        for images, labels in loader:
            scores = model(images)
            mean.add(loss_fn(scores, labels).item(), scores.data, labels.data)
    return mean.result()


def predict(
    model: Module,
    loader: Batches,
    to_probabilities: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Predictions:
    """Predictions for every image of a loader, in its order, in evaluation mode.

    Models end differently, so the way from outputs to probabilities is an argument: for logits
    `lambda z: scipy.special.softmax(z, axis=1)`, for log-probabilities `np.exp`; sigmoid outputs
    are probabilities already. The prediction is the class with the highest output in any case.

    Args:
        model: images (N, ...) -> scores (N, K).
        loader: yields (images, labels).
        to_probabilities: outputs (N, K) -> probabilities (N, K); None keeps the raw outputs.

    Raises:
        ValueError: the loader gives no images.
    """
    outputs, truths = [], []
    with eval_mode(model), no_grad():
        for images, labels in loader:
            outputs.append(model(images).data)
            truths.append(labels.data)
    if not outputs:
        raise ValueError("the loader gave no images; is the data set smaller than one batch?")
    scores = np.concatenate(outputs)  # batches of (B, K) -> (N, K)
    predicted = scores.argmax(axis=1)  # (N, K) -> (N,)
    probabilities = scores if to_probabilities is None else to_probabilities(scores)
    return Predictions(predicted, probabilities, np.concatenate(truths))

"""What a recipe is: a model and everything that is needed to train it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import special

from tinygrad_fm.data.transforms import Transform
from tinygrad_fm.nn import Module, Parameter
from tinygrad_fm.nn import functional as F
from tinygrad_fm.optim import Optimizer
from tinygrad_fm.optim.lr_scheduler import LRScheduler
from tinygrad_fm.tensor import Tensor


@dataclass(frozen=True)
class Recipe:
    """A model with its loss, optimizer, schedule, data set and where it comes from.

    Attributes:
        name: as it is called on the command line.
        summary: the architecture on one line.
        source: where the model was published or asked for.
        dataset: "mnist", "fashion-mnist" or "garments": what it is trained on.
        build: makes the model with freshly drawn weights.
        loss: (outputs, labels) → the batch's mean loss.
        probabilities: outputs (N, 10) → class probabilities (N, 10), for pictures and reports.
        optimizer: (parameters, lr) → the optimizer.
        schedule: (optimizer, epochs) → a schedule stepped once an epoch, or None.
        augment: random transforms of the training images, before normalisation.
        published: the test accuracy that the source reports, if it does.
    """

    name: str
    summary: str
    source: str
    dataset: str
    build: Callable[[], Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    probabilities: Callable[[np.ndarray], np.ndarray]
    optimizer: Callable[[Iterable[Parameter], float], Optimizer]
    lr: float
    epochs: int
    batch_size: int = 64
    schedule: Callable[[Optimizer, int], LRScheduler] | None = None
    augment: tuple[Transform, ...] = ()
    published: float | None = None

    def changed(self, **settings: Any) -> Recipe:
        """The recipe with other settings (epochs=5, lr=0.1, …); None keeps the recipe's own."""
        return replace(self, **{name: v for name, v in settings.items() if v is not None})


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities of a model that ends in scores."""
    return special.softmax(scores, axis=1)


def bernoulli_nll(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Negative log likelihood of ten independent yes-or-no answers: Σ over classes, mean over N.

    Sigmoid outputs don't compete for probability as softmax outputs do: each says by itself
    whether the picture shows its class. Their joint likelihood is a product of ten Bernoulli
    terms, whose negative logarithm is the summed binary cross entropy. The seemingly simpler
    -ln(output of the true class) would be minimised by answering yes to everything.
    """
    answers = F.one_hot(labels, probabilities.shape[1]).to(probabilities.dtype)
    total = F.binary_cross_entropy(probabilities, answers, reduction="sum")
    return total / len(labels)

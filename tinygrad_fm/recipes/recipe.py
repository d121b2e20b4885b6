"""What a recipe is: a model and everything that is needed to train it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.data.transforms import Transform
from tinygrad_fm.nn import Module, Parameter, init
from tinygrad_fm.nn import functional as F
from tinygrad_fm.optim import Optimizer
from tinygrad_fm.optim.lr_scheduler import LRScheduler, OneCycleLR


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
        step_schedule: (optimizer, steps) → a schedule stepped after every batch, or None.
        patience: training ends after so many epochs in a row without a better validation
            accuracy; None: after `epochs`.
        augment: random transforms of the training images, before normalisation; on "mnist" those
            that mirror an image are left out, for a mirrored digit is none.
        validation_fraction: the share of the training set that is held out for validation.
        extractor: the recipe of a model whose `features(images)` are the inputs instead of images.
        compile: plan the model's calls and replay them, see `tinygrad_fm.compile`.
        published: the test accuracy that the source reports, if it does.
        must_reach: the test accuracy that we ask of it, if we do.
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
    step_schedule: Callable[[Optimizer, int], LRScheduler] | None = None
    patience: int | None = None
    augment: tuple[Transform, ...] = ()
    validation_fraction: float = 0.1
    extractor: Recipe | None = None
    compile: bool = True
    published: float | None = None
    must_reach: float | None = None

    def build_hollow(self) -> Module:
        """The model without weights, for `load_state_dict` to give it some: see `init.hollow`."""
        with init.hollow():
            return self.build()

    def changed(self, **settings: Any) -> Recipe:
        """The recipe with other settings (epochs=5, lr=0.1, …); None keeps the recipe's own."""
        return replace(self, **{name: v for name, v in settings.items() if v is not None})


def one_cycle(optimizer: Optimizer, steps: int) -> OneCycleLR:
    """Up to the optimizer's own learning rate and down to nothing, in `steps` batches.

    Smith and Topin (2017), Super-Convergence, https://arxiv.org/abs/1708.07120.
    """
    return OneCycleLR(optimizer, optimizer.param_groups[0]["lr"], total_steps=steps)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities of a model that ends in scores."""
    from scipy import special  # takes long to import

    return special.softmax(scores, axis=1)


def proportional(outputs: np.ndarray) -> np.ndarray:
    """Probabilities of a model that ends in a sigmoid for each class: shares of their sum."""
    return outputs / outputs.sum(axis=1, keepdims=True)


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

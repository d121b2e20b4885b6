"""The four models of `tinygrad_fm.recipes`, written out in PyTorch: read the two side by side.

A twin starts from the weights of our model and has the same loss and the same optimizer, so that
any difference between the two is a difference between the libraries.

Dropout is the one layer whose numbers can't be the same by themselves. `forward_with_masks` runs
our model and reports which elements its dropout kept; `set_masks` makes the twin keep the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import tinygrad_fm
from tinygrad_fm.tensor import Tensor

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# -------------------------------------------------------------------------------- architectures


def sigmoid_mlp(hidden: int = 128) -> nn.Sequential:
    """784 - hidden - 10, a sigmoid after both layers."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, hidden), nn.Sigmoid(), nn.Linear(hidden, 10), nn.Sigmoid()
    )


def mlp(hidden: tuple[int, int] = (128, 64)) -> nn.Sequential:
    """784 - 128 - 64 - 10 with ReLU, ending in log-probabilities."""
    wide, narrow = hidden
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, wide),
        nn.ReLU(),
        nn.Linear(wide, narrow),
        nn.ReLU(),
        nn.Linear(narrow, 10),
        nn.LogSoftmax(dim=1),
    )


def cnn(channels: tuple[int, int] = (32, 64), hidden: int = 128) -> nn.Sequential:
    """Two blocks of conv 3×3 - ReLU - max pool 2, then a hidden layer, ending in scores."""
    first, second = channels
    return nn.Sequential(
        nn.Conv2d(1, first, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * 7 * 7, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 10),
    )


def cnn_bn(
    channels: tuple[int, ...] = (32, 64, 128),
    hidden: int = 128,
    block_dropout: float = 0.25,
    hidden_dropout: float = 0.5,
) -> nn.Sequential:
    """Blocks of conv 3×3 - BatchNorm - ReLU - max pool 2 - dropout, then a hidden layer."""
    blocks: list[nn.Module] = []
    for inputs, outputs in pairwise((1, *channels)):
        blocks += [
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.MaxPool2d(2),
            MaskedDropout(block_dropout),
        ]
    side = 28 >> len(channels)
    return nn.Sequential(
        *blocks,
        nn.Flatten(),
        nn.Linear(channels[-1] * side * side, hidden),
        nn.ReLU(),
        MaskedDropout(hidden_dropout),
        nn.Linear(hidden, 10),
    )


# -------------------------------------------------------------------------------- dropout


class MaskedDropout(nn.Module):
    """Dropout that keeps the elements of a given `mask` instead of drawing one."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.mask: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return x
        if self.mask is None:
            raise RuntimeError("MaskedDropout in training needs a mask; call set_masks before")
        return x * self.mask / (1 - self.p)


def forward_with_masks(
    model: tinygrad_fm.nn.Sequential, x: Tensor
) -> tuple[Tensor, list[np.ndarray]]:
    """Run our model; return its output and, for each dropout layer, what it kept.

    The model is run in pieces that end with a dropout. An element of a piece's output is not zero
    exactly if it was kept and was not zero before. The second condition does no harm: in these
    models every dropout follows a ReLU (and perhaps max pooling), whose zeros stay zero and pass
    no gradient, kept or not. So nothing has to be known about how and in which order of memory a
    layer draws, or whether it is computed together with its neighbours.
    """
    masks = []
    start = 0
    for end, layer in enumerate(model, start=1):
        if isinstance(layer, tinygrad_fm.nn.Dropout):
            x = model[start:end](x)
            masks.append(x.data != 0)
            start = end
    return model[start:](x), masks


def set_masks(twin: nn.Module, masks: Iterable[np.ndarray]) -> None:
    """Let the twin's next forward pass drop what ours has dropped."""
    layers = [layer for layer in twin.modules() if isinstance(layer, MaskedDropout)]
    for layer, mask in zip(layers, masks, strict=True):
        layer.mask = torch.tensor(mask)


# -------------------------------------------------------------------------------- twins


def bernoulli_nll(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy, summed over classes, mean over N."""
    answers = F.one_hot(labels, probabilities.shape[1]).to(probabilities.dtype)
    return F.binary_cross_entropy(probabilities, answers, reduction="sum") / len(labels)


BUILDERS: dict[str, Callable[..., nn.Sequential]] = {
    "sigmoid-mlp": sigmoid_mlp,
    "mlp": mlp,
    "cnn": cnn,
    "cnn-bn": cnn_bn,
}
LOSSES: dict[str, Loss] = {
    "sigmoid-mlp": bernoulli_nll,
    "mlp": F.nll_loss,
    "cnn": F.cross_entropy,
    "cnn-bn": F.cross_entropy,
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sigmoid-mlp": partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-5),
    "mlp": partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-4),
    "cnn": partial(torch.optim.SGD, momentum=0.9, weight_decay=5e-4),
    "cnn-bn": torch.optim.Adam,
}


def twin(name: str, model: tinygrad_fm.nn.Module, **sizes: Any) -> nn.Sequential:
    """The PyTorch model of a recipe, with a copy of our model's weights, buffers and dtype.

    `sizes` are those that our model was built with, if not the defaults.

    Raises:
        KeyError: no recipe has this name.
        RuntimeError: the weights do not fit (PyTorch lists them): other sizes or another model.
    """
    built = BUILDERS[name](**sizes)
    state = {key: torch.tensor(array) for key, array in model.state_dict().items()}
    built.to(next(iter(state.values())).dtype)
    built.load_state_dict(state)
    return built


def twin_loss(name: str) -> Loss:
    """(outputs, labels) → the batch's mean loss, as the recipe's."""
    return LOSSES[name]


def twin_optimizer(
    name: str, parameters: Iterable[nn.Parameter], lr: float
) -> torch.optim.Optimizer:
    """The recipe's optimizer."""
    return OPTIMIZERS[name](parameters, lr=lr)

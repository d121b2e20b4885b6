"""The models of `tinygrad_fm.recipes`, written out in PyTorch: read the two side by side.

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
from tinygrad_fm.autograd.tensor import Tensor

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


def mlp_deep(hidden: tuple[int, ...] = (512, 256, 128), dropout: float = 0.2) -> nn.Sequential:
    """Hidden layers of linear - BatchNorm - ReLU - dropout, ending in log-probabilities."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise((784, *hidden)):
        layers += [
            nn.Linear(inputs, outputs),
            nn.BatchNorm1d(outputs),
            nn.ReLU(),
            MaskedDropout(dropout),
        ]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], 10), nn.LogSoftmax(dim=1))


def mlp_1hidden(inputs: int = 784, hidden: int = 128) -> nn.Sequential:
    """inputs - hidden ReLU - 10, ending in scores."""
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def convolution(inputs: int, outputs: int) -> list[nn.Module]:
    """conv 3×3 - BatchNorm - ReLU."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


class FiveConvolutions(nn.Module):
    """`features` makes `hidden` numbers of an image, `classifier` ten scores of those."""

    def __init__(
        self,
        channels: tuple[int, int, int] = (32, 64, 128),
        hidden: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        first, second, third = channels
        self.features = nn.Sequential(
            *convolution(1, first),
            nn.MaxPool2d(2),
            *convolution(first, second),
            *convolution(second, second),
            nn.MaxPool2d(2),
            *convolution(second, third),
            *convolution(third, third),
            nn.MaxPool2d(2),
            nn.Flatten(),
            MaskedDropout(dropout / 2),
            nn.Linear(third * 3 * 3, hidden),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(MaskedDropout(dropout), nn.Linear(hidden, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images))


class BasicBlock(nn.Module):
    """relu(residual(x) + shortcut(x))."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.residual(x) + self.shortcut(x))


def resnet(channels: tuple[int, ...] = (16, 32, 64), blocks: int = 3) -> nn.Sequential:
    """A convolution, stages of `blocks` basic blocks each, global average pooling, scores."""
    first, last = channels[0], channels[-1]
    stages: list[nn.Module] = [BasicBlock(first, first) for _ in range(blocks)]
    for inputs, outputs in pairwise(channels):
        stages += [BasicBlock(inputs, outputs, stride=2)]
        stages += [BasicBlock(outputs, outputs) for _ in range(blocks - 1)]
    return nn.Sequential(
        nn.Conv2d(1, first, 3, padding=1, bias=False),
        nn.BatchNorm2d(first),
        nn.ReLU(),
        *stages,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(last, 10),
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


def forward_with_masks(model: tinygrad_fm.nn.Module, x: Tensor) -> tuple[Tensor, list[np.ndarray]]:
    """Run our model; return its output and, for each dropout layer, what it kept.

    An element of a dropout's output is not zero exactly if it was kept and was not zero before.
    The second condition does no harm: in these models every dropout follows a ReLU (and perhaps
    max pooling), whose zeros stay zero and pass no gradient, kept or not. So nothing has to be
    known about how and in which order of memory a layer draws.
    """
    masks: list[np.ndarray] = []

    def record(layer: Any, inputs: tuple, output: Tensor) -> None:
        masks.append(output.data != 0)

    layers = [m for m in model.modules() if isinstance(m, tinygrad_fm.nn.Dropout)]
    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        return model(x), masks
    finally:
        for handle in handles:
            handle.remove()


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


BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "sigmoid-mlp": sigmoid_mlp,
    "mlp": mlp,
    "cnn": cnn,
    "cnn-bn": cnn_bn,
    "cnn-2conv": cnn,
    "cnn-3conv": cnn_bn,
    "cnn-3conv-plus": cnn_bn,
    "mlp-deep": mlp_deep,
    "mlp-1hidden": mlp_1hidden,
    "cnn-5conv": FiveConvolutions,
    "features-mlp": partial(mlp_1hidden, inputs=256),
    "resnet": resnet,
}
LOSSES: dict[str, Loss] = dict.fromkeys(BUILDERS, F.cross_entropy) | {
    "sigmoid-mlp": bernoulli_nll,
    "mlp": F.nll_loss,
    "mlp-deep": F.nll_loss,
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = dict.fromkeys(
    BUILDERS, torch.optim.Adam
) | {
    "sigmoid-mlp": partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-5),
    "mlp": partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-4),
    "cnn": partial(torch.optim.SGD, momentum=0.9, weight_decay=5e-4),
    "mlp-1hidden": partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-4),
    "cnn-5conv": partial(torch.optim.AdamW, weight_decay=0.05),
    "resnet": partial(torch.optim.SGD, momentum=0.9, weight_decay=5e-4, nesterov=True),
}


def twin(name: str, model: tinygrad_fm.nn.Module, **sizes: Any) -> nn.Module:
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

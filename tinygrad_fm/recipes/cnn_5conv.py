"""A published CNN of five convolutions, whose last hidden layer describes an image by 256 numbers.

The source leaves widths, optimizer, schedule and augmentation open. BatchNorm is ours as well: it
names none, but in as many epochs the network falls short without it.
"""

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.data import RandomCrop, RandomHorizontalFlip
from tinygrad_fm.nn import (
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
)
from tinygrad_fm.nn import functional as F
from tinygrad_fm.optim import AdamW
from tinygrad_fm.recipes.recipe import Recipe, one_cycle, softmax


def convolution(inputs: int, outputs: int) -> list[Module]:
    """conv 3×3 - BatchNorm, whose shift takes the bias's place - ReLU."""
    conv = Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [conv, BatchNorm2d(outputs), ReLU()]


class FiveConvolutions(Module):
    """`features` makes `hidden` numbers of an image, `classifier` ten scores of those."""

    def __init__(
        self,
        channels: tuple[int, int, int] = (32, 64, 128),
        hidden: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        first, second, third = channels
        self.features = Sequential(
            *convolution(1, first),  # (N, 1, 28, 28) -> (N, 32, 28, 28)
            MaxPool2d(2),  # -> (N, 32, 14, 14)
            *convolution(first, second),
            *convolution(second, second),
            MaxPool2d(2),  # -> (N, 64, 7, 7)
            *convolution(second, third),
            *convolution(third, third),
            MaxPool2d(2),  # -> (N, 128, 3, 3)
            Flatten(),
            Dropout(dropout / 2),
            Linear(third * 3 * 3, hidden),
            ReLU(),
        )
        self.classifier = Sequential(Dropout(dropout), Linear(hidden, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))


RECIPE = Recipe(
    name="cnn-5conv",
    summary="conv 32 - pool - 2 × conv 64 - pool - 2 × conv 128 - pool - 256 ReLU - 10",
    source="a published CNN of five convolutions; BatchNorm is ours",
    dataset="fashion-mnist",
    build=FiveConvolutions,
    loss=F.cross_entropy,
    probabilities=softmax,
    optimizer=lambda parameters, lr: AdamW(parameters, lr, weight_decay=0.05),
    lr=2e-3,
    epochs=30,
    step_schedule=one_cycle,
    augment=(RandomCrop(28, padding=2), RandomHorizontalFlip()),
    published=0.93,
    must_reach=0.935,
)

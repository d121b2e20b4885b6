"""A residual network of 20 layers, as He et al. made for small images.

He et al. (2015), Deep Residual Learning for Image Recognition, section 4.2,
https://arxiv.org/abs/1512.03385; erasing after Zhong et al. (2017),
https://arxiv.org/abs/1708.04896; its authors report 95.55 % after 300 epochs.
"""

from itertools import pairwise

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.data import RandomCrop, RandomErasing, RandomHorizontalFlip
from tinygrad_fm.nn import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Identity,
    Linear,
    Module,
    ReLU,
    Sequential,
)
from tinygrad_fm.nn import functional as F
from tinygrad_fm.optim import SGD
from tinygrad_fm.recipes.recipe import Recipe, one_cycle, softmax


class BasicBlock(Module):
    """relu(residual(x) + shortcut(x)): two convolutions learn what to add to their input."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = Sequential(
            Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            BatchNorm2d(outputs),
            ReLU(),
            Conv2d(outputs, outputs, 3, padding=1, bias=False),
            BatchNorm2d(outputs),
        )
        self.shortcut: Module = Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = Sequential(
                Conv2d(inputs, outputs, 1, stride, bias=False), BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x))


def build(channels: tuple[int, ...] = (16, 32, 64), blocks: int = 3) -> Sequential:
    """A convolution, stages of `blocks` basic blocks each, global average pooling, scores."""
    first, last = channels[0], channels[-1]
    stages: list[Module] = [BasicBlock(first, first) for _ in range(blocks)]
    for inputs, outputs in pairwise(channels):  # 28 -> 14 -> 7
        stages += [BasicBlock(inputs, outputs, stride=2)]
        stages += [BasicBlock(outputs, outputs) for _ in range(blocks - 1)]
    return Sequential(
        Conv2d(1, first, 3, padding=1, bias=False),  # (N, 1, 28, 28) -> (N, 16, 28, 28)
        BatchNorm2d(first),
        ReLU(),
        *stages,  # -> (N, 64, 7, 7)
        AdaptiveAvgPool2d(1),
        Flatten(),  # -> (N, 64)
        Linear(last, 10),
    )


RECIPE = Recipe(
    name="resnet",
    summary="conv 16 - 3 × 3 residual blocks of 16, 32, 64 channels - mean - 10",
    source="He et al. (2015), with the images' augmentation of Zhong et al. (2017)",
    dataset="fashion-mnist",
    build=build,
    loss=F.cross_entropy,
    probabilities=softmax,
    optimizer=lambda parameters, lr: SGD(
        parameters, lr, momentum=0.9, weight_decay=5e-4, nesterov=True
    ),
    lr=0.1,
    epochs=30,
    batch_size=128,
    step_schedule=one_cycle,
    augment=(RandomCrop(28, padding=2), RandomHorizontalFlip(), RandomErasing()),
    published=0.9555,
    must_reach=0.94,
)

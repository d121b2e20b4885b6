"""A published CNN of three convolutions, with the settings that its source gives."""

from functools import partial

from tinygrad_fm.nn import functional as F
from tinygrad_fm.optim import Adam
from tinygrad_fm.recipes import cnn_bn
from tinygrad_fm.recipes.recipe import Recipe, softmax

RECIPE = Recipe(
    name="cnn-3conv",
    summary="3 × (conv - BatchNorm - ReLU - pool - dropout) - 128 ReLU - 10",
    source="a published CNN of three convolutions; padding and batch size are ours",
    dataset="fashion-mnist",
    build=partial(
        cnn_bn.build, channels=(32, 64, 128), hidden=128, block_dropout=0.25, hidden_dropout=0.5
    ),
    loss=F.cross_entropy,
    probabilities=softmax,
    optimizer=lambda parameters, lr: Adam(parameters, lr),
    lr=1e-4,
    epochs=50,
    published=0.9137,
    must_reach=0.925,
)

"""A published CNN of two convolutions, with the settings that its source gives."""

from functools import partial

from tinygrad_fm.nn import functional as F
from tinygrad_fm.optim import Adam
from tinygrad_fm.recipes import cnn
from tinygrad_fm.recipes.recipe import Recipe, softmax

RECIPE = Recipe(
    name="cnn-2conv",
    summary="conv 32 - pool - conv 64 - pool - 128 ReLU - 10",
    source="a published CNN of two convolutions; padding and batch size are ours",
    dataset="fashion-mnist",
    build=partial(cnn.build, channels=(32, 64), hidden=128),
    loss=F.cross_entropy,
    probabilities=softmax,
    optimizer=lambda parameters, lr: Adam(parameters, lr),
    lr=1e-3,
    epochs=50,
    published=0.901,
    must_reach=0.915,
)

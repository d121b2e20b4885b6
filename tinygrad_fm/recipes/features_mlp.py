"""A published MLP that sees no pixels: its inputs are the features of a trained `cnn-5conv`."""

from functools import partial

from tinygrad_fm.nn import functional as F
from tinygrad_fm.optim import Adam
from tinygrad_fm.optim.lr_scheduler import CosineAnnealingLR
from tinygrad_fm.recipes import cnn_5conv, mlp_1hidden
from tinygrad_fm.recipes.recipe import Recipe, softmax

RECIPE = Recipe(
    name="features-mlp",
    summary="256 features of cnn-5conv - 128 ReLU - 10 softmax",
    source="a published MLP on the features of a CNN",
    dataset="fashion-mnist",
    build=partial(mlp_1hidden.build, inputs=256, hidden=128),
    loss=F.cross_entropy,
    probabilities=softmax,
    optimizer=lambda parameters, lr: Adam(parameters, lr),
    lr=1e-3,
    epochs=20,
    schedule=lambda optimizer, epochs: CosineAnnealingLR(optimizer, epochs),
    extractor=cnn_5conv.RECIPE,
    published=0.93,
    must_reach=0.935,
)

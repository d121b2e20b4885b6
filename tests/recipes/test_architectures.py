"""What the recipes build: sizes, features, and that each network can learn."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_fm
from tinygrad_fm import Tensor, manual_seed, nn, no_grad
from tinygrad_fm.data import Garments
from tinygrad_fm.plan.compiled import plan_of
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.cnn_5conv import FiveConvolutions
from tinygrad_fm.report import pca

PARAMETERS = {
    "sigmoid-mlp": 101_770,
    "mlp": 109_386,
    "cnn": 421_642,
    "cnn-bn": 241_994,
    "cnn-2conv": 421_642,
    "cnn-3conv": 241_994,
    "cnn-3conv-plus": 241_994,
    "mlp-deep": 569_226,
    "mlp-1hidden": 101_770,
    "cnn-5conv": 575_338,
    "features-mlp": 34_186,
    "resnet": 272_186,
}


def pictures(size: int) -> tuple[Tensor, Tensor]:
    garments = Garments(size=size)
    return Tensor((garments.images / 127.5 - 1).astype(np.float32)), Tensor(garments.labels)


def inputs(name: str, images: Tensor) -> Tensor:
    if RECIPES[name].extractor is None:
        return images
    return Tensor(np.random.default_rng(0).random((len(images), 256), np.float32))  # features


def test_every_recipe_is_known():
    assert list(RECIPES) == list(PARAMETERS)
    assert all(RECIPES[name].name == name for name in RECIPES)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_outputs(name):
    recipe = RECIPES[name]
    model = recipe.build().eval()
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    images, _ = pictures(3)
    outputs = model(inputs(name, images))
    assert outputs.shape == (3, 10)
    assert outputs.dtype == np.float32
    probabilities = recipe.probabilities(outputs.detach().numpy())
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", PARAMETERS)
def test_learns_a_batch_by_heart(name):
    manual_seed(1)
    recipe = RECIPES[name]
    model = recipe.build()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0
    images, labels = pictures(12)
    x = inputs(name, images)
    optimizer = recipe.optimizer(model.parameters(), recipe.lr)
    for _ in range(1000):
        optimizer.zero_grad()
        loss = recipe.loss(model(x), labels)
        if loss.item() < 0.01:
            return
        loss.backward()
        optimizer.step()
    pytest.fail(f"the loss is still {loss.item():.3f}")


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_hook_hears_the_features_of_every_network(name):
    """What the last layer is given, and what it makes of it; as points on a plane."""
    model = RECIPES[name].build().eval()
    *_, last = (layer for layer in model.modules() if isinstance(layer, nn.Linear))
    heard = []
    handle = last.register_forward_hook(lambda _, given, made: heard.append((given[0], made)))
    images, _ = pictures(12)
    with no_grad():
        model(inputs(name, images))
    handle.remove()
    ((features, scores),) = heard
    assert features.shape == (12, last.in_features)
    expected = features.numpy() @ last.weight.data.T + last.bias.data
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-4, atol=1e-5)
    points, share = pca(features.numpy())
    assert points.shape == (12, 2)
    assert 0 < share.sum() <= 1.0001


def test_features_are_what_the_classifier_sees():
    model = FiveConvolutions(channels=(4, 6, 8), hidden=5).eval()
    images, _ = pictures(4)
    features = model.features(images)
    assert features.shape == (4, 5)
    np.testing.assert_array_equal(model.classifier(features).detach(), model(images).detach())


def test_blocks_inside_a_model_of_our_own_are_fused():
    model = tinygrad_fm.compile(FiveConvolutions(channels=(4, 6, 8), hidden=5))
    plan, _ = plan_of(model, pictures(4)[0])
    names = [node.operation.__name__ for node in plan.trace.nodes]
    assert names.count("ConvNormBlock") == 3
    assert names.count("Conv3x3") == 2
    assert not {"MaxPool2d", "ReLU"}.intersection(names[: names.index("Reshape")])

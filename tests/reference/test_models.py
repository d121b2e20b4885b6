"""Whole models against their PyTorch twins: same weights, same batches, same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tinygrad_fm import Tensor, data, manual_seed, nn
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.reference.models import (
    forward_with_masks,
    set_masks,
    twin,
    twin_loss,
    twin_optimizer,
)

# Without `cnn-3conv-plus` and `features-mlp`, whose networks are among the others.
NAMES = [name for name in RECIPES if name not in ("cnn-3conv-plus", "features-mlp")]
STEPS = 50
# Where the recipe's own rate teaches nothing in 50 small batches, or makes of rounding errors
# differences that can be seen.
RATES = {"cnn-3conv": 1e-3, "cnn-5conv": 5e-4, "resnet": 5e-3}
# Fifty steps of these would take long; the gradients are compared at their own widths as well.
SIZES = {
    "cnn-5conv": {"channels": (16, 32, 64)},
    "resnet": {"channels": (8, 16, 32), "blocks": 1},  # every kind of block
}
BATCH = 12  # not a multiple of 8: the last chunk of a blocked operation is smaller


def batches(count: int, size: int = BATCH) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches of garments: images (size, 1, 28, 28) float64 in [-1, 1], labels (size,)."""
    garments = data.Garments(size=count * size)
    images = garments.images / 127.5 - 1
    shape = (count, size, 1, 28, 28)
    return list(zip(images.reshape(shape), garments.labels.reshape(count, size), strict=True))


def model_and_twin(name: str, **sizes: Any) -> tuple[nn.Module, torch.nn.Module]:
    manual_seed(1)
    model = RECIPES[name].build(**sizes).double()
    return model, twin(name, model, **sizes)


def losses_of_both(
    name: str, model: nn.Module, other: torch.nn.Module, images: np.ndarray, labels: np.ndarray
) -> tuple[Tensor, torch.Tensor]:
    """One forward pass of each with the same dropout."""
    outputs, masks = forward_with_masks(model, Tensor(images))
    set_masks(other, masks)
    loss = RECIPES[name].loss(outputs, Tensor(labels))
    return loss, twin_loss(name)(other(torch.tensor(images)), torch.tensor(labels))


@pytest.mark.parametrize("name", NAMES)
def test_fifty_steps_of_training_are_the_same(name):
    model, other = model_and_twin(name, **SIZES.get(name, {}))
    recipe = RECIPES[name]
    lr = RATES.get(name, recipe.lr)
    optimizer = recipe.optimizer(model.parameters(), lr)
    other_optimizer = twin_optimizer(name, other.parameters(), lr)
    ours, theirs = [], []
    *train, (unseen, _) = batches(STEPS + 1)
    for images, labels in train:
        optimizer.zero_grad()
        other_optimizer.zero_grad()
        loss, other_loss = losses_of_both(name, model, other, images, labels)
        loss.backward()
        other_loss.backward()
        optimizer.step()
        other_optimizer.step()
        ours.append(loss.item())
        theirs.append(other_loss.item())

    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8)
    assert np.mean(ours[-10:]) < 0.95 * ours[0]  # it did learn
    # In evaluation mode batch norm's running estimates count as well.
    outputs, other_outputs = model.eval()(Tensor(unseen)), other.eval()(torch.tensor(unseen))
    np.testing.assert_allclose(outputs.detach(), other_outputs.detach(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("size", [2, 12, 16])
@pytest.mark.parametrize("name", NAMES)
def test_every_gradient_is_the_same(name, size):
    model, other = model_and_twin(name)
    ((images, labels),) = batches(1, size)
    loss, other_loss = losses_of_both(name, model, other, images, labels)
    loss.backward()
    other_loss.backward()
    assert loss.item() == pytest.approx(other_loss.item(), rel=1e-9)
    theirs = dict(other.named_parameters())
    for key, parameter in model.named_parameters():
        # atol is for what is exactly zero: a bias before batch norm, pixels that are always black.
        # (Of two images, batch norm multiplies what PyTorch's number of threads does to the last
        # bit by a thousand.)
        np.testing.assert_allclose(
            parameter.grad, theirs.pop(key).grad, rtol=1e-9, atol=1e-11, err_msg=key
        )
    assert not theirs


@pytest.mark.parametrize("name", NAMES)
def test_weights_come_back_from_the_twin(name):
    model, other = model_and_twin(name)
    manual_seed(2)
    again = RECIPES[name].build().double()
    again.load_state_dict(other.state_dict())
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[key], array, err_msg=key)


def test_recording_masks_changes_nothing():
    model, _ = model_and_twin("cnn-bn")
    ((images, _),) = batches(1)
    manual_seed(2)
    whole = model(Tensor(images)).detach()
    manual_seed(2)
    pieces, masks = forward_with_masks(model, Tensor(images))
    np.testing.assert_array_equal(whole, pieces.detach())
    assert [mask.shape for mask in masks] == [
        (BATCH, 32, 14, 14),
        (BATCH, 64, 7, 7),
        (BATCH, 128, 3, 3),
        (BATCH, 128),
    ]


def test_a_twin_without_masks_says_so():
    _, other = model_and_twin("cnn-bn")
    with pytest.raises(RuntimeError, match="needs a mask; call set_masks"):
        other(torch.zeros(2, 1, 28, 28, dtype=torch.float64))


def test_a_twin_of_other_sizes_is_refused():
    with pytest.raises(RuntimeError, match=r"size mismatch for 1\.weight"):
        twin("sigmoid-mlp", RECIPES["sigmoid-mlp"].build(), hidden=64)
    model = RECIPES["cnn"].build(channels=(4, 8), hidden=16)
    assert twin("cnn", model, channels=(4, 8), hidden=16)[3].weight.dtype == torch.float32

"""Pruning: PyTorch's masks, and zeros that stay zero whatever the optimizer does."""

from __future__ import annotations

import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.nn.utils import prune as torch_prune

import tinygrad_fm as tg
from tinygrad_fm import nn, optim
from tinygrad_fm.nn import functional as F
from tinygrad_fm.nn import prune


def network() -> nn.Sequential:
    tg.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def weights(model) -> list[tuple]:
    return [(model[0], "weight"), (model[-1], "weight")]


def batch() -> tuple[tg.Tensor, tg.Tensor]:
    rng = np.random.default_rng(0)
    return tg.tensor(rng.normal(size=(8, 1, 8, 8)).astype("f")), tg.tensor(rng.integers(3, size=8))


def masks(model) -> list[np.ndarray]:
    return [np.asarray(array) for name, array in model.state_dict().items() if "mask" in name]


@pytest.fixture
def twins():
    """Our network and PyTorch's with the same weights."""
    ours = network()
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 3),
    )
    theirs.load_state_dict({n: torch.tensor(a) for n, a in ours.state_dict().items()})
    return ours, theirs


def test_masks_names_and_outputs_are_pytorchs_in_two_rounds(twins):
    ours, theirs = twins
    for amount in (0.5, 0.3):  # the second time: of what is left
        prune.global_unstructured(weights(ours), amount)
        torch_prune.global_unstructured(weights(theirs), torch_prune.L1Unstructured, amount=amount)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for mine, its in zip(masks(ours), masks(theirs), strict=True):
            np.testing.assert_array_equal(mine, its)
    x, _ = batch()
    expected = theirs(torch.tensor(x.numpy())).detach().numpy()
    np.testing.assert_allclose(ours(x).detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    twin = network()
    prune.global_unstructured(weights(twin), 0)
    twin.load_state_dict(theirs.state_dict())  # PyTorch's pruned weights load as they are
    np.testing.assert_array_equal(twin(x).detach().numpy(), ours(x).detach().numpy())


def test_one_parameter_alone_is_pruned_as_pytorch_prunes_it(twins):
    ours, theirs = (model[-1] for model in twins)
    prune.l1_unstructured(ours, "weight", 0.4)
    torch_prune.l1_unstructured(theirs, "weight", amount=0.4)
    np.testing.assert_array_equal(ours.weight_mask.numpy(), theirs.weight_mask.numpy())
    assert repr(ours).startswith("PrunedLinear(64, 3)")


@pytest.mark.parametrize(
    "rule",
    [
        lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
        lambda p: optim.AdamW(p, 0.1),
    ],
    ids=["SGD", "AdamW"],
)
def test_zeros_survive_an_optimizer_with_momentum_from_before(rule):
    model = network()
    optimizer = rule(model.parameters())
    images, labels = batch()

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    step()
    prune.global_unstructured(weights(model), 0.7)
    before = [layer.weight.detach().numpy().copy() for layer, _ in weights(model)]
    for _ in range(3):
        step()
    after = [layer.weight.detach().numpy() for layer, _ in weights(model)]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new == 0, old == 0)
        assert (new[old != 0] != old[old != 0]).all()  # what is left goes on learning
    zeros, total = sum((w == 0).sum() for w in after), sum(w.size for w in after)
    assert zeros == round(0.7 * total)
    gradient = model[0].weight_orig.grad.numpy()
    assert not gradient[before[0] == 0].any()


def test_another_round_does_not_touch_the_graph_of_the_one_before():
    layer = nn.Linear(6, 3)
    prune.l1_unstructured(layer, "weight", 0.5)
    before = layer.weight_mask.numpy().copy()
    loss = layer(tg.ones(2, 6)).sum()
    prune.l1_unstructured(layer, "weight", 1.0)
    assert not layer.weight.detach().numpy().any()
    loss.backward()  # ∂loss/∂weight is 2: two rows of ones
    np.testing.assert_array_equal(layer.weight_orig.grad.numpy(), 2 * before)


def test_removed_masks_leave_the_zeros_and_the_plain_layer(twins):
    model, _ = twins
    names = list(model.state_dict())
    prune.global_unstructured(weights(model), 0.6)
    prune.l1_unstructured(model[0], "bias", 0.5)
    images, _ = batch()
    pruned = model(images).detach().numpy()
    assert prune.is_pruned(model)
    for layer, name in [*weights(model), (model[0], "bias")]:
        prune.remove(layer, name)
    assert not prune.is_pruned(model)
    assert type(model[0]) is nn.Conv2d
    assert sorted(model.state_dict()) == sorted(names)
    assert isinstance(model[0].weight, nn.Parameter)
    np.testing.assert_allclose(model(images).detach().numpy(), pruned, rtol=1e-5, atol=1e-6)


def pickled(model: nn.Sequential) -> nn.Sequential:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("twin_of", [deepcopy, pickled], ids=["deepcopy", "pickle"])
def test_a_copy_of_a_pruned_model_is_independent(twin_of):
    model = network()
    prune.global_unstructured(weights(model), 0.5)
    copy = twin_of(model)
    prune.global_unstructured(weights(copy), 1.0)
    assert not copy[-1].weight.data.any()
    assert model[-1].weight.data.any()
    assert repr(copy) == repr(model)
    assert type(prune.remove(copy[-1], "weight")) is nn.Linear


@pytest.mark.parametrize("amount", [-0.1, 1.5])
def test_another_share_is_an_error(amount):
    with pytest.raises(ValueError, match=f"from 0 to 1; got {amount}"):
        prune.l1_unstructured(nn.Linear(2, 2), "weight", amount)


def test_what_cannot_be_pruned_or_removed_is_named():
    layer = nn.Linear(2, 2, bias=False)
    with pytest.raises(ValueError, match="Linear has no parameter 'bias' to prune, only weight"):
        prune.l1_unstructured(layer, "bias", 0.5)
    with pytest.raises(ValueError, match="'weight' of Linear is not pruned"):
        prune.remove(layer, "weight")

"""Bad input to layers and losses: what the error says, and that good input beside it passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_fm as tg
from tinygrad_fm import Tensor, nn
from tinygrad_fm.nn import functional as F

Call = Callable[[], Any]


def zeros(*shape: int) -> Tensor:
    return tg.zeros(*shape)


def labels(*numbers: float, dtype: str = "int64") -> Tensor:
    return Tensor(np.array(numbers, dtype))


# ------------------------------------------------------------------------ wrong input shapes

SHAPES: dict[str, tuple[Call, str]] = {
    "Linear": (
        lambda: nn.Linear(784, 10)(zeros(64, 100)),
        r"Linear expected last dimension 784, got \(64, 100\)$",
    ),
    "Linear on images": (
        lambda: nn.Linear(784, 10)(zeros(64, 28, 28)),
        r"expected last dimension 784, got \(64, 28, 28\); add nn\.Flatten\(\) before it",
    ),
    "Linear on a number": (lambda: nn.Linear(1, 1)(zeros()), r"dimension 1, got \(\)"),
    "Conv2d axes": (
        lambda: nn.Conv2d(1, 2, 3)(zeros(64, 28, 28)),
        r"conv2d expects images \(N, C, H, W\), got \(64, 28, 28\); .*x\.unsqueeze",
    ),
    "Conv2d flat": (lambda: nn.Conv2d(1, 2, 3)(zeros(784)), r"got \(784,\)$"),
    "Conv2d channels": (
        lambda: nn.Conv2d(3, 6, 3)(zeros(2, 1, 8, 8)),
        r"weight \(6, 3, 3, 3\) and groups=1 expects 3 channels, got input \(2, 1, 8, 8\)",
    ),
    "Conv2d groups": (
        lambda: F.conv2d(zeros(1, 4, 8, 8), zeros(3, 2, 3, 3), groups=2),
        "groups=2 expects 4 channels",
    ),
    "Conv2d too small": (
        lambda: nn.Conv2d(1, 1, 5)(zeros(1, 1, 4, 8)),
        r"kernel \(5, 5\) .* larger than the padded image: \(4, 8\) with padding \(0, 0\)",
    ),
    "Conv2d dilated": (
        lambda: nn.Conv2d(1, 1, 3, dilation=4)(zeros(1, 1, 8, 8)),
        r"kernel \(3, 3\) \(dilation \(4, 4\)\) is larger",
    ),
    "ConvTranspose2d axes": (
        lambda: nn.ConvTranspose2d(1, 2, 3)(zeros(28, 28)),
        r"conv_transpose2d expects images .* got \(28, 28\)",
    ),
    "ConvTranspose2d channels": (
        lambda: nn.ConvTranspose2d(3, 2, 3)(zeros(1, 2, 4, 4)),
        r"expects 3 channels, got input \(1, 2, 4, 4\)",
    ),
    "ConvTranspose2d too small": (
        lambda: nn.ConvTranspose2d(1, 1, 2, padding=2)(zeros(1, 1, 2, 2)),
        r"output would have size \(-1, -1\)",
    ),
    "ConvTranspose2d output_padding": (
        lambda: nn.ConvTranspose2d(1, 1, 2, output_padding=1)(zeros(1, 1, 2, 2)),
        r"output_padding \(1, 1\) must be smaller than stride or dilation",
    ),
    "MaxPool2d": (
        lambda: nn.MaxPool2d(2)(zeros(4, 4)),
        r"max_pool2d expects images \(N, C, H, W\), got \(4, 4\)",
    ),
    "MaxPool2d too small": (
        lambda: nn.MaxPool2d(3)(zeros(1, 1, 2, 4)),
        r"max_pool2d's kernel \(3, 3\) is larger than the image \(2, 4\)",
    ),
    "MaxPool2d padding": (
        lambda: nn.MaxPool2d(2, padding=2)(zeros(1, 1, 4, 4)),
        r"padding \(2, 2\) is more than half its kernel \(2, 2\)",
    ),
    "AvgPool2d": (lambda: nn.AvgPool2d(2)(zeros(8)), "avg_pool2d expects images"),
    "AvgPool2d too small": (lambda: nn.AvgPool2d(3)(zeros(1, 1, 2, 2)), "avg_pool2d's kernel"),
    "AdaptiveAvgPool2d": (
        lambda: nn.AdaptiveAvgPool2d(1)(zeros(2, 8)),
        r"adaptive_avg_pool2d expects images \(N, C, H, W\), got \(2, 8\)",
    ),
    "BatchNorm1d axes": (
        lambda: nn.BatchNorm1d(3)(zeros(2, 3, 4, 4)),
        r"BatchNorm1d expects \(N, C\) or \(N, C, L\), got \(2, 3, 4, 4\)",
    ),
    "BatchNorm1d channels": (
        lambda: nn.BatchNorm1d(3)(zeros(4, 5)),
        r"batch_norm for input \(4, 5\) must have shape \(5,\), got \(3,\)",
    ),
    "BatchNorm1d of one": (
        lambda: nn.BatchNorm1d(3)(zeros(1, 3)),
        r"more than one value per channel, got \(1, 3\); .*larger batch or model\.eval\(\)",
    ),
    "BatchNorm2d axes": (
        lambda: nn.BatchNorm2d(3)(zeros(2, 3)),
        r"BatchNorm2d expects images \(N, C, H, W\), got \(2, 3\)",
    ),
    "BatchNorm2d channels": (
        lambda: nn.BatchNorm2d(3)(zeros(2, 4, 5, 5)),
        r"batch_norm for input \(2, 4, 5, 5\) must have shape \(4,\), got \(3,\)",
    ),
    "batch_norm without estimates": (
        lambda: F.batch_norm(zeros(2, 3), None, None),
        "in evaluation needs running_mean and running_var",
    ),
    "LayerNorm": (
        lambda: nn.LayerNorm((2, 3))(zeros(4, 3, 2)),
        r"layer_norm expects the last axes to be \(2, 3\), got \(4, 3, 2\)",
    ),
    "LayerNorm few axes": (lambda: nn.LayerNorm((2, 3))(zeros(3)), r"to be \(2, 3\), got \(3,\)"),
    "pad": (lambda: F.pad(zeros(3), (1, 1, 1)), r"two widths per axis, got 3 for shape \(3,\)"),
    "pad axes": (lambda: F.pad(zeros(3), (1, 1, 1, 1)), "got 4 for shape"),
}


@pytest.mark.parametrize(("call", "message"), SHAPES.values(), ids=SHAPES)
def test_wrong_input_shapes(call: Call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


PARAMETERS: dict[str, tuple[Callable[[Any, Any], Any], tuple[int, ...]]] = {
    "linear": (lambda m, b: m.nn.functional.linear(m.ones(3, 4), m.ones(2, 4), b), (2,)),
    "conv2d": (
        lambda m, b: m.nn.functional.conv2d(m.ones(1, 1, 5, 5), m.ones(2, 1, 2, 2), b),
        (2,),
    ),
    "conv2d 3x3": (
        lambda m, b: m.nn.functional.conv2d(m.ones(1, 1, 5, 5), m.ones(2, 1, 3, 3), b, padding=1),
        (2,),
    ),
    "conv_transpose2d": (
        lambda m, b: m.nn.functional.conv_transpose2d(
            m.ones(1, 2, 5, 5), m.ones(2, 1, 3, 3), b, groups=2
        ),
        (2,),
    ),
    "batch_norm": (
        lambda m, b: m.nn.functional.batch_norm(m.ones(4, 2), None, None, b, b, True),
        (2,),
    ),
    "batch_norm's estimates": (
        lambda m, b: m.nn.functional.batch_norm(m.ones(4, 2), b, b),
        (2,),
    ),
    "layer_norm's weight": (
        lambda m, b: m.nn.functional.layer_norm(m.ones(2, 2, 3), (2, 3), b),
        (2, 3),
    ),
    "layer_norm's bias": (
        lambda m, b: m.nn.functional.layer_norm(m.ones(2, 2, 3), (2, 3), None, b),
        (2, 3),
    ),
}


@pytest.mark.parametrize(("call", "shape"), PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_are_not_broadcast(call: Callable[[Any, Any], Any], shape: tuple) -> None:
    assert call(tg, tg.ones(shape)).shape == call(torch, torch.ones(shape)).shape
    for wrong in ((), (1,), (1, *shape), (*shape, 1), (5,)):
        with pytest.raises(ValueError, match=rf"must have shape .*{shape[-1]}.*, got "):
            call(tg, tg.ones(wrong))


def test_layers_that_flatten_or_normalise_an_axis() -> None:
    with pytest.raises(IndexError, match=r"axis 1 is out of range for shape \(5,\)"):
        nn.Flatten()(zeros(5))
    for layer in (nn.Softmax(dim=2), nn.LogSoftmax(dim=2)):
        with pytest.raises(IndexError, match=r"axis 2 is out of range for shape \(4, 5\)"):
            layer(zeros(4, 5))


def test_a_block_of_layers_says_the_same_as_its_layers() -> None:
    block = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2)
    )
    with pytest.raises(ValueError, match="conv2d expects images"):
        block(zeros(8, 8))
    with pytest.raises(ValueError, match="expects 1 channels"):
        block(zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"kernel .* larger than the image"):
        block(zeros(1, 1, 1, 8))
    with pytest.raises(TypeError, match="conv2d needs one dtype"):
        block(tg.zeros(1, 1, 8, 8, dtype=tg.float64))
    with pytest.raises(TypeError, match="conv2d takes tensors, got ndarray"):
        block(np.zeros((1, 1, 8, 8), np.float32))


# ------------------------------------------------------------------------ wrong arguments

ARGUMENTS: dict[str, tuple[Call, str]] = {
    "stride 0": (
        lambda: nn.Conv2d(1, 1, 3, stride=0)(zeros(1, 1, 8, 8)),
        "stride is an integer of at least 1 or two of them, got 0",
    ),
    "negative padding": (
        lambda: nn.Conv2d(1, 1, 3, padding=-1)(zeros(1, 1, 8, 8)),
        "padding is an integer of at least 0 or two of them, got -1",
    ),
    "dilation 0": (
        lambda: nn.Conv2d(1, 1, 3, dilation=(1, 0))(zeros(1, 1, 8, 8)),
        r"dilation is .* got \(1, 0\)",
    ),
    "F.conv2d stride 0": (
        lambda: F.conv2d(zeros(1, 1, 8, 8), zeros(1, 1, 3, 3), stride=0),
        "stride is an integer of at least 1 or two of them, got 0",
    ),
    "F.conv2d negative padding": (
        lambda: F.conv2d(zeros(1, 1, 8, 8), zeros(1, 1, 3, 3), padding=-1),
        "padding is an integer of at least 0 or two of them, got -1",
    ),
    "F.conv2d dilation 0": (
        lambda: F.conv2d(zeros(1, 1, 8, 8), zeros(1, 1, 3, 3), dilation=0),
        "dilation is an integer of at least 1 or two of them, got 0",
    ),
    "F.conv2d same with stride 0": (
        lambda: F.conv2d(zeros(1, 1, 8, 8), zeros(1, 1, 3, 3), stride=0, padding="same"),
        "stride is an integer of at least 1 or two of them, got 0",
    ),
    "F.conv2d same with dilation 0": (
        lambda: F.conv2d(zeros(1, 1, 8, 8), zeros(1, 1, 3, 3), padding="same", dilation=0),
        "dilation is an integer of at least 1 or two of them, got 0",
    ),
    "F.conv_transpose2d stride 0": (
        lambda: F.conv_transpose2d(zeros(1, 1, 8, 8), zeros(1, 1, 3, 3), stride=0),
        "stride is an integer of at least 1 or two of them, got 0",
    ),
    "F.conv_transpose2d negative output_padding": (
        lambda: F.conv_transpose2d(zeros(1, 1, 8, 8), zeros(1, 1, 3, 3), output_padding=-1),
        "output_padding is an integer of at least 0 or two of them, got -1",
    ),
    "three strides": (
        lambda: F.conv2d(zeros(1, 1, 8, 8), zeros(1, 1, 3, 3), stride=(1, 1, 1)),
        r"stride is .* got \(1, 1, 1\)",
    ),
    "groups 0": (
        lambda: F.conv2d(zeros(1, 1, 8, 8), zeros(1, 1, 3, 3), groups=0),
        "groups=0 expects 0 channels",
    ),
    "groups": (
        lambda: nn.Conv2d(4, 6, 3, groups=4),
        "groups must divide both channels, got groups=4 for 4 → 6",
    ),
    "named padding": (
        lambda: nn.Conv2d(1, 1, 3, padding="full")(zeros(1, 1, 8, 8)),
        "padding is a size, 'valid' or 'same', got 'full'",
    ),
    "same with stride": (
        lambda: nn.Conv2d(1, 1, 3, stride=2, padding="same")(zeros(1, 1, 8, 8)),
        r"padding='same' needs stride 1, got \(2, 2\)",
    ),
    "pool stride 0": (
        lambda: nn.MaxPool2d(2, stride=0)(zeros(1, 1, 4, 4)),
        "stride is an integer of at least 1 or two of them, got 0",
    ),
    "pool negative padding": (
        lambda: F.max_pool2d(zeros(1, 1, 4, 4), 2, padding=-1),
        "padding is an integer of at least 0 or two of them, got -1",
    ),
    "pool dilation 0": (
        lambda: F.max_pool2d(zeros(1, 1, 4, 4), 2, dilation=0),
        "dilation is an integer of at least 1 or two of them, got 0",
    ),
    "pool kernel 0": (
        lambda: nn.AvgPool2d(0)(zeros(1, 1, 4, 4)),
        "kernel_size is an integer of at least 1 or two of them, got 0",
    ),
    "dropout": (lambda: nn.Dropout(1.5), "probability between 0 and 1, got 1.5"),
    "F.dropout": (lambda: F.dropout(zeros(2), p=-0.1), "probability between 0 and 1, got -0.1"),
    "gelu": (lambda: nn.GELU("fast")(zeros(2)), "'none' or 'tanh', got 'fast'"),
    "pad mode": (lambda: F.pad(zeros(3), (1, 1), "reflect"), "'constant' only, got 'reflect'"),
    "one_hot high": (lambda: F.one_hot(labels(0, 3), 3), "integers from 0 to 2, got int64 0 to 3"),
    "one_hot low": (lambda: F.one_hot(labels(0, -1), 3), "integers from 0 to 2"),
    "one_hot floats": (lambda: F.one_hot(zeros(2), 3), "integers from 0 to 2"),
    "smooth_l1": (lambda: nn.SmoothL1Loss(beta=-1)(zeros(2), zeros(2)), "beta of at least 0"),
}


@pytest.mark.parametrize(("call", "message"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_wrong_arguments(call: Call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------------------ wrong dtypes

IMAGES = (1, 1, 8, 8)
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(8, 2), (3, 8)),
    "conv2d": (lambda: nn.Conv2d(1, 2, 3), IMAGES),
    "conv_transpose2d": (lambda: nn.ConvTranspose2d(1, 2, 3), IMAGES),
    "batch_norm": (lambda: nn.BatchNorm2d(1), IMAGES),
    "layer_norm": (lambda: nn.LayerNorm(8), (3, 8)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["float64", "int64", "uint8"])
def test_layers_promote_nothing_silently(name: str, dtype: str) -> None:
    build, shape = LAYERS[name]
    wanted = rf"{name} needs one dtype .* got {dtype} and float32.*\.float\(\)"
    with pytest.raises(TypeError, match=wanted):
        build()(tg.zeros(shape, dtype=dtype))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_tensors_not_arrays(name: str) -> None:
    build, shape = LAYERS[name]
    with pytest.raises(TypeError, match=r"takes tensors, got ndarray; wrap it"):
        build()(np.ones(shape, np.float32))


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_are_tensors_not_arrays(name: str) -> None:
    build, shape = LAYERS[name]
    layer = build()
    for parameter in ("bias", "weight"):
        vars(layer)[parameter] = getattr(layer, parameter).detach().numpy()
        with pytest.raises(TypeError, match=r"takes tensors, got ndarray; wrap it"):
            layer(tg.ones(shape))


# ------------------------------------------------------------------------ targets

CLASSIFICATION = {"nll_loss": F.nll_loss, "cross_entropy": F.cross_entropy}
TARGETS: dict[str, tuple[Tensor, type[Exception], str]] = {
    "too high": (labels(0, 3), ValueError, r"between 0 and 2 .*3 classes\), got 0 to 3"),
    "negative": (labels(0, -1), ValueError, "between 0 and 2 .* got -1 to 0"),
    "uint8 too high": (labels(0, 200, dtype="uint8"), ValueError, "got 0 to 200"),
    "floats": (labels(0, 1, dtype="float32"), TypeError, r"indices .* got float32; use t\.long"),
    "booleans": (labels(0, 1, dtype="bool"), TypeError, "of an integer dtype, got bool"),
    "too many": (labels(0, 1, 2), ValueError, r"targets \(N, …\), got \(2, 3\) and \(3,\)"),
    "one-hot": (Tensor(np.eye(3, dtype=int)[:2]), ValueError, r"got \(2, 3\) and \(2, 3\)"),
}


@pytest.mark.parametrize("loss", CLASSIFICATION.values(), ids=CLASSIFICATION)
@pytest.mark.parametrize(("target", "error", "message"), TARGETS.values(), ids=TARGETS)
def test_targets_of_classes(
    loss: Callable[..., Any], target: Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        loss(zeros(2, 3), target)
    loss(zeros(2, 3), labels(0, 2))


@pytest.mark.parametrize("loss", CLASSIFICATION.values(), ids=CLASSIFICATION)
def test_other_arguments_of_classification(loss: Callable[..., Any]) -> None:
    scores, target = zeros(2, 3), labels(0, 2)
    with pytest.raises(ValueError, match=r"one number per class, \(3,\), got \(2,\)"):
        loss(scores, target, weight=tg.ones(2))
    with pytest.raises(ValueError, match="'none', 'mean' or 'sum', got 'average'"):
        loss(scores, target, reduction="average")
    with pytest.raises(ValueError, match=r"scores \(N, C, …\)"):
        loss(zeros(3), labels(0, 1, 2))


def test_ignored_targets_may_be_anything() -> None:
    scores = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    ours = F.cross_entropy(Tensor(scores), labels(0, 99, 3), ignore_index=99)
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(scores), torch.tensor([0, 99, 3]), ignore_index=99
    )
    assert ours.item() == pytest.approx(theirs.item())


def test_lists_and_arrays_are_targets_too() -> None:
    assert F.cross_entropy(zeros(2, 3), [0, 2]).item() == pytest.approx(np.log(3))  # type: ignore[arg-type]
    assert F.nll_loss(zeros(2, 3), np.array([0, 2])).item() == 0  # type: ignore[arg-type]


def test_label_smoothing_is_a_fraction() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        F.cross_entropy(zeros(2, 3), labels(0, 1), label_smoothing=1.5)


PAIRS = {
    "mse_loss": nn.MSELoss,
    "l1_loss": nn.L1Loss,
    "smooth_l1_loss": nn.SmoothL1Loss,
    "binary_cross_entropy": nn.BCELoss,
    "binary_cross_entropy_with_logits": nn.BCEWithLogitsLoss,
}


@pytest.mark.parametrize("name", PAIRS)
def test_losses_of_pairs_do_not_broadcast(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} needs .*one shape, got \(4, 1\) and \(4,\)"):
        PAIRS[name]()(zeros(4, 1), zeros(4))


@pytest.mark.parametrize("name", PAIRS)
def test_unknown_reductions(name: str) -> None:
    with pytest.raises(ValueError, match=r"is 'none', 'mean' or 'sum', got 'average'"):
        PAIRS[name](reduction="average")(zeros(4), zeros(4))


def test_reductions_of_kl_div() -> None:
    with pytest.raises(ValueError, match=r"'none', 'mean', 'sum' or 'batchmean', got 'average'"):
        F.kl_div(zeros(4), zeros(4), reduction="average")
    with pytest.raises(ValueError, match="'batchmean' needs a batch"):
        F.kl_div(tg.tensor(0.0), tg.tensor(1.0), reduction="batchmean")


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_bce_takes_probabilities(bad: float) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\], got Tensor.*for scores use .*_with_logits"):
        F.binary_cross_entropy(tg.tensor([0.5, bad]), zeros(2))


def test_weights_of_losses_are_tensors() -> None:
    with pytest.raises(TypeError, match="'weight' is registered as a Tensor, got list"):
        nn.CrossEntropyLoss(weight=[1.0, 2.0])  # type: ignore[arg-type]


# ------------------------------------------------------------------------ arguments that work


def test_sizes_may_be_numpy_integers_and_lists() -> None:
    x = zeros(1, 1, 8, 8)
    assert F.max_pool2d(x, np.int64(2)).shape == (1, 1, 4, 4)  # type: ignore[arg-type]
    assert F.avg_pool2d(x, [2, 4]).shape == (1, 1, 4, 2)  # type: ignore[arg-type]
    assert F.adaptive_avg_pool2d(x, [2, None]).shape == (1, 1, 2, 8)  # type: ignore[arg-type]


def test_pad_takes_torchs_arguments() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for arguments in (((1, 2),), ((1, 2), "constant"), ((1, 0, -1, 2), "constant", 5.0)):
        ours = F.pad(Tensor(array), *arguments)
        theirs = torch.nn.functional.pad(torch.from_numpy(array), *arguments)
        np.testing.assert_array_equal(ours.data, theirs)


def test_one_hot_is_torchs() -> None:
    target = np.array([[0, 2], [1, 0]])
    for arguments in ((), (5,)):
        ours = F.one_hot(Tensor(target), *arguments)
        theirs = torch.nn.functional.one_hot(torch.from_numpy(target), *arguments)
        assert ours.dtype == np.int64
        np.testing.assert_array_equal(ours.data, theirs)

"""Layers and losses as functions of tensors: PyTorch's `torch.nn.functional`.

Each function checks its arguments, says clearly what does not fit, and applies an operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_fm import ops
from tinygrad_fm.autograd.mode import is_grad_enabled
from tinygrad_fm.autograd.tensor import Tensor, apply, as_tensor, discrete, pair
from tinygrad_fm.ops.conv import PLAIN, Geometry
from tinygrad_fm.ops.dropout import KeepMask
from tinygrad_fm.ops.pool import Window
from tinygrad_fm.random import default_generator

__all__ = [
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "conv2d", "conv_transpose2d", "cross_entropy",
    "dropout", "elu", "gelu", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "linear",
    "log_softmax", "max_pool2d", "mse_loss", "nll_loss", "one_hot", "pad", "relu", "sigmoid",
    "silu", "smooth_l1_loss", "softmax", "softplus", "tanh",
]  # fmt: skip

Size = int | tuple[int, int]

# -------------------------------------------------------------------------------- activations


def relu(input: Tensor) -> Tensor:
    """max(x, 0)."""
    return input.relu()


def sigmoid(input: Tensor) -> Tensor:
    """1/(1 + e⁻ˣ)."""
    return input.sigmoid()


def tanh(input: Tensor) -> Tensor:
    """(eˣ - e⁻ˣ)/(eˣ + e⁻ˣ)."""
    return input.tanh()


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope·x."""
    input._need_float("leaky_relu")
    return apply(ops.LeakyReLU, input, negative_slope=negative_slope)


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else α(eˣ - 1)."""
    input._need_float("elu")
    return apply(ops.ELU, input, alpha=alpha)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x), Φ the standard normal distribution; `approximate="tanh"` is cheaper."""
    operations = {"none": ops.GELU, "tanh": ops.GELUTanh}
    if approximate not in operations:
        raise ValueError(f"gelu's approximate is 'none' or 'tanh', got {approximate!r}")
    input._need_float("gelu")
    return apply(operations[approximate], input)


def silu(input: Tensor) -> Tensor:
    """x·sigmoid(x)."""
    input._need_float("silu")
    return apply(ops.SiLU, input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """ln(1 + e^βx)/β, and x itself where βx > threshold."""
    input._need_float("softplus")
    return apply(ops.Softplus, input, beta=beta, threshold=threshold)


def softmax(input: Tensor, dim: int) -> Tensor:
    """e^xᵢ / Σⱼ e^xⱼ along an axis."""
    return input.softmax(dim)


def log_softmax(input: Tensor, dim: int) -> Tensor:
    """xᵢ - ln Σⱼ e^xⱼ along an axis."""
    return input.log_softmax(dim)


def dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """Zero each element with probability p and scale the others by 1/(1 - p), in training.

    Raises:
        ValueError: if p is not between 0 and 1.
        TypeError: if x is not floating-point.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout's p is a probability between 0 and 1, got {p}")
    if not training or p == 0:
        return input
    input._need_float("dropout")
    how = {"p": p, "generator": generator or default_generator()}
    return apply(ops.Dropout, input, apply(KeepMask, input.detach(), **how), p=p)


# -------------------------------------------------------------------------------- layers


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b. Shapes: x (…, I), W (O, I), b (O) → (…, O).

    Raises:
        ValueError: if the last axis of x is not I, or b has another shape.
        TypeError: if x, W and b have not one dtype.
    """
    if input.ndim == 0 or input.shape[-1] != weight.shape[1]:
        flat = input.ndim > 2 and np.prod(input.shape[1:]) == weight.shape[1]
        advice = "; add nn.Flatten() before it" if flat else ""
        raise ValueError(
            f"Linear expected last dimension {weight.shape[1]}, got {input.shape}{advice}"
        )
    tensors = _same_dtype("linear", input, weight, *_given(bias))
    _need_shape("linear's bias", weight.shape[:1], bias)
    return apply(ops.Linear, *tensors)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of images with kernels.

    Shapes: x (N, C, H, W), w (O, C/groups, KH, KW), b (O) → (N, O, OH, OW) with
    OH = ⌊(H + 2·padding - dilation·(KH - 1) - 1)/stride⌋ + 1. `padding` may also be "valid" (none)
    or "same" (for stride 1: the output has the input's size).

    Raises:
        ValueError: if channels, groups or sizes do not fit, or b has another shape.
        TypeError: if x, w and b have not one dtype.
    """
    _need_images("conv2d", input)
    channels = weight.shape[1] * groups
    if groups < 1 or input.shape[1] != channels or weight.shape[0] % groups:
        raise ValueError(
            f"conv2d with weight {weight.shape} and groups={groups} expects {channels} channels, "
            f"got input {input.shape}"
        )
    if isinstance(padding, str):
        input, padding = _named_padding(input, weight.shape[2:], stride, padding, dilation)
    geometry = _geometry(stride, padding, dilation, groups)
    if min(geometry.output_size(input.shape[2:], weight.shape[2:])) < 1:
        raise ValueError(
            f"conv2d's kernel {weight.shape[2:]} (dilation {geometry.dilation}) is larger than the "
            f"padded image: {input.shape[2:]} with padding {geometry.padding}"
        )
    tensors = _same_dtype("conv2d", input, weight, *_given(bias))
    _need_shape("conv2d's bias", weight.shape[:1], bias)
    plain = weight.shape[2:] == (3, 3) and geometry == PLAIN and input.dtype.kind in "fc"
    if plain and 0 not in input.shape:
        return apply(ops.Conv3x3, *tensors)
    return apply(ops.Conv2d, *tensors, geometry=geometry)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The adjoint of `conv2d`: each input pixel adds its copy of the kernel to the output.

    Shapes: x (N, C, H, W), w (C, O/groups, KH, KW), b (O) → (N, O, OH, OW) with
    OH = (H - 1)·stride - 2·padding + dilation·(KH - 1) + output_padding + 1.

    Raises:
        ValueError: if channels, groups or sizes do not fit, if b has another shape, or if
            output_padding is not smaller than stride or dilation.
        TypeError: if x, w and b have not one dtype.
    """
    _need_images("conv_transpose2d", input)
    if groups < 1 or input.shape[1] != weight.shape[0] or weight.shape[0] % groups:
        raise ValueError(
            f"conv_transpose2d with weight {weight.shape} and groups={groups} expects "
            f"{weight.shape[0]} channels, got input {input.shape}"
        )
    geometry = _geometry(stride, padding, dilation, groups)
    extra = _pair("output_padding", output_padding)
    limits = [max(s, d) for s, d in zip(geometry.stride, geometry.dilation, strict=True)]
    if extra[0] >= limits[0] or extra[1] >= limits[1]:
        raise ValueError(f"output_padding {extra} must be smaller than stride or dilation")
    height, width = (
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, k, s, p, d, e in zip(
            input.shape[2:], weight.shape[2:], *geometry[:3], extra, strict=True
        )
    )
    if min(height, width) < 1:
        raise ValueError(f"conv_transpose2d's output would have size {(height, width)}")
    tensors = _same_dtype("conv_transpose2d", input, weight, *_given(bias))
    _need_shape("conv_transpose2d's bias", (weight.shape[1] * groups,), bias)
    return apply(ops.ConvTranspose2d, *tensors, geometry=geometry, output_size=(height, width))


def max_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The maximum of each window; `stride` is the kernel's size unless given.

    Shapes: x (N, C, H, W) → (N, C, OH, OW) with
    OH = ⌊(H + 2·padding - dilation·(KH - 1) - 1)/stride⌋ + 1; `ceil_mode` rounds up instead, but
    no window begins in the padding behind the image. Padding counts as -∞, and of equal maxima the
    first gets the gradient.

    Raises:
        ValueError: if x has not four axes, if the padding is more than half the kernel, or if the
            kernel is larger than the padded image.
    """
    window = _window("max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode)
    return apply(ops.MaxPool2d, input, window=window)


def avg_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window; `stride` is the kernel's size unless given.

    Shapes and errors as in `max_pool2d`. Padding counts as zeros, or not at all if
    `count_include_pad` is False. Of int64 the mean is cut off towards 0, as in PyTorch; other
    integers are a TypeError.
    """
    if input.dtype != np.int64:
        input._need_float("avg_pool2d")
    window = _window("avg_pool2d", input, kernel_size, stride, padding, 1, ceil_mode)
    return apply(ops.AveragePool2d, input, window=window, count_include_pad=count_include_pad)


def adaptive_avg_pool2d(input: Tensor, output_size: int | tuple[int | None, int | None]) -> Tensor:
    """The mean of each of `output_size` (OH, OW) windows; None keeps the input's size.

    Shapes: x (N, C, H, W) → (N, C, OH, OW). Window i goes from row ⌊i·H/OH⌋ to ⌈(i + 1)·H/OH⌉, the
    latter excluded; columns likewise.

    Raises:
        ValueError: if x has not four axes, or output_size is not two numbers of at least 0.
        TypeError: if x is not floating-point.
    """
    _need_images("adaptive_avg_pool2d", input)
    input._need_float("adaptive_avg_pool2d")
    wanted: Any = output_size if isinstance(output_size, Sequence) else (output_size,) * 2
    if len(wanted) != 2:
        raise ValueError(f"adaptive_avg_pool2d's output_size is one size or two, got {output_size}")
    wanted = [n if w is None else w for w, n in zip(wanted, input.shape[2:], strict=False)]
    size = _pair("output_size", wanted)
    return apply(ops.AveragePool2d, input, output_size=size)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """γ·(x - μ)/√(σ² + eps) + β for each channel of x (N, C) or (N, C, …).

    In training μ and σ² are the batch's, and the running estimates are moved in place:
    running = (1 - momentum)·running + momentum·batch, with the unbiased variance. In evaluation
    μ and σ² are the running estimates.

    Raises:
        ValueError: if the batch has a single value per channel in training, if there are no
            running estimates in evaluation, or if the channels do not fit.
        TypeError: if x, γ, β and the running estimates have not one floating-point dtype.
    """
    if input.ndim < 2:
        raise ValueError(f"batch_norm expects (N, C) or (N, C, …), got {input.shape}")
    estimates = _given(running_mean, running_var)
    estimates = estimates if len(estimates) == 2 else []
    if not training and not estimates:
        raise ValueError("batch_norm in evaluation needs running_mean and running_var; got None")
    what = f"every parameter of batch_norm for input {input.shape}"
    _need_shape(what, input.shape[1:2], weight, bias, running_mean, running_var)
    tensors = _same_dtype("batch_norm", input, *_affine(input.shape[1:2], weight, bias))
    _same_dtype("batch_norm", *estimates, Tensor(input.data.real))
    input._need_float("batch_norm")
    if training and input.numel() == input.shape[1]:
        raise ValueError(
            f"batch_norm in training needs more than one value per channel, got {input.shape}; "
            "use a larger batch or model.eval()"
        )
    if not training and is_grad_enabled():  # copies: what is saved is locked, and they have to move
        estimates = [apply(ops.Clone, estimate.detach()) for estimate in estimates]
    how = {"affine": len(tensors) > 1, "training": training, "momentum": momentum, "eps": eps}
    return apply(ops.BatchNorm, *tensors, *estimates, **how)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """γ·(x - μ)/√(σ² + eps) + β over the last axes, whose shape is `normalized_shape`.

    μ and σ² (biased) are each example's own; γ and β have the shape `normalized_shape`.

    Raises:
        ValueError: if the last axes of x, γ or β have another shape.
        TypeError: if x, γ and β have not one floating-point dtype.
    """
    shape = tuple(normalized_shape)
    if not shape or input.shape[input.ndim - len(shape) :] != shape:
        raise ValueError(f"layer_norm expects the last axes to be {shape}, got {input.shape}")
    tensors = _same_dtype("layer_norm", input, *_affine(shape, weight, bias))
    input._need_float("layer_norm")
    _need_shape("layer_norm's weight and bias", shape, weight, bias)
    return apply(ops.LayerNorm, *tensors, dims=len(shape), eps=eps)


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """A frame of a constant (0): widths (left, right, top, bottom, …) from the last axis on.

    A negative width crops.

    Raises:
        ValueError: for another mode, an odd number of widths or too many, or if more is cropped
            than there is.
    """
    if mode != "constant":
        raise ValueError(f"pad knows the mode 'constant' only, got {mode!r}")
    if len(pad) % 2 or len(pad) // 2 > input.ndim:
        raise ValueError(f"pad takes two widths per axis, got {len(pad)} for shape {input.shape}")
    widths = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    widths += [(0, 0)] * (input.ndim - len(widths))
    if any(
        n + min(a, 0) + min(b, 0) < 0 for n, (a, b) in zip(input.shape[::-1], widths, strict=True)
    ):
        raise ValueError(f"pad {tuple(pad)} crops more than there is of shape {input.shape}")
    return apply(ops.Pad, input, widths=tuple(reversed(widths)), value=input.dtype.type(value or 0))


def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Integers (…) → zeros and ones (…, num_classes), as many as the largest asks for if -1.

    Raises:
        ValueError: if they are not integers from 0 to num_classes - 1.
    """
    classes = int(input.max().item()) + 1 if num_classes == -1 else num_classes
    return discrete(ops.one_hot, input, classes=classes)


# -------------------------------------------------------------------------------- losses


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-w[t]·x[t] for log-probabilities x (N, C, …) and classes t (N, …).

    The mean divides by Σ w[t] over the targets that are not `ignore_index`; w (C) is 1 unless
    given. `reduction` is "mean", "sum" or "none", which gives the shape of t.

    Raises:
        ValueError: if the shapes do not fit, a target is no class, or the reduction is unknown.
        TypeError: if the targets are not integers, or the scores not floating-point.
    """
    how = {"ignore_index": ignore_index, "label_smoothing": 0.0, "reduction": reduction}
    return _classification(ops.NLLLoss, input, target, weight, how)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-w[t]·ln softmax(x)[t] for scores x (N, C, …) and classes t (N, …).

    With label smoothing ε the target is (1 - ε) at t plus ε/C at every class.
    The mean divides by Σ w[t] over the targets that are not `ignore_index`.

    Raises:
        ValueError, TypeError: as `nll_loss`; ValueError if ε is not between 0 and 1.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing lies between 0 and 1, got {label_smoothing}")
    how = {"ignore_index": ignore_index, "label_smoothing": label_smoothing, "reduction": reduction}
    return _classification(ops.CrossEntropy, input, target, weight, how)


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(x - t)², their mean, their sum, or with reduction "none" each of them.

    Raises:
        ValueError: if the shapes differ (nothing is broadcast), or the reduction is unknown.
        TypeError: if neither x nor t is floating-point.
    """
    x, t = _alike("mse_loss", input, target)
    difference = x - t
    difference._need_float("mse_loss")
    return _reduce(difference * difference, reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|x - t|. Reductions and errors as in `mse_loss`; the slope at 0 is 0."""
    x, t = _alike("l1_loss", input, target)
    return _reduce((x - t).abs(), reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """(x - t)²/(2β) where |x - t| < β, else |x - t| - β/2.

    Reductions and errors as in `mse_loss`; ValueError also if β is negative.
    """
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss needs beta of at least 0, got {beta}")
    x, t = _alike("smooth_l1_loss", input, target)
    difference = x - t
    difference._need_float("smooth_l1_loss")
    return _reduce(apply(ops.SmoothL1, difference, beta=beta), reduction)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """-(t·ln x + (1 - t)·ln(1 - x)) for probabilities x; logarithms are kept above -100.

    Raises:
        ValueError: if x or t leaves [0, 1] or is NaN, or if shapes do not fit.
        TypeError: if neither x nor t is floating-point.
    """
    x, t = _alike("binary_cross_entropy", input, target)
    x._need_float("binary_cross_entropy")
    for what, tensor in (("probabilities", x), ("targets", t)):
        values = tensor.data.real
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f"binary_cross_entropy expects {what} in [0, 1], got {tensor!r}; "
                "for scores use binary_cross_entropy_with_logits"
            )
    _need_broadcast("binary_cross_entropy's weight", weight, x.shape)
    loss = apply(ops.BCELoss, x, t)
    return _reduce(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """`binary_cross_entropy` of sigmoid(x), computed without overflow; positives × pos_weight.

    That is (1 - t)·x + (1 + (w - 1)·t)·ln(1 + e⁻ˣ) with w = `pos_weight`.

    Raises:
        ValueError: if the shapes of x and t differ, or a weight does not broadcast to them.
        TypeError: if neither x nor t is floating-point.
    """
    x, t = _alike("binary_cross_entropy_with_logits", input, target)
    x._need_float("binary_cross_entropy_with_logits")
    for what, factor in (("weight", weight), ("pos_weight", pos_weight)):
        _need_broadcast(f"binary_cross_entropy_with_logits' {what}", factor, x.shape)
    positive = Tensor(np.ones((), x.dtype)) if pos_weight is None else pos_weight.to(x.dtype)
    loss = apply(ops.BCEWithLogits, x, t, positive)
    return _reduce(loss if weight is None else loss * weight, reduction)


def kl_div(
    input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """t·(ln t - x) for log-probabilities x; "batchmean" divides the sum by the batch's size.

    With `log_target` t is a logarithm as well: eᵗ·(t - x). PyTorch's "mean", too, is that over all
    elements; the Kullback-Leibler divergence of a batch is "batchmean".

    Raises:
        ValueError: if the reduction is unknown, or "batchmean" of a number.
        TypeError: if neither x nor t is floating-point.
    """
    _need_reduction(reduction, "batchmean")
    x, t = pair(input, target)
    x._need_float("kl_div")
    loss = t.exp() * (t - x) if log_target else apply(ops.KLDiv, x, t)
    if reduction != "batchmean":
        return _reduce(loss, reduction)
    if input.ndim == 0:
        raise ValueError("reduction 'batchmean' needs a batch, (N, ...), got a number")
    return loss.sum() / input.shape[0]


# -------------------------------------------------------------------------------- checks


_LEAST = {"padding": 0, "output_padding": 0, "output_size": 0}  # of other sizes 1


def _pair(name: str, value: Any) -> tuple[int, int]:
    """(vertical, horizontal) of one integer or two."""
    least = _LEAST.get(name, 1)
    numbers = (value,) if isinstance(value, int | np.integer) else tuple(value)
    numbers *= 2 if len(numbers) == 1 else 1
    if len(numbers) != 2 or min(numbers) < least:
        raise ValueError(f"{name} is an integer of at least {least} or two of them, got {value!r}")
    return numbers


def _geometry(stride: Size, padding: Size, dilation: Size, groups: int) -> Geometry:
    return Geometry(
        _pair("stride", stride), _pair("padding", padding), _pair("dilation", dilation), groups
    )


def _given(*tensors: Tensor | None) -> list[Tensor]:
    return [t for t in tensors if t is not None]


def _need_shape(what: str, shape: tuple[int, ...], *tensors: Tensor | None) -> None:
    """A parameter that NumPy would broadcast would get a gradient of another shape than its own."""
    for t in tensors:
        if t is not None and t.shape != shape:
            raise ValueError(f"{what} must have shape {shape}, got {t.shape}")


def _need_broadcast(what: str, weight: Tensor | None, shape: tuple[int, ...]) -> None:
    """A weight that is larger than the loss would repeat it: (N) against (N, 1) makes (N, N)."""
    if weight is None:
        return
    pairs = zip(weight.shape[::-1], shape[::-1], strict=False)
    if weight.ndim > len(shape) or any(w not in (1, n) for w, n in pairs):
        raise ValueError(f"{what} must broadcast to {shape}, got {weight.shape}")


def _affine(shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None) -> list[Tensor]:
    """γ and β, both or neither: the missing one of a pair as ones or zeros."""
    given = _given(weight, bias)
    if not given:
        return []
    dtype = given[0].dtype
    one = Tensor(np.ones(shape, dtype)) if weight is None else weight
    zero = Tensor(np.zeros(shape, dtype)) if bias is None else bias
    return [one, zero]


def _same_dtype(what: str, *tensors: Tensor) -> tuple[Tensor, ...]:
    for t in tensors:
        if not isinstance(t, Tensor):
            raise TypeError(f"{what} takes tensors, got {type(t).__name__}; wrap it: tensor(x)")
        if t.data.dtype != tensors[0].data.dtype:
            raise TypeError(
                f"{what} needs one dtype for input and parameters, got "
                f"{' and '.join(str(t.dtype) for t in tensors)}; convert with .float() or .double()"
            )
    return tensors


def _need_images(what: str, input: Tensor) -> None:
    if input.ndim == 4 and 0 in input.shape[2:]:
        raise ValueError(f"{what} expects images with at least one pixel, got {input.shape}")
    if input.ndim != 4:
        advice = "; add the missing axis with x.unsqueeze(…)" if input.ndim in (2, 3) else ""
        raise ValueError(f"{what} expects images (N, C, H, W), got {input.shape}{advice}")


def _window(
    what: str,
    input: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
    ceil_mode: bool,
) -> Window:
    _need_images(what, input)
    kernel = _pair("kernel_size", kernel_size)
    step = kernel if stride is None else _pair("stride", stride)
    margins, spread = _pair("padding", padding), _pair("dilation", dilation)
    window = Window(kernel, step, margins, spread, ceil_mode)
    if any(2 * p > k for p, k in zip(window.padding, kernel, strict=True)):
        raise ValueError(f"{what}'s padding {window.padding} is more than half its kernel {kernel}")
    if min(window.output_size(*input.shape[2:])) < 1:
        raise ValueError(f"{what}'s kernel {kernel} is larger than the image {input.shape[2:]}")
    return window


def _named_padding(
    input: Tensor, kernel: tuple[int, ...], stride: Size, padding: str, dilation: Size
) -> tuple[Tensor, Size]:
    if padding == "valid":
        return input, 0
    if padding != "same":
        raise ValueError(f"padding is a size, 'valid' or 'same', got {padding!r}")
    if _pair("stride", stride) != (1, 1):
        raise ValueError(f"padding='same' needs stride 1, got {stride}")
    steps = _pair("dilation", dilation)
    vertical, horizontal = (d * (k - 1) for d, k in zip(steps, kernel, strict=True))
    if vertical % 2 == 0 and horizontal % 2 == 0:
        return input, (vertical // 2, horizontal // 2)
    left, top = horizontal // 2, vertical // 2  # the odd one goes to the right and the bottom
    return pad(input, (left, horizontal - left, top, vertical - top)), 0


def _alike(what: str, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype: a mask beside floats becomes one of them."""
    if input.shape != target.shape:
        raise ValueError(
            f"{what} needs input and target of one shape, got {input.shape} and {target.shape}"
        )
    return pair(input, target)


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    _need_reduction(reduction)
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()


def _need_reduction(reduction: str, *more: str) -> None:
    known = ("none", "mean", "sum", *more)
    if reduction not in known:
        *names, last = map(repr, known)
        raise ValueError(f"reduction is {', '.join(names)} or {last}, got {reduction!r}")


def _classification(
    operation: type[ops.Function],
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    how: dict[str, Any],
) -> Tensor:
    """Check scores (N, C, …) against classes (N, …), and apply."""
    _need_reduction(how["reduction"])
    input._need_float(operation.__name__)
    target = as_tensor(target)
    if target.dtype.kind not in "iu":
        raise TypeError(
            f"targets are class indices of an integer dtype, got {target.dtype}; use t.long()"
        )
    if input.ndim < 2 or target.shape != (input.shape[0], *input.shape[2:]):
        raise ValueError(
            f"scores (N, C, …) need targets (N, …), got {input.shape} and {target.shape}"
        )
    if weight is not None and weight.shape != input.shape[1:2]:
        raise ValueError(f"weight has one number per class, {input.shape[1:2]}, got {weight.shape}")
    weights = [w.detach().to(input.data.real.dtype) for w in _given(weight)]
    return apply(operation, input, target, *weights, **how)

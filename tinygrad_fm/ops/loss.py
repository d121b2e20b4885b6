"""Losses. g stands for the incoming gradient ∂L/∂y."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_fm.ops.elementwise import Elementwise, Sigmoid
from tinygrad_fm.ops.function import Array, Function, Gradients
from tinygrad_fm.ops.softmax import LogSoftmax


class NLLLoss(Function):
    """lᵢ = -Σ_c q[i, c]·x[i, c], x log-probabilities;  ∂L/∂x = -g·q. Saves all inputs.

    q holds the target as weights over the classes (see `target_weights`). Shapes: x (N, C) or
    (N, C, d…), target (N) or (N, d…), weight (C), if any → a number, or for reduction "none" the
    target's shape.
    """

    def forward(
        self, x: Array, target: Array, *weight: Array, reduction: str, **options: Any
    ) -> Array:
        last = x if x.ndim == 2 else np.moveaxis(x, 1, -1)  # (N, C, d…) -> (N, d…, C)
        log_p = self.log_probabilities(last)
        q, total = target_weights(target, log_p, *weight, **options)
        self.save_for_backward(x, target, *weight)
        self.saved += (q, log_p)  # which nobody else can write into
        self.reduction, self.total = reduction, total
        losses = -np.einsum("...c, ...c -> ...", q, log_p)
        if not np.isfinite(losses).all():
            with np.errstate(invalid="ignore"):  # 0·ln 0 = 0
                losses = -np.where(q == 0, 0, q * log_p).sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):  # the mean over no target is NaN
            return reduced(losses, reduction, total)

    def backward(self, grad: Array) -> Gradients:
        *_, q, log_p = self.saved
        if self.reduction == "mean" and self.total != 0:  # of an undefined mean the slope is 0
            grad = np.divide(grad, self.total)
        dx = grad[..., None] * self.slope(q, log_p)
        return dx if dx.ndim == 2 else np.moveaxis(dx, -1, 1)

    @classmethod
    def twin(cls, x: Any, target: Any, *weight: Any, reduction: str, **options: Any) -> Any:
        """The sum by its definition, q being constant."""
        log_p = cls.log_probabilities(np.moveaxis(x, 1, -1))
        constants = [np.asarray(array) for array in (target, log_p.detach(), *weight)]
        q, total = target_weights(*constants, **options)
        losses = -np.where(q == 0, 0, q * log_p).sum(axis=-1)
        return reduced(losses, reduction, total or 1.0)

    @staticmethod
    def log_probabilities(x: Any) -> Any:
        return x

    def slope(self, q: Array, log_p: Array) -> Array:
        """∂l/∂x, classes last."""
        return -q


class CrossEntropy(NLLLoss):
    """`NLLLoss` of log-softmax x;  ∂L/∂x = g·(softmax(x)·Σ_c q - q). Saves all inputs."""

    @staticmethod
    def log_probabilities(x: Any) -> Any:
        return LogSoftmax.of(x, axis=x.ndim - 1)

    def slope(self, q: Array, log_p: Array) -> Array:
        return np.exp(log_p) * q.sum(axis=-1, keepdims=True) - q


def reduced(losses: Any, reduction: str, total: float) -> Any:
    """The losses ("none"), their sum ("sum"), or that divided by `total` ("mean")."""
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else np.divide(losses.sum(), total)


def target_weights(
    target: Array, like: Array, *weight: Array, ignore_index: int, label_smoothing: float
) -> tuple[Array, float]:
    """The target as weights over classes q (…, C), and what a mean divides by.

    q = (1 - ε)·w[t] at the target class t, plus ε/C·w[c] at every class c; 0 where ignored.
    A mean divides by Σ w[t], as PyTorch does.

    Raises:
        ValueError: if a target that is not ignored is none of the classes.
    """
    classes, labels = like.shape[-1], target.reshape(-1)
    ignored = labels == ignore_index
    some = ignored.any()
    if some:
        labels = np.where(ignored, 0, labels)
    # As an unsigned number a negative one is larger than any class.
    if labels.size and labels.view(f"u{labels.itemsize}").max() >= classes and not ignored.all():
        labels = target[target != ignore_index]
        raise ValueError(
            f"targets must lie between 0 and {classes - 1} (the scores have {classes} classes), "
            f"got {labels.min()} to {labels.max()}"
        )
    q = np.zeros((len(labels), classes), like.real.dtype)
    if label_smoothing:
        q += (label_smoothing / classes) * (weight[0] if weight else q.dtype.type(1))
    at_target = weight[0][labels] if weight else np.ones((), q.dtype)
    if classes:
        q[np.arange(len(labels)), labels] += (1 - label_smoothing) * at_target
    if some:
        q[ignored] = 0
    total = at_target[~ignored].sum() if weight else np.count_nonzero(~ignored)
    return q.reshape(like.shape), float(total)


def logarithms(x: Array) -> tuple[Array, Array]:
    """ln x and ln(1 - x), no lower than -100."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(x), -100), np.maximum(np.log1p(-x), -100)


def bce(x: Array, t: Array) -> Array:
    log_x, log_rest = logarithms(x)
    return -(t * log_x + (1 - t) * log_rest)


def bce_target_slope(g: Array, x: Array) -> Array:
    log_x, log_rest = logarithms(x)
    return g * (log_rest - log_x)


class BCELoss(Elementwise):
    """l = -(t·ln x + (1 - t)·ln(1 - x)), logarithms no lower than -100.

    ∂l/∂x = (x - t)/(x(1 - x)), the divisor no less than 1e-12;  ∂l/∂t = ln(1 - x) - ln x.
    Limits as in PyTorch, so that x of exactly 0 or 1 stays finite.
    """

    function, names = staticmethod(bce), "xt"
    slopes = (lambda g, x, t: g * (x - t) / np.maximum(x * (1 - x), 1e-12), bce_target_slope)


class BCEWithLogits(Elementwise):
    """l = (1 - t)·x + (1 + (w - 1)·t)·ln(1 + e⁻ˣ): BCE of sigmoid(x), positives weighted by w.

    ∂l/∂x = (1 - t) - (1 + (w - 1)·t)·σ(-x);  ∂l/∂t = -x + (w - 1)·ln(1 + e⁻ˣ).
    """

    function = staticmethod(lambda x, t, w: (1 - t) * x + (1 + (w - 1) * t) * log1p_exp(-x))
    slopes = (
        lambda g, x, t, w: g * ((1 - t) - (1 + (w - 1) * t) * Sigmoid.of(-x)),
        lambda g, x, w: g * ((w - 1) * log1p_exp(-x) - x),
        None,
    )
    names = "xtw"


def log1p_exp(x: Array) -> Array:
    """ln(1 + eˣ) without overflow: x itself is split off where it is positive."""
    positive = x > 0
    return np.where(positive, x, 0) + np.log1p(np.exp(np.where(positive, -x, x)))


class SmoothL1(Elementwise):
    """l = d²/(2β) where |d| < β, else |d| - β/2;  ∂L/∂d = g·d/β or g·sign d."""

    @staticmethod
    def function(x: Array, beta: float) -> Array:
        size = np.abs(x)
        return np.where(size < beta, 0.5 * x * x / (beta or 1), size - 0.5 * beta)

    slopes = (lambda g, x, beta: g * np.where(np.abs(x) < beta, x / (beta or 1), np.sign(x)),)


class KLDiv(Elementwise):
    """l = t·(ln t - x), 0 where t = 0;  ∂l/∂x = -t,  ∂l/∂t = ln t + 1 - x."""

    function, names = staticmethod(lambda x, t: t * (log_or_zero(t) - x)), "xt"
    slopes = (lambda g, t: -g * t, lambda g, x, t: g * (log_or_zero(t) + 1 - x))


def log_or_zero(t: Array) -> Array:
    return np.log(np.where(t == 0, 1, t))

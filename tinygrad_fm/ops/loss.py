"""Losses. g stands for the incoming gradient ∂L/∂y."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_fm.ops.elementwise import Sigmoid
from tinygrad_fm.ops.function import Array, Function, Gradients, unbroadcast
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


class BCELoss(Function):
    """l = -(t·ln x + (1 - t)·ln(1 - x)), logarithms no lower than -100. Saves x and t.

    ∂l/∂x = (x - t)/(x(1 - x)), the divisor no less than 1e-12;  ∂l/∂t = ln(1 - x) - ln x.
    Limits as in PyTorch, so that x of exactly 0 or 1 stays finite.
    """

    def forward(self, x: Array, t: Array) -> Array:
        self.save_for_backward(x, t)
        log_x, log_rest = self.logarithms(x)
        return -(t * log_x + (1 - t) * log_rest)

    def backward(self, grad: Array) -> Gradients:
        x, t = self.saved
        need_x, need_t = self.needs_input_grad
        log_x, log_rest = self.logarithms(x) if need_t else (0, 0)
        dx = grad * (x - t) / np.maximum(x * (1 - x), 1e-12) if need_x else None
        dt = grad * (log_rest - log_x) if need_t else None
        return dx, dt

    @staticmethod
    def logarithms(x: Array) -> tuple[Array, Array]:
        with np.errstate(divide="ignore"):
            return np.maximum(np.log(x), -100), np.maximum(np.log1p(-x), -100)


class BCEWithLogits(Function):
    """l = (1 - t)·x + (1 + (w - 1)·t)·ln(1 + e⁻ˣ): BCE of sigmoid(x), positives weighted by w.

    ∂l/∂x = (1 - t) - (1 + (w - 1)·t)·σ(-x);  ∂l/∂t = -x + (w - 1)·ln(1 + e⁻ˣ). Saves x, t, w.
    """

    def forward(self, x: Array, t: Array, w: Array) -> Array:
        self.save_for_backward(x, t, w)
        return (1 - t) * x + (1 + (w - 1) * t) * log1p_exp(-x)

    def backward(self, grad: Array) -> Gradients:
        x, t, w = self.saved
        need_x, need_t, _ = self.needs_input_grad
        dx = grad * ((1 - t) - (1 + (w - 1) * t) * Sigmoid.of(-x)) if need_x else None
        dt = grad * ((w - 1) * log1p_exp(-x) - x) if need_t else None
        return dx, dt, None


def log1p_exp(x: Array) -> Array:
    """ln(1 + eˣ) without overflow: x itself is split off where it is positive."""
    positive = x > 0
    return np.where(positive, x, 0) + np.log1p(np.exp(np.where(positive, -x, x)))


class SmoothL1(Function):
    """l = d²/(2β) where |d| < β, else |d| - β/2;  ∂L/∂d = g·d/β or g·sign d. Saves d."""

    def forward(self, difference: Array, beta: float) -> Array:
        self.beta = beta
        self.save_for_backward(difference)
        size = np.abs(difference)
        if beta == 0:
            return size
        square = 0.5 * difference * difference / beta
        return np.where(size < beta, square, size - 0.5 * beta)

    def backward(self, grad: Array) -> Gradients:
        (difference,) = self.saved
        slope = np.sign(difference)
        if self.beta > 0:
            slope = np.where(np.abs(difference) < self.beta, difference / self.beta, slope)
        return grad * slope


class KLDiv(Function):
    """l = t·(ln t - x), 0 where t = 0;  ∂l/∂x = -t,  ∂l/∂t = ln t + 1 - x. Saves x and t."""

    def forward(self, x: Array, t: Array) -> Array:
        self.save_for_backward(x, t)
        return t * (self.log_or_zero(t) - x)

    def backward(self, grad: Array) -> Gradients:
        x, t = self.saved
        need_x, need_t = self.needs_input_grad
        dx = unbroadcast(-grad * t, x.shape) if need_x else None
        dt = unbroadcast(grad * (self.log_or_zero(t) + 1 - x), t.shape) if need_t else None
        return dx, dt

    @staticmethod
    def log_or_zero(t: Array) -> Array:
        return np.log(np.where(t == 0, 1, t))

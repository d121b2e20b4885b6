"""Losses. g stands for the incoming gradient ∂L/∂y."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_fm.ops.elementwise import Elementwise, Sigmoid
from tinygrad_fm.ops.fast.by_rows import by_rows, shifted, total
from tinygrad_fm.ops.fast.layout import chunked
from tinygrad_fm.ops.function import Array, Function, Gradients
from tinygrad_fm.ops.softmax import LogSoftmax


class NLLLoss(Function):
    """lᵢ = -Σ_c q[i, c]·x[i, c], x log-probabilities;  ∂L/∂x = -g·q. Saves all inputs.

    The target as weights over the classes is q: (1 - ε)·w[t] at the target class t, plus ε/C·w[c]
    at every class c; 0 where ignored. A mean divides by Σ w[t], as PyTorch does. Shapes: x (N, C)
    or (N, C, d…), target (N) or (N, d…), weight (C), if any → a number, or for reduction "none" the
    target's shape.
    """

    def forward(
        self, x: Array, target: Array, *weight: Array, reduction: str, **options: Any
    ) -> Array:
        rows = rows_of(x)
        targets, self.total = targets_of(target, rows, *weight, **options)
        losses, factors = self.losses(rows, targets)
        if True in self.needs_input_grad:
            self.save_for_backward(x, target, *weight)
            self.targets, self.reduction = targets, reduction
            self.saved += factors  # which nobody else can write into
        return reduced(losses.reshape(target.shape), reduction, self.total)

    def backward(self, grad: Array) -> Gradients:
        x, target, *others = self.saved
        labels, q, even, kept = self.targets
        if self.reduction == "mean" and self.total != 0:  # of an undefined mean the slope is 0
            grad = np.divide(grad, self.total)
        grad = grad.reshape(-1)  # one number, or one for each target
        dx = self.slope(grad * (q if even is None else q + even.sum() * kept), x, others)
        if dx.size:
            dx[np.arange(len(labels)), labels] -= grad * q
        if even is not None:
            dx -= even * (grad * kept)[:, None]
        return dx if x.ndim == 2 else np.moveaxis(dx.reshape(*target.shape, x.shape[1]), -1, 1)

    @classmethod
    def twin(cls, x: Any, target: Any, *weight: Any, reduction: str, **options: Any) -> Any:
        """By log-probabilities, q being constant."""
        rows = cls.log_probabilities(rows_of(x))
        constants = [np.asarray(array) for array in (target, rows.detach(), *weight)]
        targets, total = targets_of(*constants, **options)
        losses = log_likelihoods(rows, targets)
        return reduced(-losses.reshape(target.shape), reduction, total or 1.0)

    @staticmethod
    def log_probabilities(rows: Any) -> Any:
        return rows

    def losses(self, rows: Array, targets: Targets) -> tuple[Array, tuple[Array, ...]]:
        """The loss of each target, and what their slopes are made of."""
        return -log_likelihoods(rows, targets), ()

    def slope(self, grad: Array, x: Array, factors: Sequence[Array]) -> Array:
        """What ∂L/∂x is before q is subtracted, as rows."""
        return np.zeros((len(self.targets.labels), x.shape[1]), x.dtype)


class CrossEntropy(NLLLoss):
    """`NLLLoss` of log-softmax x;  ∂L/∂x = g·(softmax(x)·Σ_c q - q).

    Saves all inputs, and e^x and Σ e^x, x being shifted so that nothing overflows.
    """

    @staticmethod
    def log_probabilities(rows: Any) -> Any:
        return LogSoftmax.of(rows, axis=1)

    def losses(self, rows: Array, targets: Targets) -> tuple[Array, tuple[Array, ...]]:
        if not rows.size:
            return super().losses(rows, targets)[0], (rows, np.ones((len(rows), 1), rows.dtype))
        rows = by_rows(shifted, rows, axis=1)
        shares = chunked(np.exp, rows)
        sums = total(shares, 1)
        return -log_likelihoods(rows, targets, np.log(sums)), (shares, sums)

    def slope(self, grad: Array, x: Array, factors: Sequence[Array]) -> Array:
        *_, shares, sums = factors
        return chunked(np.multiply, shares, grad[:, None] / sums)


def reduced(losses: Any, reduction: str, total: float) -> Any:
    """The losses ("none"), their sum ("sum"), or that divided by `total` ("mean")."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if total:
        return np.divide(losses.sum(), total)
    with np.errstate(divide="ignore", invalid="ignore"):  # the mean over no target is NaN
        return np.divide(losses.sum(), total)


class Targets(NamedTuple):
    """Classes t of rows of scores as weights: q[i] at class t[i], even[c] at each class of the rows
    that are kept."""

    labels: Array
    q: Array
    even: Array | None
    kept: Array


def rows_of(x: Any) -> Any:
    """Scores (N, C, d…) as rows (N·d…, C)."""
    if x.ndim == 2:
        return x
    last = np.moveaxis(x, 1, -1)
    return last.reshape(math.prod(last.shape[:-1]), last.shape[-1])


def targets_of(
    target: Array, rows: Array, *weight: Array, ignore_index: int, label_smoothing: float
) -> tuple[Targets, float]:
    """The targets of rows of scores, and what a mean divides by.

    Raises:
        ValueError: if a target that is not ignored is none of the classes.
    """
    classes, labels = rows.shape[-1], target.reshape(-1)
    kept: Any = np.True_
    if labels.size and (0 <= ignore_index < classes or _largest(labels) >= classes):
        kept = labels != ignore_index
        if kept.any() and _largest(found := labels[kept]) >= classes:
            raise ValueError(
                f"targets must lie between 0 and {classes - 1} (the scores have {classes} "
                f"classes), got {found.min()} to {found.max()}"
            )
        labels = np.where(kept, labels, 0)
    if weight and classes:
        at_target = np.where(kept, weight[0][labels], 0)
    else:
        at_target = np.full(len(labels), kept, rows.real.dtype)
    even = None
    if label_smoothing:
        each = weight[0] if weight else np.ones(classes, rows.real.dtype)
        even = each * (label_smoothing / max(classes, 1))
    whole = at_target.sum() if weight else np.count_nonzero(at_target)
    return Targets(labels, at_target * (1 - label_smoothing), even, kept), float(whole)


def _largest(labels: Array) -> int:
    """Of labels as unsigned numbers: a negative one is larger than any class."""
    return labels.view(f"u{labels.itemsize}").max()


def log_likelihoods(scores: Any, targets: Targets, log_sums: Any = None) -> Any:
    """Σ_c q[i, c]·(scores[i, c] - log_sums[i]), log_sums being 0 if not given, where 0·(-∞) = 0."""
    labels, q, even, kept = targets
    if not scores.shape[1]:
        return scores.sum(axis=1)
    found = scores[np.arange(len(labels)), labels]
    if log_sums is not None:
        found = found - log_sums[:, 0]
    found = q * np.where(q == 0, 0, found)
    if even is None:
        return found
    log_p = scores if log_sums is None else scores - log_sums
    return found + np.where(kept, (even * np.where(even == 0, 0, log_p)).sum(axis=1), 0)


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

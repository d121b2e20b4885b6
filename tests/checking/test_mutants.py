"""The checker has teeth: it catches every one of these broken derivatives.

A mutant is a wrong `backward`, made out of the right one: `mutate(node, g, right)` is called in
its place, with the node, the incoming gradient and the right backward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import special

from tinygrad_fm import Tensor, apply, gradcheck, gradgradcheck, ops
from tinygrad_fm.checking.cases import CASES
from tinygrad_fm.checking.run import check_case
from tinygrad_fm.ops.shape import filled, two_steps

BY_NAME = {case.name: case for case in CASES}


class Mutant(NamedTuple):
    what: str
    operation: type[ops.Function]
    mutate: Callable[[Any, np.ndarray, Callable], Any]
    case: str


def result(change):
    """All gradients changed."""

    def mutate(node, g, right):
        grads = right(node, g)
        if isinstance(grads, tuple):
            return tuple(None if d is None else change(d) for d in grads)
        return change(grads)

    return mutate


def only(i, change):
    """The gradient of the i-th input changed."""

    def mutate(node, g, right):
        grads = list(right(node, g))
        grads[i] = change(grads[i])
        return tuple(grads)

    return mutate


def upstream(change):
    """The right derivative of the wrong incoming gradient."""
    return lambda node, g, right: right(node, change(g.copy()))


def zero_last(g):
    g[..., -1] = 0
    return g


def negate(d):
    return -d


def halve(d):
    return d / 2


def swap_sides(d):
    return d.swapaxes(-1, -2)


def shift(d):
    return np.roll(d, 1, axis=-1)


def without_stride(node, g, right):
    node.geometry = node.geometry._replace(stride=(1, 1))
    return right(node, g)


def without_stride_cropped(node, g, right):
    dx, *rest = without_stride(node, g, right)
    height, width = node.saved[0].shape[2:]
    return dx[..., :height, :width], *rest


def without_dilation(node, g, right):
    node.geometry = node.geometry._replace(dilation=(1, 1))
    return right(node, g)


def assign(node, g, right):
    dx = np.zeros(node.shape)
    view, picks = two_steps(filled(node.index, node.saved))
    dx[view][picks] = g
    return dx


def as_in_evaluation(node, g, right):
    """μ and σ taken for constants."""
    node.training = False
    return right(node, g)


def sigmoid(x):
    return special.expit(x)


MUTANTS = [
    # elementwise
    Mutant("add: first of the copies instead of their sum", ops.Add,
           lambda n, g, f: (g, g[0]), "add a row to a matrix"),
    Mutant("add: mean over the copies", ops.Add, only(1, lambda d: d / 3), "add a row to a matrix"),
    Mutant("add: one use of a tensor forgotten", ops.Add,
           lambda n, g, f: (g, None), "add a tensor to itself"),
    Mutant("sub: sign", ops.Sub, only(1, negate), "sub"),
    Mutant("mul: factors swapped", ops.Mul, lambda n, g, f: f(n, g)[::-1], "mul"),
    Mutant("div: b for b²", ops.Div,
           lambda n, g, f: (f(n, g)[0], -g * n.saved[0] / n.saved[1]), "div"),
    Mutant("div: sign of the divisor's", ops.Div, only(1, negate), "div"),
    Mutant("remainder: sign of the divisor's", ops.Remainder, only(1, negate), "remainder"),
    Mutant("pow: exponent not lowered", ops.Pow,
           lambda n, g, f: (g * n.saved[1] * n.saved[2], f(n, g)[1]), "pow"),
    Mutant("pow: logarithm forgotten", ops.Pow,
           lambda n, g, f: (f(n, g)[0], g * n.saved[2]), "pow"),
    Mutant("neg: sign", ops.Neg, result(negate), "neg"),
    Mutant("exp: slope 1", ops.Exp, lambda n, g, f: g, "exp"),
    Mutant("expm1: slope y", ops.Expm1, lambda n, g, f: g * n.saved[0], "expm1"),
    Mutant("log1p: slope of the logarithm", ops.Log1p, lambda n, g, f: g / n.saved[0], "log1p"),
    Mutant("sin: sign", ops.Sin, result(negate), "sin"),
    Mutant("cos: sign", ops.Cos, result(negate), "cos"),
    Mutant("erf: factor forgotten", ops.Erf, lambda n, g, f: g * np.exp(-(n.saved[0] ** 2)), "erf"),
    Mutant("log: times x", ops.Log, lambda n, g, f: g * n.saved[0], "log"),
    Mutant("sqrt: no ½", ops.Sqrt, result(lambda d: 2 * d), "sqrt"),
    Mutant("abs: no sign", ops.Abs, lambda n, g, f: g, "abs"),
    Mutant("clamp: gradient everywhere", ops.Clamp, lambda n, g, f: g, "clamp both sides"),
    Mutant("clamp: inside out", ops.Clamp, lambda n, g, f: g - f(n, g), "clamp below"),
    Mutant("tanh: 1 - y", ops.Tanh, lambda n, g, f: g * (1 - n.saved[0]), "tanh"),
    Mutant("sigmoid: y alone", ops.Sigmoid, lambda n, g, f: g * n.saved[0], "sigmoid"),
    Mutant("relu: mask turned round", ops.ReLU, lambda n, g, f: g - f(n, g), "relu"),
    Mutant("relu: no mask", ops.ReLU, lambda n, g, f: g, "nn.ReLU"),
    Mutant("leaky_relu: flat below 0", ops.LeakyReLU,
           lambda n, g, f: g * n.saved[0], "leaky_relu"),
    Mutant("elu: α forgotten", ops.ELU,
           lambda n, g, f: np.where(n.saved[0] > 0, g, g * np.exp(n.saved[0])), "elu α 1.7"),
    Mutant("gelu: density forgotten", ops.GELU,
           lambda n, g, f: g * special.ndtr(n.saved[0]), "gelu"),
    Mutant("gelu: last digit", ops.GELU, result(lambda d: d * (1 + 1e-8)), "gelu"),
    Mutant("gelu tanh: sign", ops.GELUTanh, result(negate), "gelu tanh"),
    Mutant("silu: as if σ were constant", ops.SiLU,
           lambda n, g, f: g * sigmoid(n.saved[0]), "silu"),
    Mutant("softplus: β forgotten", ops.Softplus,
           lambda n, g, f: g * sigmoid(n.saved[0]), "softplus β 2, threshold 3"),
    Mutant("where: branches swapped", ops.Where, lambda n, g, f: (None, *f(n, g)[:0:-1]), "where"),
    Mutant("clone: lost", ops.Clone, result(lambda d: 0 * d), "clone"),
    # reductions
    Mutant("sum: mean", ops.Sum, result(lambda d: d / d.size), "sum"),
    Mutant("sum: negative", ops.Sum, result(negate), "sum two axes, kept"),
    Mutant("mean: no 1/n", ops.Mean, result(lambda d: d * d.shape[1]), "mean one axis"),
    Mutant("var: biased", ops.Var, result(lambda d: d * 11 / 12), "var"),
    Mutant("std: root forgotten", ops.Std,
           lambda n, g, f: f(n, g * n.saved[1]), "std"),
    Mutant("var: factor 2 forgotten", ops.Var, result(halve), "var two axes, kept"),
    Mutant("prod: own factor kept", ops.Prod,
           lambda n, g, f: g * np.broadcast_to(n.saved[0].prod(), n.saved[0].shape), "prod"),
    Mutant("prod: 0 wherever there is a zero", ops.Prod,
           lambda n, g, f: f(n, g) * (n.saved[0] != 0), "prod with no, one and two zeros"),
    Mutant("amax: the others win", ops.Extremum, result(lambda d: d.sum(1, keepdims=True) - d),
           "amax"),
    Mutant("logsumexp: slope 1", ops.LogSumExp,
           lambda n, g, f: np.broadcast_to(g[:, None], (3, 4, 2)), "logsumexp"),
    Mutant("cumsum: not turned round", ops.CumSum, lambda n, g, f: np.cumsum(g, 1), "cumsum"),
    Mutant("softmax: as if elements were alone", ops.Softmax,
           lambda n, g, f: g * n.saved[0] * (1 - n.saved[0]), "softmax"),
    Mutant("log_softmax: nothing subtracted", ops.LogSoftmax, lambda n, g, f: g, "log_softmax"),
    # shapes
    Mutant("reshape: column by column", ops.Reshape,
           lambda n, g, f: g.reshape(n.shape, order="F"), "reshape"),
    Mutant("permute: shifted", ops.Permute, result(shift), "permute"),
    Mutant("expand: first of the copies", ops.Expand, lambda n, g, f: g[:1, :, :1].squeeze(0),
           "expand"),
    Mutant("cat: pieces shifted", ops.Cat, upstream(shift), "cat"),
    Mutant("pad: off by one", ops.Pad, upstream(shift), "pad"),
    Mutant("index: assigned, not added", ops.Index, assign, "index a list naming a place twice"),
    Mutant("index: assigned, not added, in gather", ops.Index, assign, "gather"),
    Mutant("index: the written places keep their gradient", ops.Overwrite,
           lambda n, g, f: (g, f(n, g)[1]), "index written into"),
    # products
    Mutant("matmul: b for bᵀ", ops.Matmul,
           lambda n, g, f: (g @ n.saved[1], f(n, g)[1]), "matmul square"),
    Mutant("matmul: first of the broadcast stack", ops.Matmul,
           lambda n, g, f: (f(n, g)[0], (n.saved[0].swapaxes(-1, -2) @ g)[0]),
           "matmul stacks broadcast"),
    Mutant("linear: bias mean", ops.Linear, only(2, lambda d: d / 3), "linear"),
    Mutant("linear: weight from one example", ops.Linear,
           lambda n, g, f: (f(n, g)[0], g[:1].T @ n.saved[0][:1], f(n, g)[2]), "linear"),
    Mutant("einsum: trace's gradient everywhere", ops.Einsum,
           lambda n, g, f: (np.full((3, 3), g),), "einsum trace"),
    Mutant("einsum: sign of the second operand's", ops.Einsum, only(1, negate),
           "einsum … broadcasting"),
    # layers
    Mutant("conv2d: kernel gradient with H and W swapped", ops.Conv2d, only(1, swap_sides),
           "conv2d no bias"),
    Mutant("conv2d: image gradient with H and W swapped", ops.Conv2d, only(0, swap_sides),
           "conv2d no bias"),
    Mutant("conv2d: kernel turned round", ops.Conv2d, only(1, lambda d: d[..., ::-1, ::-1]),
           "conv2d"),
    Mutant("conv2d: image gradient off by one tap", ops.Conv2d, only(0, shift),
           "conv2d 5×5, padding 2"),
    Mutant("conv2d 3×3: image gradient off by one tap", ops.Conv3x3, only(0, shift),
           "conv2d padding 1"),
    Mutant("conv2d 3×3: kernel turned round", ops.Conv3x3, only(1, lambda d: d[..., ::-1, ::-1]),
           "conv2d padding 1"),
    Mutant("conv2d 3×3: kernel's H and W swapped", ops.Conv3x3, only(1, swap_sides),
           "conv2d 16 channels"),
    Mutant("conv2d 3×3: bias of the first image", ops.Conv3x3,
           lambda n, g, f: (*f(n, g)[:2], g[0].sum((1, 2))), "conv2d padding 1"),
    Mutant("conv2d 3×3: last column dropped", ops.Conv3x3, upstream(zero_last), "nn.Conv2d"),
    Mutant("conv2d: stride ignored", ops.Conv2d, without_stride, "conv2d stride 2"),
    Mutant("conv2d: dilation ignored", ops.Conv2d, without_dilation, "conv2d dilation 2"),
    Mutant("conv2d: bias summed over the first image", ops.Conv2d,
           lambda n, g, f: (*f(n, g)[:2], g[0].sum((1, 2))), "conv2d"),
    Mutant("conv2d: last column of outputs dropped", ops.Conv2d, upstream(zero_last),
           "conv2d all pairs"),
    Mutant("conv2d: groups in another order", ops.Conv2d, only(0, lambda d: np.roll(d, 2, axis=1)),
           "conv2d groups 2"),
    Mutant("conv2d: kernel's groups in another order", ops.Conv2d,
           only(1, lambda d: np.roll(d, 2, axis=0)), "conv2d depthwise"),
    Mutant("conv_transpose2d: kernel upside down", ops.ConvTranspose2d,
           only(1, lambda d: d[..., ::-1, :]), "conv_transpose2d"),
    Mutant("conv_transpose2d: stride ignored", ops.ConvTranspose2d, without_stride_cropped,
           "conv_transpose2d stride 2"),
    Mutant("conv_transpose2d: groups in another order", ops.ConvTranspose2d,
           only(0, lambda d: np.roll(d, 2, axis=1)), "conv_transpose2d groups 2"),
    Mutant("conv_transpose2d: bias mean", ops.ConvTranspose2d, only(2, halve), "conv_transpose2d"),
    Mutant("conv block: image gradient off by one", ops.ConvBlock, only(0, shift),
           "ops.ConvBlock"),
    Mutant("conv block: kernel's H and W swapped", ops.ConvBlock, only(1, swap_sides),
           "ops.ConvBlock many images"),
    Mutant("conv block: bias a mean", ops.ConvBlock, only(2, lambda d: d / 3),
           "ops.ConvBlock odd image"),
    Mutant("conv block: one odd side dropped", ops.ConvBlock, upstream(zero_last),
           "ops.ConvBlock odd image"),
    Mutant("conv block with norm: γ's sign forgotten", ops.ConvNormBlock, only(2, np.abs),
           "ops.ConvNormBlock"),
    Mutant("conv block with norm: image gradient 1 % too large", ops.ConvNormBlock,
           only(0, lambda d: d * 1.01), "ops.ConvNormBlock odd image"),
    Mutant("conv, ReLU: z gets what ReLU stops", ops.Conv2d,
           lambda n, g, f: (*f(n, g)[:-1], g.copy()), "ops.Conv2d z, ReLU"),
    Mutant("conv, ReLU, pool: bias a mean", ops.Conv2d, only(2, lambda d: d / 3),
           "ops.Conv2d ReLU, overlapping pool"),
    Mutant("3×3 conv, ReLU: ReLU forgotten", ops.Conv3x3,
           lambda n, g, f: (*f(n, g)[:-1], g.copy()), "ops.Conv3x3 z, ReLU"),
    Mutant("norm, ReLU: z gets what ReLU stops", ops.BatchNorm,
           lambda n, g, f: (*f(n, g)[:-1], g.copy()), "ops.BatchNorm z, ReLU"),
    Mutant("norm, ReLU: β a mean", ops.BatchNorm, only(2, lambda d: d / 3),
           "ops.BatchNorm evaluation, z, ReLU"),
    Mutant("conv block with norm: β a mean", ops.ConvNormBlock, only(3, lambda d: d / 3),
           "ops.ConvNormBlock many images"),
    Mutant("max_pool2d: the neighbour wins", ops.MaxPool2d, result(shift), "max_pool2d 2×2"),
    Mutant("max_pool2d: H and W swapped", ops.MaxPool2d, result(swap_sides), "nn.MaxPool2d"),
    Mutant("max_pool2d: partial windows dropped", ops.MaxPool2d, upstream(zero_last),
           "max_pool2d ceil_mode, padding"),
    Mutant("max_pool2d: gradients clipped", ops.MaxPool2d,
           result(lambda d: np.sign(d) * np.minimum(np.abs(d), 0.1)),
           "max_pool2d 3×3, overlapping"),
    Mutant("avg_pool2d: not divided", ops.AveragePool2d, result(lambda d: 4 * d), "avg_pool2d 2×2"),
    Mutant("avg_pool2d: off by one", ops.AveragePool2d, result(shift), "avg_pool2d padding counts"),
    Mutant("batch_norm: divided by n - 1", ops.BatchNorm,
           only(0, lambda d: d * 5 / 4), "batch_norm of vectors"),
    Mutant("batch_norm: image gradient not centred", ops.BatchNorm,
           only(0, lambda d: d + 0.01), "batch_norm of images"),
    Mutant("batch_norm: as in evaluation", ops.BatchNorm, as_in_evaluation, "batch_norm of images"),
    Mutant("batch_norm: β summed over the first image", ops.BatchNorm,
           lambda n, g, f: (*f(n, g)[:2], g[0].sum((1, 2))), "batch_norm of images"),
    Mutant("batch_norm: γ and β swapped", ops.BatchNorm,
           lambda n, g, f: (f(n, g)[0], *f(n, g)[:0:-1]), "batch_norm of images"),
    Mutant("batch_norm: γ a mean", ops.BatchNorm, only(1, lambda d: d / 12),
           "batch_norm of images"),
    Mutant("layer_norm: γ forgotten", ops.LayerNorm,
           lambda n, g, f: (f(n, g / n.saved[1])[0], *f(n, g)[1:]), "layer_norm"),
    Mutant("layer_norm: sign of β", ops.LayerNorm, only(2, negate), "layer_norm"),
    Mutant("dropout: scale forgotten", ops.Dropout, result(lambda d: 0.7 * d), "dropout 0.3"),
    Mutant("dropout: mask forgotten", ops.Dropout, lambda n, g, f: g / 0.75, "dropout ¼"),
    # losses
    Mutant("nll_loss: no 1/n", ops.NLLLoss, result(lambda d: 6 * d), "nll_loss mean"),
    Mutant("nll_loss: sign", ops.NLLLoss, result(negate), "nll_loss sum"),
    Mutant("nll_loss: ignored targets get a gradient", ops.NLLLoss,
           result(lambda d: d - 0.1 * (d.sum(1, keepdims=True) == 0)),
           "nll_loss weights, some ignored sum"),
    Mutant("cross_entropy: softmax forgotten", ops.CrossEntropy,
           result(lambda d: np.minimum(d, 0)), "cross_entropy sum"),
    Mutant("cross_entropy: target forgotten", ops.CrossEntropy,
           result(lambda d: np.maximum(d, 0)), "cross_entropy none"),
    Mutant("cross_entropy: no 1/n", ops.CrossEntropy, result(lambda d: 6 * d),
           "cross_entropy mean"),
    Mutant("cross_entropy: divided by n, ignored targets too", ops.CrossEntropy,
           result(lambda d: d * 4 / 6), "cross_entropy some ignored mean"),
    Mutant("binary_cross_entropy: divisor forgotten", ops.BCELoss,
           lambda n, g, f: (g * (n.saved[0] - n.saved[1]), f(n, g)[1]),
           "binary_cross_entropy none"),
    Mutant("binary_cross_entropy: sign of the target's", ops.BCELoss, only(1, negate),
           "binary_cross_entropy sum"),
    Mutant("…_with_logits: pos_weight ignored", ops.BCEWithLogits,
           lambda n, g, f: (g * (sigmoid(n.saved[0]) - n.saved[1]), f(n, g)[1]),
           "binary_cross_entropy_with_logits pos_weight sum"),
    Mutant("smooth_l1_loss: β forgotten", ops.SmoothL1,
           lambda n, g, f: g * np.clip(n.saved[0], -1, 1), "smooth_l1_loss β 0.3 sum"),
    Mutant("kl_div: 1 forgotten", ops.KLDiv,
           lambda n, g, f: (f(n, g)[0], f(n, g)[1] - g), "kl_div none"),
]  # fmt: skip


# ------------------------------------------------------------------------------ second order
#
# These are right on arrays: the first derivative passes, and only the second is wrong. (The others
# are first derivatives of operations that stand in a backward alone.)


def on_tensors(change):
    """Broken only where the backward is recorded."""

    def mutate(node, g, right):
        return change(node, g, right) if isinstance(g, Tensor) else right(node, g)

    mutate.second_only = True
    return mutate


def detached(*places):
    """What was saved at these places comes back as a constant: the terms through it are dropped."""

    def change(node, g, right):
        node.saved = tuple(s.detach() if i in places else s for i, s in enumerate(node.saved))
        return right(node, g)

    return on_tensors(change)


def twice(change):
    """The gradients changed where they are recorded."""
    return on_tensors(result(change))


def reverse_slope(d):
    """The same values, the negative derivative."""
    return 2 * d.detach() - d


def saved_swapped(node, g, right):
    node.saved = node.saved[::-1]
    return right(node, g)


SECOND = [
    # elementwise: a term dropped
    Mutant("mul: a is a constant", ops.Mul, detached(0), "mul"),
    Mutant("mul: b is a constant", ops.Mul, detached(1), "mul both broadcast"),
    Mutant("div: a is a constant", ops.Div, detached(0), "div"),
    Mutant("div: b is a constant", ops.Div, detached(1), "div"),
    Mutant("pow: a is a constant", ops.Pow, detached(0), "pow cube"),
    Mutant("pow: b is a constant", ops.Pow, detached(1), "pow"),
    Mutant("pow: y is a constant", ops.Pow, detached(2), "pow a number to it"),
    Mutant("exp: y is a constant", ops.Exp, detached(0), "exp"),
    Mutant("expm1: y is a constant", ops.Expm1, detached(0), "expm1"),
    Mutant("log: x is a constant", ops.Log, detached(0), "log"),
    Mutant("log1p: x is a constant", ops.Log1p, detached(0), "log1p"),
    Mutant("sqrt: y is a constant", ops.Sqrt, detached(0), "sqrt"),
    Mutant("sin: x is a constant", ops.Sin, detached(0), "sin"),
    Mutant("cos: x is a constant", ops.Cos, detached(0), "cos"),
    Mutant("erf: x is a constant", ops.Erf, detached(0), "erf"),
    Mutant("tanh: y is a constant", ops.Tanh, detached(0), "tanh"),
    Mutant("sigmoid: y is a constant", ops.Sigmoid, detached(0), "sigmoid"),
    Mutant("elu: y is a constant", ops.ELU, detached(1), "elu α 1.7"),
    Mutant("gelu: x is a constant", ops.GELU, detached(0), "gelu"),
    Mutant("gelu tanh: x is a constant", ops.GELUTanh, detached(0), "gelu tanh"),
    Mutant("silu: x is a constant", ops.SiLU, detached(0), "silu"),
    Mutant("softplus: x is a constant", ops.Softplus, detached(0), "softplus"),
    # elementwise: a sign flipped, a factor, an input swapped
    Mutant("sin: sign of the second", ops.Sin, twice(reverse_slope), "sin"),
    Mutant("gelu: sign of the second", ops.GELU, twice(reverse_slope), "gelu"),
    Mutant("mul: each factor for its own gradient", ops.Mul, on_tensors(saved_swapped), "mul"),
    Mutant("add: one copy instead of their sum", ops.Add,
           on_tensors(lambda n, g, f: (g, g[0])), "add a row to a matrix"),
    Mutant("sub: sign lost", ops.Sub, on_tensors(only(1, negate)), "sub"),
    Mutant("neg: sign lost", ops.Neg, twice(negate), "neg"),
    Mutant("abs: no sign", ops.Abs, on_tensors(lambda n, g, f: g), "abs"),
    Mutant("relu: no mask", ops.ReLU, on_tensors(lambda n, g, f: g), "relu"),
    Mutant("leaky_relu: flat below 0", ops.LeakyReLU,
           on_tensors(lambda n, g, f: g * n.saved[0]), "leaky_relu"),
    Mutant("clamp: no mask", ops.Clamp, on_tensors(lambda n, g, f: g), "clamp both sides"),
    Mutant("where: branches swapped", ops.Where,
           on_tensors(lambda n, g, f: (None, *f(n, g)[:0:-1])), "where"),
    Mutant("clone: twice", ops.Clone, twice(lambda d: d * 2), "clone"),
    Mutant("maximum: the other wins", ops.Maximum,
           lambda n, g, f: f(n, g)[::-1], "binary_cross_entropy sum"),
    # reductions
    Mutant("sum: mean", ops.Sum, twice(lambda d: d / d.numel()), "sum"),
    Mutant("mean: no 1/n", ops.Mean, twice(lambda d: d * 4), "mean one axis"),
    Mutant("var: x is a constant", ops.Var, detached(0), "var"),
    Mutant("var: the mean is a constant", ops.Var,
           on_tensors(lambda n, g, f: 2 * g / n.freedom
                      * (n.saved[0] - n.saved[0].detach().mean())), "var"),
    Mutant("amax: the others win", ops.Extremum,
           twice(lambda d: d.sum(1, keepdim=True) - d), "amax"),
    Mutant("logsumexp: y is a constant", ops.LogSumExp, detached(1), "logsumexp"),
    Mutant("cumsum: not turned round", ops.CumSum,
           on_tensors(lambda n, g, f: g.cumsum(1)), "cumsum"),
    Mutant("softmax: y is a constant", ops.Softmax, detached(0), "softmax"),
    Mutant("log_softmax: y is a constant", ops.LogSoftmax, detached(0), "log_softmax"),
    # shapes
    Mutant("reshape: shifted", ops.Reshape, twice(lambda d: d.flip(0)), "reshape"),
    Mutant("permute: shifted", ops.Permute, twice(lambda d: d.flip(0)), "permute"),
    Mutant("expand: first of the copies", ops.Expand,
           on_tensors(lambda n, g, f: g[:1, :, :1].squeeze(0)), "expand"),
    Mutant("cat: pieces turned round", ops.Cat, on_tensors(lambda n, g, f: f(n, g.flip(0))), "cat"),
    Mutant("pad: turned round", ops.Pad, twice(lambda d: d.flip(0)), "pad"),
    Mutant("index: sign", ops.Index, twice(negate), "index slices"),
    Mutant("scatter: sign", ops.Scatter, result(negate), "index slices"),
    Mutant("scatter: doubled", ops.Scatter, result(lambda d: d * 2), "gather"),
    Mutant("overwrite: the written places keep theirs", ops.Overwrite,
           on_tensors(lambda n, g, f: (g, f(n, g)[1])), "index written into"),
    # products
    Mutant("matmul: a is a constant", ops.Matmul, detached(0), "matmul square"),
    Mutant("matmul: b is a constant", ops.Matmul, detached(1), "matmul two vectors"),
    Mutant("matmul: factors swapped", ops.Matmul, on_tensors(saved_swapped), "matmul square"),
    Mutant("linear: x is a constant", ops.Linear, detached(0), "linear"),
    Mutant("linear: W is a constant", ops.Linear, detached(1), "linear"),
    Mutant("einsum: one operand is a constant", ops.Einsum, detached(1), "einsum … broadcasting"),
    # layers
    Mutant("conv2d: x is a constant", ops.Conv2d, detached(0), "conv2d"),
    Mutant("conv2d: W is a constant", ops.Conv2d, detached(1), "conv2d stride 2"),
    Mutant("conv2d 3×3: x is a constant", ops.Conv3x3, detached(0), "conv2d padding 1"),
    Mutant("conv2d 3×3: W is a constant", ops.Conv3x3, detached(1), "conv2d padding 1"),
    Mutant("conv_transpose2d: x is a constant", ops.ConvTranspose2d, detached(0),
           "conv_transpose2d"),
    Mutant("conv2d's weight: sign of the image's", ops.Conv2dWeight, only(0, negate), "conv2d"),
    Mutant("conv2d's weight: gradient's with H and W swapped", ops.Conv2dWeight,
           only(1, swap_sides), "conv2d no bias"),
    Mutant("max_unpool2d: the neighbour is read", ops.MaxUnpool2d, result(shift), "max_pool2d 2×2"),
    Mutant("average_unpool2d: halved", ops.AverageUnpool2d, result(halve), "avg_pool2d 2×2"),
    Mutant("std: y is a constant", ops.Std, detached(1), "std"),
    Mutant("remainder: sign of the divisor's", ops.Remainder, on_tensors(only(1, negate)),
           "remainder"),
    Mutant("dropout: scale forgotten", ops.Dropout, twice(lambda d: 0.7 * d), "dropout 0.3"),
    # losses
    Mutant("binary_cross_entropy: x is a constant", ops.BCELoss, detached(0),
           "binary_cross_entropy none"),
    Mutant("binary_cross_entropy: target is a constant", ops.BCELoss, detached(1),
           "binary_cross_entropy none"),
    Mutant("…_with_logits: x is a constant", ops.BCEWithLogits, detached(0),
           "binary_cross_entropy_with_logits pos_weight sum"),
    Mutant("smooth_l1_loss: d is a constant", ops.SmoothL1, detached(0),
           "smooth_l1_loss β 0.3 sum"),
    Mutant("kl_div: target is a constant", ops.KLDiv, detached(1), "kl_div none"),
]  # fmt: skip


def frozen_softmax(right):
    """Log-probabilities whose derivative is that of the scores alone."""
    return lambda x, *rest, **options: x - x.detach() + right(x.detach(), *rest, **options)


def other_eps(right):
    return lambda x, *affine, dims, eps: right(x, *affine, dims=dims, eps=eps + 1e-3)


def doubled(right):
    return lambda *inputs, **options: 2 * right(*inputs, **options)


TWINS = [
    ("cross_entropy: doubled", ops.CrossEntropy, doubled, "cross_entropy sum"),
    ("nll_loss: doubled", ops.NLLLoss, doubled, "nll_loss mean"),
    ("layer_norm: another ε", ops.LayerNorm, other_eps, "layer_norm"),
    ("layer_norm: derivative of x alone", ops.LayerNorm, frozen_softmax, "layer_norm"),
    ("prod: doubled", ops.Prod, doubled, "prod"),
]


@pytest.mark.parametrize("mutant", SECOND, ids=lambda m: m.what)
def test_a_broken_second_derivative_is_caught(mutant, monkeypatch):
    case = BY_NAME[mutant.case]
    assert check_case(case, check=gradgradcheck).ok, "the unbroken one must pass"
    right = mutant.operation.backward
    wrong = lambda node, g: mutant.mutate(node, g, right)  # noqa: E731
    monkeypatch.setattr(mutant.operation, "backward", wrong)
    if hasattr(mutant.mutate, "second_only"):
        assert check_case(case).ok, "on arrays it is right"
    assert not check_case(case, raise_exception=False, check=gradgradcheck).ok


@pytest.mark.parametrize(("what", "operation", "change", "name"), TWINS, ids=[t[0] for t in TWINS])
def test_a_wrong_twin_is_caught(what, operation, change, name, monkeypatch):
    case = BY_NAME[name]
    assert check_case(case, check=gradgradcheck).ok, "the unbroken one must pass"
    monkeypatch.setattr(operation, "twin", staticmethod(change(operation.twin)))
    assert check_case(case).ok
    assert not check_case(case, raise_exception=False, check=gradgradcheck).ok


DOUBLED = {
    ops.MaxPool2d: "max_pool2d 3×3, overlapping",
    ops.AveragePool2d: "avg_pool2d padding counts",
    ops.BatchNorm: "batch_norm of images",
    ops.ConvBlock: "ops.ConvBlock",
    ops.ConvNormBlock: "ops.ConvNormBlock",
}


@pytest.mark.parametrize("operation", DOUBLED, ids=lambda operation: operation.__name__)
def test_a_doubled_second_derivative_of_a_layer_is_caught(operation, monkeypatch):
    """By whichever way the operation has: its backward on tensors, or its twin."""
    case = BY_NAME[DOUBLED[operation]]
    assert check_case(case, check=gradgradcheck).ok, "the unbroken one must pass"
    right = operation.backward
    if operation.twin is None:
        wrong = twice(lambda d: d * 2)
        monkeypatch.setattr(operation, "backward", lambda node, g: wrong(node, g, right))
    else:
        monkeypatch.setattr(operation, "twin", staticmethod(doubled(operation.twin)))
    assert check_case(case).ok
    assert not check_case(case, raise_exception=False, check=gradgradcheck).ok


def test_there_are_second_order_mutants_of_every_operation():
    broken = {m.operation for m in SECOND} | {operation for _, operation, _, _ in TWINS}
    # (PyTorch judges Cast; Winners is run backward in third order only)
    assert set(ops.OPERATIONS) - broken - set(DOUBLED) == {ops.Cast, ops.Winners}


class SavesItsSlope(ops.Function):
    """tanh, whose slope is computed in forward: right to first order, and then a constant."""

    def forward(self, x):
        y = np.tanh(x)
        self.save_for_backward(1 - y * y)
        return y

    def backward(self, grad):
        return grad * self.saved[0]


class KeepsItsSlope(SavesItsSlope):
    """As an attribute."""

    def forward(self, x):
        y = np.tanh(x)
        self.slope = 1 - y * y
        return y

    def backward(self, grad):
        return grad * self.slope


@pytest.mark.parametrize("operation", [SavesItsSlope, KeepsItsSlope])
def test_an_operation_that_keeps_an_intermediate_value_has_no_second_derivative(operation):
    x = np.array([0.3, -1.0])
    assert gradcheck(lambda x: apply(operation, x), x)
    with pytest.raises(RuntimeError, match=f"{operation.__name__} can be differentiated only once"):
        gradgradcheck(lambda x: apply(operation, x), x)


# ------------------------------------------------------------------------------ first order


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.what)
def test_a_broken_derivative_is_caught(mutant, monkeypatch):
    case = BY_NAME[mutant.case]
    assert check_case(case).ok, "the unbroken one must pass"
    right = mutant.operation.backward
    wrong = lambda node, g: mutant.mutate(node, g, right)  # noqa: E731
    monkeypatch.setattr(mutant.operation, "backward", wrong)
    report = check_case(case, raise_exception=False)
    assert report.failures
    assert report.worst_error > 1e-9


def test_there_are_mutants_of_every_operation():
    rounding_only = {ops.Cast}  # it has no numerical derivative; PyTorch judges it
    in_backward_only = {ops.Maximum, ops.Scatter, ops.Conv2dWeight, ops.MaxUnpool2d, ops.Winners}
    in_backward_only.add(ops.AverageUnpool2d)  # they have second-order mutants
    broken = {mutant.operation for mutant in MUTANTS}
    assert broken == set(ops.OPERATIONS) - rounding_only - in_backward_only
    assert len(MUTANTS) >= 40

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

from tinygrad_fm import ops
from tinygrad_fm.checking.cases import CASES
from tinygrad_fm.checking.run import check_case

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


def without_dilation(node, g, right):
    node.geometry = node.geometry._replace(dilation=(1, 1))
    return right(node, g)


def assign_index(node, g, right):
    dx = np.zeros(node.shape)
    dx[node.view][node.picks] = g
    return dx


def assign_gather(node, g, right):
    dx = np.zeros(node.shape)
    dx[node.places] = g
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
    Mutant("where: branches swapped", ops.Where, lambda n, g, f: f(n, g)[::-1], "where"),
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
    Mutant("index: assigned, not added", ops.Index, assign_index,
           "index a list naming a place twice"),
    Mutant("gather: assigned, not added", ops.Gather, assign_gather, "gather"),
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
    Mutant("conv_transpose2d: stride ignored", ops.ConvTranspose2d, without_stride,
           "conv_transpose2d stride 2"),
    Mutant("conv_transpose2d: groups in another order", ops.ConvTranspose2d,
           only(0, lambda d: np.roll(d, 2, axis=1)), "conv_transpose2d groups 2"),
    Mutant("conv_transpose2d: bias mean", ops.ConvTranspose2d, only(2, halve), "conv_transpose2d"),
    Mutant("conv block: image gradient off by one", ops.ConvReLUPool, only(0, shift),
           "nn.Sequential conv, ReLU, pool"),
    Mutant("conv block: kernel's H and W swapped", ops.ConvReLUPool, only(1, swap_sides),
           "nn.Sequential conv, ReLU, pool, many images"),
    Mutant("conv block: bias a mean", ops.ConvReLUPool, only(2, lambda d: d / 3),
           "nn.Sequential conv, ReLU, pool, odd image"),
    Mutant("conv block: one odd side dropped", ops.ConvReLUPool, upstream(zero_last),
           "nn.Sequential conv, ReLU, pool, odd image"),
    Mutant("conv block with norm: γ's sign forgotten", ops.ConvNormReLUPool, only(2, np.abs),
           "nn.Sequential conv, norm, ReLU, pool"),
    Mutant("conv block with norm: image gradient 1 % too large", ops.ConvNormReLUPool,
           only(0, lambda d: d * 1.01), "nn.Sequential conv, norm, ReLU, pool, odd image"),
    Mutant("conv block with norm: β a mean", ops.ConvNormReLUPool, only(3, lambda d: d / 3),
           "nn.Sequential conv, norm, ReLU, pool, many images"),
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
           lambda n, g, f: (f(n, g / n.saved[2])[0], *f(n, g)[1:]), "layer_norm"),
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
    assert {mutant.operation for mutant in MUTANTS} == set(ops.OPERATIONS) - rounding_only
    assert len(MUTANTS) >= 40

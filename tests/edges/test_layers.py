"""Layers and losses at their edges, beside PyTorch.

A table is calls times inputs. A call is an expression, in which `t` is the library, `F` its
functional module, x, w and b (or x, y, w) are tensors, and a word in braces stands for each of the
texts in `HOLES`. What is known to differ stands in `KNOWN`, and in docs/pytorch.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
import torch
from edges.judge import Case, Known, Outcome, surprises

FLOATS = ("float32", "float64")
DTYPES = ("uint8", "int64", *FLOATS)
Arrays = tuple[np.ndarray, ...]


def numbers(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    """Quarters between -2 and 2, many of them equal; of integers those from 0 to 4 or from -2."""
    drawn = np.random.default_rng(seed).integers(-8, 9, shape)
    if dtype in FLOATS:
        return np.asarray(drawn / 4, dtype)
    return np.asarray(drawn // 4 + 2 * (dtype == "uint8"), dtype)


def with_specials(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same, and the first with what is no ordinary number in it."""
    plain = next(iter(arrays.values()))
    if plain.dtype.kind != "f":
        return arrays
    every = np.arange(plain.size).reshape(plain.shape)
    return arrays | {
        "one NaN": np.where(every == 7, np.nan, plain).astype(plain.dtype),
        "one inf": np.where(every == 7, np.inf, plain).astype(plain.dtype),
        "both infs": np.where(every % 5 == 2, np.inf * (-1) ** every, plain).astype(plain.dtype),
        "all -inf": np.full_like(plain, -np.inf),
        "all NaN": np.full_like(plain, np.nan),
        "huge": plain * plain.dtype.type(2**67),  # its square is more than a float32 holds
        "tiny": plain * plain.dtype.type(2**-100),
        "constant": np.full_like(plain, 0.75),
        "zeros": np.zeros_like(plain),
    }


def images(dtype: str) -> dict[str, np.ndarray]:
    plain = numbers(2, 2, 6, 7, dtype=dtype)
    return with_specials(
        {
            "plain": plain,
            "channels last": np.moveaxis(np.moveaxis(plain, 1, -1).copy(), -1, 1),
            "no batch": plain[:0],
            "no channels": plain[:, :0],
            "no rows": plain[:, :, :0],
            "one pixel": plain[:1, :1, :1, :1],
            "one row": plain[:, :, :1],
            "one image": plain[:1],
            "three axes": plain[0],
            "two axes": plain[0, 0],
            "five axes": plain[None],
        }
    )


def vectors(dtype: str) -> dict[str, np.ndarray]:
    plain = numbers(5, 2, dtype=dtype)
    return with_specials(
        {
            "plain": plain,
            "transposed": numbers(2, 5, dtype=dtype).T,
            "no batch": plain[:0],
            "no channels": plain[:, :0],
            "one": plain[:1],
            "three axes": numbers(3, 2, 4, dtype=dtype),
            "no length": numbers(3, 2, 0, dtype=dtype),
            "one axis": plain[:, 0],
            "number": plain[0, 0],
        }
    )


HOLES = {
    "k": ("1", "2", "(3, 2)", "6", "9", "(2,)"),
    "s": ("None", "1", "3", "(1, 2)"),
    "p": ("0", "1", "(1, 0)", "2"),
    "d": ("1", "2", "(2, 1)"),
    "bad": ("0", "-1", "(2, -1)", "(1, 2, 3)", "()", "'2'", "1.5"),
    "bool": ("False", "True"),
    "size": ("1", "2", "3", "7", "(3, 2)", "(None, 2)", "[2, None]", "0", "(0, 2)", "9", "-1",
             "(-1, 2)", "(2,)", "(1, 2, 3)", "None", "(None, None)"),
    "reduction": ("'mean'", "'sum'", "'none'"),
    "ignore": ("-100", "0", "2", "5"),
    "smooth": ("0.0", "0.1", "1.0", "-0.1", "1.5"),
}  # fmt: skip


def filled(table: str) -> Iterator[str]:
    """The table's expressions with every combination of texts in their holes."""
    for row in table.strip().split("\n"):
        used = [name for name in HOLES if "{" + name + "}" in row]
        for texts in product(*(HOLES[name] for name in used)):
            text = row.strip()
            for name, value in zip(used, texts, strict=True):
                text = text.replace("{" + name + "}", value)
            yield text


def compiled(text: str, names: str):
    return eval(f"lambda t, {names}: (lambda F: {text})(t.nn.functional)", {"after": after})


def after(layer, *inputs):
    """A layer's last output, and what its buffers hold then."""
    outputs = [layer(x) for x in inputs]
    return [outputs[-1], *(b.clone() for b in layer.buffers())]


def cases(table: str, inputs: dict[str, Arrays], names: str) -> Iterator[Case]:
    """Every call of a table with every tuple of inputs."""
    for text in filled(table):
        run = compiled(text, names)
        for what, arrays in inputs.items():
            yield Case(f"{text} of {what}", run, arrays)


def every(kind, dtypes=DTYPES) -> dict[str, Arrays]:
    """The inputs of one kind in each dtype, alone."""
    return {f"{d} {what}": (np.asarray(a),) for d in dtypes for what, a in kind(d).items()}


def plain(kind, *names: str) -> dict[str, Arrays]:
    return {f"float32 {what}": (kind("float32")[what],) for what in ("plain", *names)}


# ------------------------------------------------------------------------------ pooling


def max_pool2d() -> Iterator[Case]:
    """No window lies in the padding altogether: PyTorch then writes outside its memory."""
    table = """F.max_pool2d(x, {k}, {s}, {p}, {d}, {bool})
        F.max_pool2d(x, {bad})
        F.max_pool2d(x, 2, {bad})
        F.max_pool2d(x, 4, 1, {bad})
        F.max_pool2d(x, 2, 1, 0, {bad})"""
    yield from cases(table, plain(images), "x")
    table = """F.max_pool2d(x, 2)
        F.max_pool2d(x, 3, 2, 1)
        F.max_pool2d(x, 2, 1, 0, 2)
        F.max_pool2d(x, (3, 2), (2, 3), (1, 0), (1, 2), True)
        F.max_pool2d(x, 1, 1)
        F.max_pool2d(x, 6, 1, 3)
        t.nn.MaxPool2d(2)(x)"""
    yield from cases(table, every(images), "x")


def avg_pool2d() -> Iterator[Case]:
    table = """F.avg_pool2d(x, {k}, {s}, {p}, {bool}, False)
        F.avg_pool2d(x, {k}, {s}, {p}, {bool})
        F.avg_pool2d(x, {bad})
        F.avg_pool2d(x, 2, {bad})
        F.avg_pool2d(x, 4, 1, {bad})"""
    yield from cases(table, plain(images, "one NaN"), "x")
    table = """F.avg_pool2d(x, 2)
        F.avg_pool2d(x, 3, 2, 1)
        F.avg_pool2d(x, 3, 2, 1, True, False)
        F.avg_pool2d(x, (3, 2), (2, 3), (1, 1), True)
        F.avg_pool2d(x, 1, 1)
        F.avg_pool2d(x, 6, 1, 3)
        t.nn.AvgPool2d(2)(x)"""
    yield from cases(table, every(images), "x")


def adaptive_avg_pool2d() -> Iterator[Case]:
    table = "F.adaptive_avg_pool2d(x, {size})\nt.nn.AdaptiveAvgPool2d({size})(x)"
    yield from cases(table, every(images), "x")


# ------------------------------------------------------------------------------ normalisation


def batch_norm1d() -> Iterator[Case]:
    table = """after(t.nn.BatchNorm1d(2), x)
        after(t.nn.BatchNorm1d(2).double(), x)
        after(t.nn.BatchNorm1d(2).eval(), x)
        after(t.nn.BatchNorm1d(2).double().eval(), x)
        after(t.nn.BatchNorm1d(2), x, x)
        after(t.nn.BatchNorm1d(2, momentum=None), x, x)
        after(t.nn.BatchNorm1d(2, eps=0.0), x)
        after(t.nn.BatchNorm1d(2, affine=False), x)
        after(t.nn.BatchNorm1d(2, momentum=1.0), x)
        after(t.nn.BatchNorm1d(2, track_running_stats=False), x)
        after(t.nn.BatchNorm1d(2, track_running_stats=False).eval(), x)
        after(t.nn.BatchNorm1d(0), x)
        after(t.nn.BatchNorm1d(3), x)
        F.batch_norm(x, None, None)
        F.batch_norm(x, None, None, training=True)
        F.batch_norm(x, t.zeros(2), t.ones(2))
        F.batch_norm(x, t.zeros(2), t.zeros(2), eps=0.0)
        F.batch_norm(x, t.zeros(2), -t.ones(2))
        F.batch_norm(x, t.zeros(2), None)
        F.batch_norm(x, t.zeros(2), t.ones(2), t.ones(2))
        F.batch_norm(x, t.zeros(2), t.ones(2), None, t.ones(2))
        F.batch_norm(x, t.zeros(2), t.ones(2), t.ones(1))
        F.batch_norm(x, None, None, t.ones(2), t.ones(2), True, 0.1, -1.0)"""
    yield from cases(table, every(vectors), "x")


def batch_norm2d() -> Iterator[Case]:
    table = """after(t.nn.BatchNorm2d(2), x)
        after(t.nn.BatchNorm2d(2).double(), x, x)
        after(t.nn.BatchNorm2d(2).eval(), x)
        after(t.nn.BatchNorm2d(2, affine=False, momentum=None), x, x)
        F.batch_norm(x, None, None, training=True)
        F.batch_norm(x, t.zeros(2), t.ones(2), t.ones(2), t.ones(2))"""
    yield from cases(table, every(images), "x")


def layer_norm() -> Iterator[Case]:
    table = """t.nn.LayerNorm(2)(x)
        t.nn.LayerNorm(2).double()(x)
        t.nn.LayerNorm((5, 2))(x)
        t.nn.LayerNorm(0)(x)
        t.nn.LayerNorm(2, elementwise_affine=False)(x)
        t.nn.LayerNorm(2, bias=False)(x)
        F.layer_norm(x, (2,))
        F.layer_norm(x, x.shape)
        F.layer_norm(x, x.shape[1:])
        F.layer_norm(x, ())
        F.layer_norm(x, (1,))
        F.layer_norm(x, (1, 5, 2))
        F.layer_norm(x, (2,), eps=0.0)
        F.layer_norm(x, (2,), t.ones(2))
        F.layer_norm(x, (2,), None, t.ones(2))
        F.layer_norm(x, (2,), t.ones(1))
        F.layer_norm(x, (2,), t.ones(2).double(), t.ones(2).double())"""
    yield from cases(table, every(vectors), "x")
    yield from cases("F.layer_norm(x, x.shape[{n}:])".replace("{n}", "1"), every(images), "x")


# ------------------------------------------------------------------------------ convolution


def kernels(shape, bias) -> dict[str, Arrays]:
    """Every image with a kernel and a bias of its dtype, and some of mixed dtypes."""
    found = {
        f"{d} {what}": (np.asarray(a), numbers(*shape, dtype=d, seed=1), numbers(bias, dtype=d))
        for d in DTYPES
        for what, a in images(d).items()
        if what != "huge"  # of which each library rounds other sums
    }
    for d, e in product(DTYPES, DTYPES):
        x, w, b = numbers(1, 2, 6, 7, dtype=d), numbers(*shape, dtype=e), numbers(bias, dtype=e)
        found[f"{d} {e}"] = (x, w, b)
    x, w, b = found["float32 plain"]
    return found | {
        "kernel NaN": (x, np.where(w == w[0, 0, 0, 0], np.nan, w).astype("f4"), b),
        "kernel inf": (x, np.where(w == w[0, 0, 0, 0], np.inf, w).astype("f4"), b),
        "no outputs": (x, w[:0], b[:0]),
        "no kernel": (x, w[:, :, :0], b),
        "long bias": (x, w, numbers(bias + 1)),
        "bias of one": (x, w, numbers(1)),
        "flat kernel": (x, w[0], b),
    }


def conv2d() -> Iterator[Case]:
    one = {"plain": kernels((4, 2, 3, 2), 4)["float32 plain"]}
    table = """F.conv2d(x, w, b, {s}, {p}, {d})
        F.conv2d(x, w, b, 1, {k}, {d})
        F.conv2d(x, w, b, {bad})
        F.conv2d(x, w, b, 1, {bad})
        F.conv2d(x, w, b, 1, 0, {bad})
        F.conv2d(x, w, b, {s}, 'same', {d})
        F.conv2d(x, w, b, {s}, 'valid')"""
    yield from cases(table, one, "x, w, b")
    table = """F.conv2d(x, w)
        F.conv2d(x, w, b, padding=1)
        F.conv2d(x, w, b, 2, 4, 2)
        F.conv2d(x, w, b, padding='full')
        F.conv2d(x, w, b, groups=0)"""
    yield from cases(table, kernels((4, 2, 3, 3), 4), "x, w, b")
    table = "F.conv2d(x, w, b, groups=2)\nF.conv2d(x, w, b, 2, 1, groups=2)"
    yield from cases(table, kernels((4, 1, 3, 2), 4), "x, w, b")
    many = {
        f"{d} with six channels": (
            numbers(1, 6, 5, 4, dtype=d),
            numbers(2, 6, 3, 3, dtype=d, seed=1),
        )
        for d in DTYPES
    }
    yield from cases("F.conv2d(x, w, padding=1)", many, "x, w")
    table = "F.conv2d(x, w, b, groups=2)\nF.conv2d(x, w, groups=3)\nF.conv2d(x, w, groups=-1)"
    yield from cases(table, {"misfit": kernels((3, 1, 2, 2), 3)["float32 plain"]}, "x, w, b")
    table = "t.nn.Sequential(t.nn.Conv2d(2, 3, 3, padding=1), t.nn.ReLU(), t.nn.MaxPool2d(2))(x)"
    yield from cases(table + ".shape", every(images), "x")


def conv_transpose2d() -> Iterator[Case]:
    one = {"plain": kernels((2, 3, 3, 2), 3)["float32 plain"]}
    table = """F.conv_transpose2d(x, w, b, {s}, {p}, 0, 1, {d})
        F.conv_transpose2d(x, w, b, 2, 1, {p}, 1, {d})
        F.conv_transpose2d(x, w, b, 1, {k})
        F.conv_transpose2d(x, w, b, {bad})
        F.conv_transpose2d(x, w, b, 2, {bad})
        F.conv_transpose2d(x, w, b, 2, 0, {bad})
        F.conv_transpose2d(x, w, b, 2, 0, 0, 1, {bad})"""
    yield from cases(table, one, "x, w, b")
    table = """F.conv_transpose2d(x, w)
        F.conv_transpose2d(x, w, b, 2, 1, 1)
        F.conv_transpose2d(x, w, b, groups=0)"""
    yield from cases(table, kernels((2, 3, 3, 2), 3), "x, w, b")
    table = "F.conv_transpose2d(x, w, b, 2, 1, groups=2)"
    yield from cases(table, kernels((2, 1, 2, 3), 2), "x, w, b")


def linear() -> Iterator[Case]:
    kinds = {
        f"{d} {what}": (np.asarray(a), numbers(3, 2, dtype=d, seed=1), numbers(3, dtype=d))
        for d in DTYPES
        for what, a in vectors(d).items()
    }
    for d, e in product(DTYPES, DTYPES):
        kinds[f"{d} {e}"] = (numbers(4, 2, dtype=d), numbers(3, 2, dtype=e), numbers(3, dtype=e))
    x, w, b = kinds["float32 plain"]
    kinds |= {
        "no outputs": (x, w[:0], b[:0]),
        "no inputs": (x[:, :0], w[:, :0], b),
        "flat weight": (x, w[0], b[0]),
        "one axis": (x[0], w, b),
        "long bias": (x, w, numbers(4)),
        "matrix bias": (x, w, b[None]),
    }
    yield from cases("F.linear(x, w)\nF.linear(x, w, b)", kinds, "x, w, b")


def pad() -> Iterator[Case]:
    table = """F.pad(x, (1, 2))
        F.pad(x, (1, 2, 0, 1), value=2.5)
        F.pad(x, (-1, 2), value=float('nan'))
        F.pad(x, (-3, -3))
        F.pad(x, (-1, 0, -1, 1))
        F.pad(x, ())
        F.pad(x, (1,))
        F.pad(x, (0, 0, 0, 0, 0, 0, 1, 1))
        F.pad(x, (1, 1), 'constant', 300)
        F.pad(x, (1, 1), 'constant', -1)
        F.pad(x, (1, 1), 'reflected')
        F.pad(x, [1, 0])
        F.pad(x, (2.0, 1))"""
    yield from cases(table, every(vectors), "x")


def dropout() -> Iterator[Case]:
    table = """F.dropout(x, 0.0)
        F.dropout(x, 1.0)
        F.dropout(x, 0.5, False)
        F.dropout(x, 1.0, False)
        F.dropout(x, -0.1)
        F.dropout(x, 1.1)
        F.dropout(x, float('nan'))
        F.dropout(x * 0 + 1, 0.5).shape
        F.dropout(x, 0.5).dtype == x.dtype
        t.nn.Dropout(1.5)(x)
        t.nn.Dropout(1.0)(x)
        t.nn.Dropout(0.0)(x)
        t.nn.Dropout(0.3).eval()(x)"""
    yield from cases(table, every(vectors), "x")


def one_hot() -> Iterator[Case]:
    table = "F.one_hot(x)\nF.one_hot(x, 5)\nF.one_hot(x, 2)\nF.one_hot(x, 0)\nF.one_hot(x.abs())"
    yield from cases(table, every(vectors), "x")


# ------------------------------------------------------------------------------ losses


def pairs(low: float = -2, high: float = 2) -> dict[str, Arrays]:
    """Inputs and targets in a range, in all dtypes and their mixtures."""

    def scaled(a: np.ndarray) -> np.ndarray:
        if a.dtype.kind != "f":
            return a
        return np.asarray((low + (a + 2) / 4 * (high - low)), a.dtype)

    found = {}
    for d, e in product(("bool", *DTYPES), ("bool", *DTYPES)):
        for what, shapes in {
            "plain": ((3, 4), (3, 4)),
            "numbers": ((), ()),
            "no batch": ((0, 4), (0, 4)),
            "column": ((3, 1), (3,)),
            "row": ((3, 4), (4,)),
            "misfit": ((3, 4), (3, 5)),
        }.items():
            if what == "plain" or d == e:
                x, y = (
                    numbers(*s, dtype="int64" if t == "bool" else t, seed=i)
                    for i, (s, t) in enumerate(zip(shapes, (d, e), strict=True))
                )
                found[f"{d} {e} {what}"] = (
                    np.asarray(scaled(x).astype(d)), np.asarray(scaled(y).astype(e))
                )  # fmt: skip
    for d in FLOATS:
        x, y = found[f"{d} {d} plain"]
        for what, value in {
            "NaN": np.nan, "inf": np.inf, "-inf": -np.inf, "huge": 1e20, "low": low, "high": high,
            "beyond": high * 1.5, "below": low - 0.5, "tiny": 1e-40, "near": high - 1e-7,
        }.items():  # fmt: skip
            x1, y1 = x.copy(), y.copy()
            x1[0, :2], y1[0, 1:3] = value, value
            found |= {
                f"{d} input {what}": (x1, y),
                f"{d} target {what}": (x, y1),
                f"{d} both {what}": (x1, y1),
            }
    return found


def distance() -> Iterator[Case]:
    table = """F.mse_loss(x, y, reduction={reduction})
        F.l1_loss(x, y, reduction={reduction})
        F.smooth_l1_loss(x, y, reduction={reduction})
        F.smooth_l1_loss(x, y, beta=0.0)
        F.smooth_l1_loss(x, y, beta=0.5)
        F.smooth_l1_loss(x, y, beta=-1.0)
        F.smooth_l1_loss(x, y, beta=float('nan'))
        F.mse_loss(x, y, reduction='average')
        t.nn.MSELoss()(x, y)
        t.nn.SmoothL1Loss(reduction='sum', beta=2.0)(x, y)"""
    yield from cases(table, pairs(), "x, y")


def binary_cross_entropy() -> Iterator[Case]:
    table = """F.binary_cross_entropy(x, y.detach(), reduction={reduction})
        F.binary_cross_entropy(x, y.detach(), t.tensor([1., 0., 2., 3.]))
        F.binary_cross_entropy(x, y.detach(), t.tensor([1., 0., 2.]))
        F.binary_cross_entropy(x, y)
        F.binary_cross_entropy(x, y.detach(), -t.ones(3, 4))
        F.binary_cross_entropy(x, y.detach(), t.ones(2, 3, 4))
        F.binary_cross_entropy(x, y, reduction='batchmean')"""
    yield from cases(table, pairs(0, 1), "x, y")


def binary_cross_entropy_with_logits() -> Iterator[Case]:
    f = "F.binary_cross_entropy_with_logits"
    table = f"""{f}(x, y, reduction={{reduction}})
        {f}(x, y, t.tensor([1., 0., 2., 3.]))
        {f}(x, y, pos_weight=t.tensor([1., 0., 2., 3.]))
        {f}(x, y, pos_weight=t.tensor([1., 0., 2.]))
        {f}(x, y, pos_weight=t.ones(4).double())
        {f}(x, y, t.ones(2, 3, 4))
        {f}(x, y, pos_weight=t.ones(2, 3, 4))"""
    yield from cases(table, pairs(), "x, y")


def kl_div() -> Iterator[Case]:
    table = """F.kl_div(x, y.detach(), reduction={reduction})
        F.kl_div(x, y.detach(), reduction='batchmean')
        F.kl_div(x, y)
        F.kl_div(x, y, reduction='none', log_target=True)
        F.kl_div(x, y, reduction='batchmean', log_target=True)"""
    yield from cases(table, pairs(0, 1), "x, y")


def scores() -> dict[str, Arrays]:
    """Scores (N, C, …), targets and weights of the classes."""
    weight = np.array([1, 0, 2], "f4")
    found = {}
    targets = {
        "plain": [0, 1, 2, 2],
        "ignored": [-100, 1, -100, 2],
        "all ignored": [-100] * 4,
        "weightless": [1, 1, 1, 1],
        "negative": [0, -1, 1, 2],
        "too large": [0, 3, 1, 2],
        "fives": [5, 0, 5, 1],
        "misfit": [0, 1],
        "matrix": [[0], [1], [2], [0]],
    }
    for d in ("int64", "uint8", "int32", "bool", "float32"):
        kinds = targets if d == "int64" else {"plain": targets["plain"], "zeros": [0, 0, 1, 0]}
        for what, t in kinds.items():
            found[f"{what} {d}"] = (numbers(4, 3), np.array(t).astype(d), weight)
    t = np.array(targets["plain"])
    found |= {f"of {d}": (numbers(4, 3, dtype=d), t, weight) for d in DTYPES}
    found |= {
        "weights of float64": (numbers(4, 3), t, weight.astype("f8")),
        "weights of int64": (numbers(4, 3), t, weight.astype("i8")),
        "all float64": (numbers(4, 3, dtype="float64"), t, weight.astype("f8")),
        "few weights": (numbers(4, 3), t, weight[:2]),
        "negative weights": (numbers(4, 3), t, -weight),
        "NaN weight": (numbers(4, 3), t, np.array([1, np.nan, 1], "f4")),
        "weights of zero": (numbers(4, 3), t, weight * 0),
        "no batch": (numbers(0, 3), t[:0], weight),
        "no classes": (numbers(4, 0), t, weight[:0]),
        "one class": (numbers(4, 1), t * 0, weight[:1]),
        "one axis": (numbers(3), t[0], weight),
        "number": (numbers(), t[0], weight),
        "images": (numbers(2, 3, 2, 2), t.reshape(2, 2, 1).repeat(2, 2), weight),
        "no pixels": (numbers(2, 3, 0, 2), np.zeros((2, 0, 2), "i8"), weight),
        "sequence": (numbers(2, 3, 2), np.array([[-100, 1], [2, 0]]), weight),
        "probabilities": (numbers(4, 3), np.full((4, 3), 0.25, "f4"), weight),
    }
    for what, value in {"NaN": np.nan, "inf": np.inf, "-inf": -np.inf, "huge": 1e20}.items():
        for name, place in {"of target": (0, 0), "of another": (0, 1), "ignored": (2, 1)}.items():
            x = numbers(4, 3)
            x[place] = value
            found[f"{what} {name}"] = (x, np.array([0, 1, -100, 2]), weight)
    found["all -inf"] = (np.full((4, 3), -np.inf, "f4"), t, weight)
    return found


def cross_entropy() -> Iterator[Case]:
    table = """F.cross_entropy(x, y, reduction={reduction})
        F.cross_entropy(x, y, w.detach(), ignore_index={ignore}, reduction={reduction})
        F.cross_entropy(x, y, w.detach(), label_smoothing={smooth})
        F.cross_entropy(x, y, ignore_index={ignore}, reduction={reduction}, label_smoothing=0.2)
        F.cross_entropy(x, y, w.detach(), ignore_index={ignore}, label_smoothing=0.2)
        F.cross_entropy(x, y, reduction='batchmean')
        t.nn.CrossEntropyLoss(w.detach(), ignore_index=1, label_smoothing=0.1)(x, y)"""
    yield from cases(table, scores(), "x, y, w")


def nll_loss() -> Iterator[Case]:
    table = """F.nll_loss(x, y, reduction={reduction})
        F.nll_loss(x, y, w.detach(), ignore_index={ignore}, reduction={reduction})
        t.nn.NLLLoss(w.detach())(x, y)"""
    yield from cases(table, scores(), "x, y, w")


TABLES = (
    max_pool2d, avg_pool2d, adaptive_avg_pool2d, batch_norm1d, batch_norm2d, layer_norm, conv2d,
    conv_transpose2d, linear, pad, dropout, one_hot, distance, binary_cross_entropy,
    binary_cross_entropy_with_logits, kl_div, cross_entropy, nll_loss,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread_for_pytorch():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # small arrays, and many processes that test at once
    yield
    torch.set_num_threads(before)


def known(outcome: Outcome, reason: str, *names: str) -> tuple[Known, ...]:
    return tuple(Known(name, outcome, reason) for name in names)


DIFFERS, ACCEPTED, RAISED = Outcome.DIFFERS, Outcome.ACCEPTED, Outcome.RAISED
NO_BATCH_AXIS = known(RAISED, "an image needs its batch axis: x.unsqueeze(0)", "* three axes")
NO_CHANNELS = known(ACCEPTED, "nothing to pool gives nothing", "* no channels")
NO_SIZES = known(RAISED, "a stride of () isn't the kernel's size", "*(x, 2, ()) of *")
NOTHING_CHECKED = "of an empty batch PyTorch looks at neither dtypes nor shapes"
SPREADS = "Winograd's and im2col's sums touch it with a factor of 0: 0·∞"
CONVERTED = "another dtype is converted, and the result is right"
IN_BYTES = "uint8 kernels wrap around, as in PyTorch's conv2d"
NO_KERNEL = known(ACCEPTED, "a kernel of no size gives the bias", "* of no kernel")
OVERFLOWS = "the square of 1e20 is infinite in PyTorch's float32; here it is taken in float64"
CLASSES = (
    *known(ACCEPTED, CONVERTED, "* int32", "* of of float64", "* of weights of *"),
    *known(DIFFERS, "of an undefined mean the slope is 0", "* of weightless int64",
           "* of weights of zero", "* of zeros uint8"),
    *known(DIFFERS, "a NaN in a mean's divisor", "* of NaN weight"),
    *known(DIFFERS, "0·ln 0 = 0", "* of all -inf"),
)  # fmt: skip

KNOWN: dict[str, tuple[Known, ...]] = {
    "max_pool2d": (*NO_BATCH_AXIS, *NO_CHANNELS, *NO_SIZES),
    "avg_pool2d": (*NO_BATCH_AXIS, *NO_CHANNELS, *NO_SIZES),
    "adaptive_avg_pool2d": (
        *NO_BATCH_AXIS,
        *NO_CHANNELS,
        *known(RAISED, "as three axes", "*(1)* two axes", "*(x, 1) of * two axes",
               "*(1)* five axes", "*(x, 1) of * five axes"),
        *known(RAISED, "the mean of nothing", "*1)* of * no rows"),
        *known(RAISED, NOTHING_CHECKED, "*int* no batch", "*int* no channels"),
        *known(RAISED, "no window: PyTorch looks at no dtype", "*0)* of *int*",
               "*(0, 2)* of *int*"),
        *known(ACCEPTED, "no window: PyTorch's backward raises", "*0)* of float*",
               "*(0, 2)* of float*"),
        *known(ACCEPTED, "as (None, None)", "*None) of float*", "*None)(x) of float*"),
    ),
    "batch_norm1d": (
        *known(RAISED, NOTHING_CHECKED, "* no batch", "* no channels", "* no length"),
        *known(ACCEPTED, "newer versions of PyTorch refuse eps=0", "*eps=0.0), x) of float32 *",
               "*, -1.0) of *"),
        *known(DIFFERS, OVERFLOWS, "* of float32 huge"),
        *known(DIFFERS, "of constants exactly 0", "* of float32 constant"),
        *known(DIFFERS, "(0 - 0)/0", "*eps=0.0) of float32 transposed"),
    ),
    "batch_norm2d": (
        *known(RAISED, NOTHING_CHECKED, "* no batch", "* no channels", "* no rows"),
        *known(DIFFERS, OVERFLOWS, "* of float32 huge"),
        *known(DIFFERS, "of constants exactly 0", "* of float32 constant"),
    ),
    "layer_norm": (
        *known(DIFFERS, OVERFLOWS, "* of float32 huge"),
        *known(DIFFERS, "0/0, but for rounding", "*eps=0.0) of * tiny"),
    ),
    "conv2d": (
        *NO_BATCH_AXIS,
        *NO_KERNEL,
        *known(DIFFERS, SPREADS, "*padding=1) of * one NaN", "*padding=1) of * one inf",
               "*padding=1) of * both infs", "* of kernel NaN", "* of kernel inf"),
        *known(ACCEPTED, "no outputs", "* of no outputs"),
        *known(ACCEPTED, IN_BYTES, "*2, 4, 2) of uint8 *"),
    ),
    "conv_transpose2d": (
        *NO_BATCH_AXIS,
        *NO_KERNEL,
        *known(ACCEPTED, IN_BYTES, "* of uint8 *"),
        *known(DIFFERS, SPREADS, "*b, 2, 1* one NaN", "*b, 2, 1* one inf", "*b, 2, 1* both infs",
               "* of kernel NaN", "* of kernel inf"),
        *known(RAISED, "an image of no pixels", "*b, 2, 1, groups=2) of float32 one row"),
    ),
    "linear": known(RAISED, "no units, or a bias that would be broadcast", "* of no outputs",
                    "* of no inputs", "* of matrix bias"),
    "dropout": known(RAISED, "integers have no half", "*1.0)* of *int*", "*, 0.5)* of *int* no *"),
    "one_hot": (
        *known(ACCEPTED, "bytes are classes too", "* of uint8 *"),
        *known(ACCEPTED, "no classes of nothing", "*(x, 0) of int64 no *"),
    ),
    "distance": (
        *known(RAISED, "one shape: (N, 1) against (N) is a mistake", "* column", "* row"),
        *known(DIFFERS, "the slope of |NaN| is NaN, not 0", "*l1_loss(x, y, * NaN",
               "*l1_loss(x, y, * both inf", "*l1_loss(x, y, * both -inf"),
        *known(ACCEPTED, CONVERTED, "*l1_loss(x, y, * bool *"),
    ),
    "binary_cross_entropy": (
        *known(ACCEPTED, CONVERTED, "* of bool float?? plain", "* of float?? bool plain",
               "* of float32 float64 plain", "* of float64 float32 plain"),
        *known(DIFFERS, "PyTorch's limit of 1e-12 is a float32", "* of float64 *"),
        *known(DIFFERS, "a target's gradient at a certain x is ±100, not infinite",
               "F.binary_cross_entropy(x, y) of float32 *"),
    ),
    "binary_cross_entropy_with_logits": (
        *known(ACCEPTED, CONVERTED, "* of bool float?? plain", "* of float?? bool plain",
               "* of *int* float?? plain", "* of float?? *int* plain"),
        *known(DIFFERS, "PyTorch computes a part of it in float32", "* of float32 float64 plain",
               "* of float64 float32 plain", "*ones(4).double()) of float32 *"),
        *known(DIFFERS, "an infinite number times 0 is NaN", "* inf", "* -inf"),
    ),
    "kl_div": (
        *known(ACCEPTED, CONVERTED, "* of bool float?? plain", "* of float?? bool plain",
               "* of *int* float?? plain", "* of float?? *int* plain"),
        *known(DIFFERS, "PyTorch computes a part of it in float32", "* of float64 float32 plain"),
        *known(DIFFERS, "a target's gradient where it is 0 is finite", "F.kl_div(x, y) of *"),
        *known(DIFFERS, "∞·ln ∞ is infinite", "* target inf", "* both inf"),
        *known(RAISED, "a number has no batch", "*'batchmean'* of * numbers"),
    ),
    "cross_entropy": (
        *CLASSES,
        *known(ACCEPTED, CONVERTED, "*label_smoothing=* uint8"),
        *known(RAISED, "probabilities as targets: kl_div", "* of probabilities"),
        *known(RAISED, "less than none", "*=-0.1) of *"),
        *known(DIFFERS, "0·ln 0 = 0", "*label_smoothing=* of -inf of *"),
    ),
    "nll_loss": CLASSES,
}  # fmt: skip


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_as_in_pytorch(table):
    lines = surprises(table(), KNOWN.get(table.__name__, ()))
    assert not lines, "\n".join(lines)

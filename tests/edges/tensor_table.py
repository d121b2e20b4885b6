"""The table of edge cases of tensors: expressions, what they are filled with, and their inputs.

In an expression `t` is the library, `F` its functional module, x and y are tensors, and a name in
braces stands for each of the texts that `HOLES` has for it. Expressions with x are evaluated for
every dtype and every array of `arrays`, those with y too for pairs of dtypes and shapes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from edges.judge import Case

FLOATS = ("float32", "float64")
DTYPES = ("bool", "uint8", "int64", *FLOATS)
EVERY_DTYPE = (*DTYPES, "int32")


def rows(table: str) -> tuple[str, ...]:
    """The expressions of a table, which has many on a line."""
    return tuple(row for line in table.strip().split("\n") for row in line.split(" | "))


ALONE = rows("""
-x | abs(x) | ~x | +x | bool(x) | float(x) | int(x) | len(x) | x.item() | x.tolist() | x.T | x.t()
x.abs() | x.exp() | x.log() | x.sqrt() | x.tanh() | x.sigmoid() | x.relu() | F.relu(x)
F.sigmoid(x) | F.tanh(x) | F.silu(x) | F.elu(x) | F.elu(x, 2) | F.leaky_relu(x)
F.leaky_relu(x, 0.5) | F.leaky_relu(x, -1) | F.leaky_relu(x, 0) | F.elu(x, -1.0) | F.elu(x, 0.)
F.gelu(x) | F.gelu(x, approximate="tanh") | F.softplus(x) | F.softplus(x, 2, 1)
F.softplus(x, -1) | F.softplus(x, 0.) | F.dropout(x, 0.0) | F.dropout(x, 1.0)
F.dropout(x, 0.5, False) | F.dropout(x, -0.5) | F.dropout(x, 1.5) | F.dropout(x, 1.5, False)
x.clone() | x.detach() | x.contiguous() | x.float() | x.double() | x.long() | x.bool() | x.cpu()
x.to(t.uint8) | x.to(t.int32) | x.to(t.float64) | x.to("cpu") | x.dim() | x.numel() | x.size()
x.size({i}) | x.shape | x.is_leaf | tuple(x) | x.ndim | x.requires_grad | x.sum({d})
x.sum({d}, keepdim=True) | x.mean({d}) | x.mean({d}, keepdim=True) | x.var({d}) | x.std({d})
x.var({d}, correction=0) | x.std({d}, correction=0, keepdim=True) | x.var({d}, correction=5)
x.std({i}, correction=2) | x.var(False) | x.std(True) | x.prod({d}) | x.prod({i}, keepdim=True)
x.logsumexp({d}) | x.logsumexp({d}, keepdim=True) | x.max({d}) | x.min({d}) | x.max({i}, True)
x.min({i}, keepdim=True) | x.amax({d}) | x.amin({d}) | x.amax({d}, keepdim=True) | x.argmax({d})
x.argmin({d}) | x.argmax({d}, keepdim=True) | x.all({d}) | x.any({d}) | x.all({d}, keepdim=True)
x.cumsum({d}) | x.softmax({d}) | x.log_softmax({d}) | F.softmax(x, {i}) | F.log_softmax(x, {i})
x.clamp({k}) | x.clamp(max={k}) | x.clamp(1, {k}) | x.clamp() | x.clamp(t.tensor({k}))
x.clamp(x, t.tensor({k})) | x.clamp(t.tensor(1), 2) | x {op} {scalar} | {scalar} {op} x
x {bit} True | x {bit} 3 | 3 {bit} x | x {bit} 0.5 | x {op} x | x {op} [1] | x {op} None
x.pow({scalar}) | x.eq({scalar}) | x {op} 300 | x {op} -1 | x.reshape(-1) | x.reshape(2, -1)
x.reshape(-1, -1) | x.reshape(0, -1) | x.reshape(-1, 0) | x.reshape(7) | x.reshape()
x.reshape(()) | x.reshape((-1, 1)) | x.reshape(-2) | x.reshape([1, -1]) | x.reshape(x.shape)
x.reshape(1, 1) | x.reshape(0) | x.view(-1) | x.view(1, -1) | x.view_as(x) | x.reshape(2.0, -1)
x.reshape(t.tensor(-1)) | x.flatten() | x.flatten({i}) | x.flatten(0, {i}) | x.flatten(1, 0)
x.flatten(-2, -1) | x.permute() | x.permute(0) | x.permute(1, 0) | x.permute(-1, 0)
x.permute(0, 0) | x.permute(2, 0, 1) | x.permute((1, 0)) | x.transpose(0, {i})
x.transpose(1, {i}) | x.squeeze({d}) | x.unsqueeze({i}) | x.unsqueeze(-4) | x.unsqueeze(3)
x.expand(-1, 4) | x.expand(2, -1, -1) | x.expand(3, 4) | x.expand(0) | x.expand(-1)
x.expand(5, -1, 4) | x.expand(1) | x.expand(()) | x.expand(-1, 3, 4) | x.expand(-2)
x.expand(x.shape) | x.expand(2, *x.shape) | x.expand(0, *x.shape) | x.split(2) | x.split(1, {i})
x.split([1, 1]) | x.split([2, 1], {i}) | x.split(0) | x.split(-1) | x.split([])
x.split([3, -1, 1]) | x.split(100) | x.split([0, 3, 0]) | x.chunk(2) | x.chunk(3, {i})
x.chunk(0) | x.chunk(-1) | x.chunk(100) | x.gather({i}, t.tensor([0]))
x.gather({i}, t.tensor([[0, 1]])) | x.gather(0, t.tensor(0)) | x.gather(0, t.tensor([-1]))
x.gather(0, t.tensor([9])) | x.gather(0, t.tensor([[9], [0]])) | x.gather(0, x.long())
x.gather(1, (x * 0).long()) | x.gather(0, x) | x.gather(1, t.zeros(9, 9).long())
x.gather(1, t.zeros(0, 2).long()) | x.gather(0, t.tensor([[0, 0]]).to(t.int32)) | x[{index}]
t.zeros_like(x) | t.ones_like(x) | t.cat([x]) | t.cat([x, x], {i}) | t.cat([x, x[:1]])
t.cat([x, x.T]) | t.cat([x, t.tensor([])]) | t.cat([x, t.tensor([1.5])])
t.cat([x, t.tensor([[True]])], 1) | t.stack([x, x], {i}) | t.stack([x, x[0]])
t.stack([x, x.double()]) | t.stack([x]) | t.stack([x, x], 3) | t.cat((x, x.float()))
t.cat([x, x.long(), x.bool()]) | t.cat(x) | t.stack(x) | t.where(x > 0, x, {scalar})
t.where(x > 0, {scalar}, x) | t.where(x, x, x) | t.where(x > 0, x, x.T)
t.where(x > 0, t.tensor(1), x) | t.where(x == 0, 1, 2) | t.where(x == 0, 1, 2.5)
t.where(x == 0, x.long(), x.double()) | t.where(t.tensor(True), x, t.tensor(0.5))
t.where(True, x, x) | t.einsum("ij->ji", x) | t.einsum("ij->", x) | t.einsum("ij,jk", x, x.T)
t.einsum("ii->i", x) | t.einsum("i,i", x, x) | t.einsum("i,j->ij", x, x)
t.einsum("...i,...i->...", x, x) | t.einsum("", x) | t.einsum("...->...", x)
t.einsum("ij,ij->i", [x, x]) | t.einsum("ij->ii", x) | t.einsum("ij->k", x) | t.einsum("i->ij", x)
t.einsum("i j", x) | t.einsum("ij->ji->ij", x) | t.einsum("i1->i", x)
t.einsum("ij, ij -> ij", x, x.double()) | t.einsum("...ij->...ji", x) | t.einsum("ij...->...", x)
t.einsum("Ab,bA", x, x.T) | t.einsum("ij,jk->ik", x, x) | t.einsum("ij,ij", x, x[:1])
t.einsum("i...j...->ij", x) | t.einsum("ij") | t.einsum("ij->jij", x) | t.einsum("a...->a", x)
x.matmul(x) | x @ x.T | x.T @ x | x @ x[0] | x[0] @ x[0] | x.mm(x.T) | x.bmm(x) | x @ 2 | 2 @ x
x.bmm(x.transpose(1, -1)) | x[0] @ x.T | x.mm(x) | x @ t.ones(4) | x @ x.T.double()
x @ x.T.float() | x.add_(1) | x.detach().add_(1) | x.detach().add_({scalar})
x.detach().mul_({scalar}) | x.detach().div_({scalar}) | x.detach().sub_({scalar})
x.detach().add_(1, alpha=2) | x.zero_() | x.detach().zero_() | x.detach().fill_({scalar})
x.detach().copy_(x * 2) | x.detach().copy_(x[:1]) | x.detach().copy_(x.double())
x.detach().fill_(x.sum()) | x.detach().add_(x.double()) | x.detach().add_(x[:1])
x[:1].detach().add_(x) | x.detach().mul_(x > 0) | x.detach().add_(x, alpha=2)
x.detach().sub_(x, alpha=0.5) | x.detach().copy_(t.tensor(2.5)) | x.requires_grad_()
x.backward() | x.sum().backward() | x.detach().requires_grad_() | x.retain_grad() | x.numpy()
x.detach().numpy() | iadd(x.detach(), {scalar}) | isub(x.detach(), {scalar})
imul(x.detach(), {scalar}) | itruediv(x.detach(), {scalar}) | ipow(x.detach(), {scalar})
ifloordiv(x.detach(), {scalar}) | imod(x.detach(), {scalar}) | ifloordiv(x.detach(), x)
iadd(x.clone(), x) | imul(x * 1, x.double()) | iadd(x.detach(), x.double())
imul(x.detach(), x[:1]) | isub(x.detach(), x > 0) | setitem(x.detach(), 0, {scalar})
setitem(x.detach(), x > 0, 1) | setitem(x.detach(), x > 0, x[x > 0])
setitem(x.detach(), ..., x[:1]) | setitem(x.detach(), [0, 0], 1) | setitem(x.detach(), 0, x)
setitem(x.detach(), 9, 1) | setitem(x.detach(), slice(0, 1), x.double()[:1]) | setitem(x, 0, 1)
setitem(x.detach(), 0, [1, 2, 3, 4]) | setitem(x.detach(), 0, t.tensor(2.5)) | format(x, ".2f")
format(x, "") and 0 | hash(x) and 0 | x in [x] and 0
""")

TWO = rows("""
x {op} y | x {bit} y | t.where(x > 0, x, y) | t.where(y > 0, x, y) | x.clamp(y) | x.clamp(max=y)
x.clamp(y, y) | t.cat([x, y]) | t.stack([x, y]) | x.pow(y) | x.matmul(y) | x.detach().add_(y)
x.detach().mul_(y) | x.detach().div_(y) | x.detach().sub_(y) | x.detach().copy_(y) | x @ y.T
iadd(x.detach(), y) | imul(x.detach(), y) | isub(x * 1, y) | itruediv(x.detach(), y) | x.eq(y)
t.einsum("...i,...i->...i", x, y) | x.bmm(y) | setitem(x.detach(), ..., y) | x.view_as(y)
x.add_(y)
""")

MADE = rows("""
t.arange({a}) | t.arange({a}, {b}) | t.arange({a}, {b}, {c}) | t.arange({a}, {b}, {c}, dtype={D})
t.arange({a}, dtype={D}) | t.zeros({s}) | t.ones({s}, dtype={D}) | t.full({s}, {v})
t.full({s}, {v}, dtype={D}) | t.eye({a}) | t.eye({a}, {b}) | t.eye(2, dtype={D}) | t.tensor({v})
t.tensor({v}, dtype={D}) | t.tensor([{v}, {v}]) | t.tensor([{v}, 1])
t.tensor({v}, requires_grad=True) | t.tensor({o}) | t.tensor({o}, dtype={D}) | t.zeros()
t.zeros(-1) | t.zeros(2, -3) | t.zeros(2, 3, dtype={D}, requires_grad=True)
t.from_numpy(np.zeros(2, "f4")) | t.rand({s}).shape | t.randn({s}).shape
t.randint({a}, {b}, {s}).shape | t.randint({a}, {s}).shape | t.randint(3, (4,)).dtype == t.int64
t.randperm({a}).sum() | t.rand(2, dtype={D}).shape | t.randint(5, 5, (2,)).shape
t.randint(5, 5, (0,)).shape | t.arange() | t.arange(1, 2, 3, 4) | t.cat([]) | t.stack([])
t.where(t.tensor([True]), 1, 2) | t.from_numpy([1.0]) | t.from_numpy(1.0)
t.tensor(t.tensor([1, 2])) | t.tensor([t.tensor(1), t.tensor(2.5)]) | t.tensor(np.float64(1.5))
t.tensor(np.arange(3)) | t.tensor(range(3)) | t.tensor([np.float64(1.5)]) | t.tensor(np.int32(1))
""")

HOLES = {
    "d": ("", "None", "0", "1", "-1", "-3", "(0, 1)", "(0, 0)", "(0, -1)", "()"),
    "i": ("0", "1", "-1", "-3", "2"),
    "k": ("True", "2", "0", "-1", "3.5", "nan", "inf", "300", "2**40"),
    "scalar": ("True", "2", "0", "-1", "0.5", "nan", "-inf", "np.float64(0.5)"),
    "op": ("+", "-", "*", "/", "//", "%", "**", "<", "==", "!=", ">="),
    "bit": ("&", "|", "^"),
    "index": (
        "0", "-1", "5", "-5", ":", "1:", "::2", "5:9", "...", "None", "0, 0", "..., 0", ":, 1",
        "[0, 1]", "[0, -1]", "[7]", "[]", "[True, False]", "[[0, 1], [1, 0]]", "True", "False",
        "0, None, 0", "[0], [1]", ":, [0]", "(0,)", "0, 0, 0, 0", "1.5", "t.tensor(1)", "x > 0",
        "t.tensor([0, 1])", "t.tensor([[0, 1], [1, 0]])", "t.tensor([0, 1]).bool()", "'a'",
        "t.tensor([0, 1]).float()", "x.to(t.uint8)", "np.array([0, 1])", "np.array([1, 0], 'u1')",
        "t.tensor([0, 1]).to(t.int32)", "t.tensor([0]), :, t.tensor([1])", "range(2)", "(0, 1)",
        "[None, 0]", "[slice(0, 1)]", "[t.tensor(0)]", "[[0]]", "[[0], [1]]", "((0, 1), (1, 0))",
        "::-1", "1:0", "0:1:0", "slice(0, 2)", "np.int64(1)", "t.tensor(True)", "[0, True]",
    ),
    "a": ("0", "5", "-2", "2.5", "0.", "-1.0", "True"),
    "b": ("2", "0", "-3", "5.5", "-8.000001", "nan", "inf"),
    "c": ("1", "2", "-1", "0", "0.3", "-4.", "nan"),
    "D": ("t.uint8", "t.int32", "t.int64", "t.float32", "t.float64", "t.bool"),
    "s": ("(2, 3)", "(0,)", "()", "[2]", "(-1,)", "3", "(2.0,)", "(True,)"),
    "v": ("True", "3", "-1", "300", "2**40", "2.5", "nan", "inf", "2**63", "2**70", "1e40", "-0.0"),
    "o": ("[]", "[[]]", "[[1, 2], [3]]", "'a'", "None", "[None]", "[1, 'a']", "[1, 2.5]", "object",
          "[True, 2]", "[[True], [2.5]]", "((1,), (2,))", "{}", "[[], []]", "[1, [2]]"),
}  # fmt: skip

SHAPES = {  # of pairs
    "same": ((2, 3), (2, 3)),
    "number": ((2, 3), ()),
    "numbers": ((), ()),
    "one": ((1,), (2, 3)),
    "row": ((2, 3), (3,)),
    "outer": ((2, 1), (1, 3)),
    "empty": ((0, 3), (1, 3)),
    "emptied": ((2, 0), (2, 1)),
    "misfit": ((2,), (3,)),
    "misfit of nothing": ((2, 3), (0, 3)),
}
PROMOTION = ("same", "number", "numbers", "one")  # for dtypes that differ


def arrays(dtype: str) -> dict[str, np.ndarray]:
    """Arrays of one dtype, each special in one way."""
    steps = np.array([[3, 0, 1, 2], [1, 5, 0, 1], [2, 2, 4, 0]])
    if dtype[0] in "if":
        steps = steps - 2
    plain = (steps * 0.75 if dtype in FLOATS else steps).astype(dtype)
    found = {
        "plain": plain,
        "vector": plain[0].copy(),
        "number": np.array(plain[1, 1]),
        "one": plain[1:2, 1:2].copy(),
        "transposed": plain[:, :2].T,
        "cube": np.stack([plain, plain[::-1]]).transpose(2, 0, 1),
        "ties": np.array([[1, 1, 0], [0, 1, 1]], dtype),
        "empty": np.zeros(0, dtype),
        "no rows": np.zeros((0, 3), dtype),
        "no columns": np.zeros((2, 0), dtype),
    }
    if dtype in FLOATS:
        huge = 1e20 if dtype == "float32" else 1e160
        found["huge"] = np.array([huge, -3 * huge, 2 * huge, 1e38, -3e38], dtype)
        found["not finite"] = np.array([np.nan, np.inf, -np.inf, -0.0, 1.5], dtype)
        found["two infinities"] = np.array([[np.inf, 1, np.inf], [-np.inf] * 3], dtype)
        found["tiny"] = np.array([1e-30, -1e-42, 3e-39, 0], dtype)
        found["large"] = np.array([-1000, -100, -30, 19, 21, 30, 90, 1000], dtype)
    elif dtype != "bool":
        found["extremes"] = np.array([np.iinfo(dtype).max, np.iinfo(dtype).min, 1], dtype)
    return found


def drawn(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A few small numbers, zeros and negatives among them."""
    low, high = (0, 2) if dtype == "bool" else (0, 4) if dtype == "uint8" else (-2, 4)
    return np.asarray(np.random.default_rng(seed).integers(low, high, shape)).astype(dtype)


SINGLES = {f"{d} {name}": a for d in DTYPES for name, a in arrays(d).items()}
PAIRS = {
    f"{a} {b} {name}": (drawn(a, left, 0), drawn(b, right, 1))
    for a, b in product(EVERY_DTYPE, EVERY_DTYPE)
    for name, (left, right) in SHAPES.items()
    if a == b or name in PROMOTION
}


def cases(row: str) -> Iterator[Case]:
    """All cases of an expression, named by the filled expression and its inputs."""
    if row in MADE:
        inputs: dict[str, tuple[np.ndarray, ...]] = {"nothing": ()}
    else:
        inputs = PAIRS if row in TWO else {name: (array,) for name, array in SINGLES.items()}
    for text in filled(row):
        run = compiled(text)
        for name, given in inputs.items():
            yield Case(f"{text} of {name}", run, given)


def filled(row: str) -> Iterator[str]:
    """An expression with every combination of texts in its holes."""
    holes = [name for name in HOLES if "{" + name + "}" in row]
    for texts in product(*(HOLES[name] for name in holes)):
        text = row
        for name, value in zip(holes, texts, strict=True):
            text = text.replace("{" + name + "}", value)
        yield text.replace("(, ", "(")


def compiled(text: str) -> Callable[..., Any]:
    """An expression as a function of a library and tensors."""
    inner = f"lambda F, x=None, y=None: {text}"
    return eval(f"lambda t, *inputs: ({inner})(t.nn.functional, *inputs)", dict(NAMES))


def setitem(x: Any, index: Any, value: Any) -> Any:
    x[index] = value
    return x


NAMES = vars(operator) | {"np": np, "nan": np.nan, "inf": np.inf, "setitem": setitem}

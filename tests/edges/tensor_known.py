"""What tensors do otherwise than in PyTorch, by expression of the table.

A reason is the first cell of a row of "What differs" in docs/pytorch.md.
"""

from __future__ import annotations

from collections import defaultdict

from edges.judge import Known, Outcome
from edges.tensor_table import rows

DIFFERS, ACCEPTED, RAISED = Outcome.DIFFERS, Outcome.ACCEPTED, Outcome.RAISED

KNOWN: defaultdict[str, list[Known]] = defaultdict(list)


def known(reason: str, outcome: Outcome, inputs: str, table: str) -> None:
    """Of each expression in `table` the cases that match one of `inputs` end in `outcome`."""
    for row in rows(table):
        KNOWN[row] += [Known(names, outcome, reason) for names in inputs.split(" or ")]


# fmt: off
# ------------------------------------------------------------------ bytes, booleans, integers

BYTES = "`bytes + 300`, `bytes * -1` (uint8)"
known(BYTES, RAISED, "*-1* of uint8 *", """
x.clamp({k}) | x.clamp(max={k}) | x.clamp(1, {k}) | x {op} {scalar} | {scalar} {op} x | x {op} -1
t.where(x > 0, x, {scalar}) | t.where(x > 0, {scalar}, x) | setitem(x.detach(), 0, {scalar})
x.detach().add_({scalar}) | x.detach().mul_({scalar}) | x.detach().sub_({scalar})
x.detach().fill_({scalar}) | iadd(x.detach(), {scalar}) | isub(x.detach(), {scalar})
imul(x.detach(), {scalar}) | ifloordiv(x.detach(), {scalar}) | imod(x.detach(), {scalar})
""")
known(BYTES, RAISED, "* of uint8 *", "x {op} 300")
known(BYTES, RAISED, "*-1, dtype=t.uint8*",
      "t.full({s}, {v}, dtype={D}) | t.tensor({v}, dtype={D})")
known(BYTES, DIFFERS, "*-1* of uint8 *", "x {op} {scalar} | {scalar} {op} x | x.eq({scalar})")
known(BYTES, DIFFERS, "* of uint8 *", "x {op} 300 | x {op} -1")

known("`all`, `any` of bytes", DIFFERS, "* of uint8 *",
      "x.all({d}) | x.any({d}) | x.all({d}, keepdim=True)")

BOOLEANS = "`argmax`, `clamp`, `einsum` of booleans, `arange(dtype=bool)`"
known(BOOLEANS, ACCEPTED, "* of bool *", """
x.argmax({d}) | x.argmin({d}) | x.argmax({d}, keepdim=True) | x.clamp({k}) | x.clamp(max={k})
x.clamp(x, t.tensor({k})) | x.clamp(y, y) | t.einsum("ij,jk", x, x.T) | t.einsum("i,i", x, x)
t.einsum("...i,...i->...", x, x) | t.einsum("ij,ij->i", [x, x]) | t.einsum("Ab,bA", x, x.T)
""")
known(BOOLEANS, ACCEPTED, "*t.bool) of *",
      "t.arange({a}, {b}, {c}, dtype={D}) | t.arange({a}, dtype={D})")

POWERS = "powers of booleans, negative powers of integers"
known(POWERS, RAISED, "*True* of bool *",
      "x {op} {scalar} | x.pow({scalar}) | ipow(x.detach(), {scalar})")
known(POWERS, RAISED, "* of int64 *", "{scalar} {op} x | x {op} x")
known(POWERS, RAISED, "* of * int* *", "x {op} y | x.pow(y)")
known(POWERS, ACCEPTED, "*-1* of [!f]* *",
      "x {op} {scalar} | x.pow({scalar}) | x {op} -1 | ipow(x.detach(), {scalar})")

NUMBERS = "Python's integers of more than 63 bits, floats beyond float32"
known(NUMBERS, ACCEPTED, "*2[*][*]63* or *1e40*", "t.full({s}, {v})")
known(NUMBERS, ACCEPTED, "*2[*][*]63* or *2[*][*]70* or *1e40*", "t.full({s}, {v}, dtype={D})")
known(NUMBERS, ACCEPTED, "*2[*][*]63*", "t.tensor({v}) | t.tensor([{v}, {v}]) | t.tensor([{v}, 1])")
known(NUMBERS, RAISED, "*2[*][*]70*", "t.tensor({v}, dtype={D})")

REFUSED = "a dtype that an operation refuses, where nothing is computed"
known(REFUSED, RAISED, "* of [!f]* empty or * of [!f]* no *",
      "x.softmax({d}) | x.log_softmax({d}) | F.softmax(x, {i}) | F.log_softmax(x, {i})")
known(REFUSED, RAISED, "* of bool no *",
      "x @ x.T | x.T @ x | x @ x[0] | x.mm(x.T) | x[0] @ x.T")
known(REFUSED, RAISED, "* of bool bool *", "x @ y.T")
known(REFUSED, RAISED, "* of [!f]* *", "F.dropout(x, 1.0)")
known(REFUSED, RAISED, "* empty or * no *", "x.gather(0, x)")

MIXED = "`@` and `einsum` of two dtypes"
known(MIXED, ACCEPTED, "*", """
x @ t.ones(4) | x @ x.T.double() | x @ x.T.float() | x @ y.T | t.einsum("ij,ij", x, x[:1])
""")

FRACTIONS = "`arange` of int32 or uint8 between fractions"
known(FRACTIONS, DIFFERS, "*int*", "t.arange({a}, {b}, {c}, dtype={D}) | t.arange({a}, dtype={D})")
known(FRACTIONS, RAISED, "*0.3, dtype=t.*int*", "t.arange({a}, {b}, {c}, dtype={D})")

# --------------------------------------- NaN, infinities, very large and very small numbers

NANS = "gradients at NaN, and where the bounds of `clamp` are equal tensors"
known(NANS, DIFFERS, "* not finite", """
x.relu() | F.relu(x) | x.max({d}) | x.min({d}) | x.clamp(t.tensor({k}))
x.clamp(x, t.tensor({k})) | x.clamp(t.tensor(1), 2)
""")
known(NANS, DIFFERS, "*", "x.clamp(y, y)")

LIMITS = "infinities in `gelu`, `prod`, `x ** 0.5`; numbers near the ends of a dtype"
known(LIMITS, DIFFERS, "* of float32 *", "F.gelu(x)")
known(LIMITS, DIFFERS, "* two infinities", "x.prod({d}) | x.prod({i}, keepdim=True)")
known(LIMITS, DIFFERS, "*0.5* not finite or *0.5* two infinities",
      "x {op} {scalar} | x.pow({scalar})")
known(LIMITS, DIFFERS, "* huge", "{scalar} {op} x | x.std({i}, correction=2)")
known(LIMITS, DIFFERS, "* tiny", "{scalar} {op} x | x {op} x")

FREEDOM = "gradients of `var` and `std` with `dim=()`, and with a correction of n or more"
known(FREEDOM, DIFFERS, "*(()* of float*", """
x.var({d}) | x.std({d}) | x.var({d}, correction=0) | x.std({d}, correction=0, keepdim=True)
""")
known(FREEDOM, DIFFERS, "*", "x.var({d}, correction=5)")

# ------------------------------------------------------------------------------- arguments

AXES = "axes: `dim=None`, `keepdim` alone, several for `prod`"
known(AXES, ACCEPTED, "*(keepdim*", "x.sum({d}, keepdim=True) | x.mean({d}, keepdim=True)")
known(AXES, ACCEPTED, "*None*", """
x.max({d}) | x.min({d}) | x.squeeze({d}) | x.logsumexp({d}) | x.logsumexp({d}, keepdim=True)
""")
known(AXES, ACCEPTED, "*None* or *(0, *) of * or *(()) of *", "x.prod({d})")
known(AXES, ACCEPTED, "*(()) of *", "x.logsumexp({d})")

SIZES = "sizes: `zeros()`, `full(3, 1.5)`, `randint` of an empty range, `randperm(-2)`"
known(SIZES, ACCEPTED, "*", """
x.reshape() | x.permute() | t.zeros() | t.randint({a}, {b}, {s}).shape | t.randint({a}, {s}).shape
t.randperm({a}).sum() | t.randint(5, 5, (0,)).shape
""")
known(SIZES, ACCEPTED, "*(3, *", "t.full({s}, {v}) | t.full({s}, {v}, dtype={D})")

LISTS = "`x + [1]`, `x == [1]`, `x[0] = [1, 2]`, `cat(x)`, `where(True, x, y)`"
known(LISTS, ACCEPTED, "*", """
x {op} [1] | setitem(x.detach(), 0, [1, 2, 3, 4]) | t.cat(x) | t.stack(x) | t.where(True, x, x)
""")
known(LISTS, DIFFERS, "*", "x {op} [1]")

INDICES = "`x[[[0, 1], [1, 0]]]`, `x[bytes]`, `x[::-1]`"
known(INDICES, RAISED, "x[[][[]* or x[[][[]t.tensor(0)* or x[[]*uint8* or x[[]*'u1'*", "x[{index}]")
known(INDICES, RAISED, "x[[][[]None* or x[[][[]slice*", "x[{index}]")
known(INDICES, ACCEPTED, "x[[]::-1]*", "x[{index}]")

GATHER = "`gather` and lists of indices: of a number, of bytes, out of an empty tensor"
known(GATHER, RAISED, "*", """
x.gather({i}, t.tensor([0])) | x.gather(0, t.tensor(0)) | x.gather(1, t.zeros(0, 2).long())
""")
known(GATHER, RAISED, "x[[][[]7]] of * no columns", "x[{index}]")

known("`x.clamp(tensor, number)`", DIFFERS, "* number", "x.clamp(t.tensor(1), 2)")
known("`view`", ACCEPTED, "* transposed or * cube", "x.view(-1) | x.view(1, -1)")
known("`cat` of nothing but `tensor([])`", RAISED, "* empty", "t.cat([x, x], {i})")
known("`einsum` with two `...` in an operand", ACCEPTED, "*", 't.einsum("i...j...->ij", x)')
known('`format(x, ".2f")` of one element', ACCEPTED, "* one", 'format(x, ".2f")')

# ------------------------------------------------------------------------ graphs and memory

EXPONENTS = "gradients of `5 % x`, `True ** x` and `x ** mask`"
known(EXPONENTS, ACCEPTED, "* % x of float* or True ?? x of float*", "{scalar} {op} x")
known(EXPONENTS, ACCEPTED, "* of float* bool *", "x {op} y | x.pow(y)")

known("`mask.add_(mask, alpha=2)`", RAISED, "* of bool *", "x.detach().add_(x, alpha=2)")

INTO = "`integers[...] = y` of a number y that requires a gradient"
known(INTO, ACCEPTED, "* of * float?? number", "setitem(x.detach(), ..., y)")

OVERLAP = "in place with an overlapping view, as in `x.add_(x[:1])`"
known(OVERLAP, ACCEPTED, "*", """
x.detach().copy_(x[:1]) | x.detach().add_(x[:1]) | imul(x.detach(), x[:1])
setitem(x.detach(), 0, x)
""")
known(OVERLAP, DIFFERS, "*", "x.detach().add_(x[:1]) | imul(x.detach(), x[:1])")

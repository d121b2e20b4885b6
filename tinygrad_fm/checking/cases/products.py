"""Cases of matrix products and Einstein sums."""

from __future__ import annotations

from typing import Any

from tinygrad_fm.checking.cases.case import Case, Input, case, constant, functional, layer, normal


def einsum(what: str, equation: str, *operands: Input) -> Case:
    def run(lib: Any, *tensors: Any) -> Any:
        return lib.einsum(equation, *tensors)

    return case("einsum", what, run, *operands)


PRODUCTS: list[Case] = [
    case("matmul", "", lambda lib, a, b: a @ b, normal(3, 4), normal(4, 2)),
    case("matmul", "square", lambda lib, a, b: a @ b, normal(3, 3), normal(3, 3)),
    case("matmul", "matrix by vector", lambda lib, a, b: a @ b, normal(3, 4), normal(4)),
    case("matmul", "vector by matrix", lambda lib, a, b: a @ b, normal(3), normal(3, 4)),
    case("matmul", "two vectors", lambda lib, a, b: a.matmul(b), normal(4), normal(4)),
    case("matmul", "two stacks", lambda lib, a, b: a @ b, normal(2, 3, 4), normal(2, 4, 2)),
    case("matmul", "stacks broadcast", lambda lib, a, b: a @ b,
         normal(2, 1, 2, 3), normal(3, 3, 2)),
    case("matmul", "a matrix by a stack", lambda lib, a, b: a @ b, normal(3, 4), normal(2, 4, 2)),
    case("matmul", "a stack by a vector", lambda lib, a, b: a @ b, normal(2, 3, 4), normal(4)),
    case("matmul", "a vector by a stack", lambda lib, a, b: a @ b, normal(3), normal(2, 3, 4)),
    case("matmul", "by its own transpose", lambda lib, a: a @ a.T, normal(3, 4)),
    case("mm", "", lambda lib, a, b: a.mm(b), normal(3, 4), normal(4, 2)),
    case("bmm", "", lambda lib, a, b: a.bmm(b), normal(2, 3, 4), normal(2, 4, 2)),
    functional("linear", "", normal(3, 4), normal(2, 4), normal(2)),
    functional("linear", "no bias", normal(3, 4), normal(2, 4)),
    functional("linear", "more axes", normal(2, 3, 4), normal(2, 4), normal(2)),
    functional("linear", "one vector", normal(4), normal(2, 4), normal(2)),
    functional("linear", "frozen input", constant(normal(3, 4)), normal(2, 4), normal(2),
               analytic=False),
    layer("nn.Linear", "", (4, 3), normal(2, 4), normal(3, 4), normal(3)),
    layer("nn.Linear", "no bias", (4, 3), normal(2, 4), normal(3, 4), bias=False),
    einsum("matrix product", "ij,jk->ik", normal(3, 4), normal(4, 2)),
    einsum("summed letters", "bij,bjk->bi", normal(2, 3, 4), normal(2, 4, 2)),
    einsum("implicit output", "ij,kj", normal(3, 4), normal(2, 4)),
    einsum("three operands", "i,ij,j->", normal(3), normal(3, 4), normal(4)),
    einsum("…", "...ij,jk->...ik", normal(2, 3, 4), normal(4, 2)),
    einsum("… broadcasting", "...i,...i->...", normal(2, 1, 3), normal(4, 3)),
    einsum("a letter of size 1", "ij,ij->i", normal(2, 1), normal(2, 3)),
    einsum("diagonal", "ii->i", normal(3, 3)),
    einsum("trace", "ii->", normal(3, 3)),
    einsum("diagonals of a stack", "...ii,...i", normal(2, 3, 3), normal(2, 3)),
    einsum("sum and transpose", "ijk->ki", normal(3, 2, 4)),
    case("einsum", "one operand twice", lambda lib, a: lib.einsum("ij,ij->", a, a), normal(3, 4)),
]  # fmt: skip

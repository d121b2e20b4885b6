"""Cases of the operations that only move elements."""

from __future__ import annotations

from typing import Any

from tinygrad_fm.checking.cases.case import Case, case, given, labels, layer, mask, normal


def written_into(lib: Any, x: Any, part: Any) -> Any:
    y = x * 1
    y[1:, 0] = part
    return y * y


SHAPES: list[Case] = [
    case("reshape", "", lambda lib, x: x.reshape(2, 6) ** 2, normal(3, 4)),
    case("reshape", "of a transpose", lambda lib, x: x.T.reshape(-1) ** 2, normal(3, 4)),
    case("view", "", lambda lib, x: x.view(4, -1) * 2, normal(2, 6)),
    case("view_as", "", lambda lib, x, m: x.view_as(m) * 2, normal(2, 6), mask(3, 4)),
    case("flatten", "", lambda lib, x: x.flatten(1) ** 2, normal(3, 2, 2)),
    case("flatten", "everything", lambda lib, x: x.flatten(), normal(3, 2)),
    case("squeeze", "one axis", lambda lib, x: x.squeeze(1) ** 2, normal(3, 1, 1)),
    case("squeeze", "all axes", lambda lib, x: x.squeeze(), normal(3, 1, 1)),
    case("unsqueeze", "", lambda lib, x: x.unsqueeze(1) ** 2, normal(3, 2)),
    case("unsqueeze", "at the end", lambda lib, x: x.unsqueeze(-1), normal(3, 2)),
    case("permute", "", lambda lib, x: x.permute(2, 0, 1) ** 2, normal(3, 4, 2)),
    case("t", "", lambda lib, x: x.t() ** 2, normal(3, 4)),
    case("transpose", "", lambda lib, x: x.transpose(0, -1) * 3, normal(3, 4, 2)),
    case("swapaxes", "", lambda lib, x: x.swapaxes(0, 1) ** 2, normal(3, 4)),
    case("flip", "", lambda lib, x: x.flip(0, 2) * x, normal(3, 4, 2)),
    case("expand", "", lambda lib, x: x.expand(2, 3, 4) * 2, normal(3, 1)),
    case("expand", "keeping a size", lambda lib, x: x.expand(-1, 5), normal(3, 1)),
    case("split", "the middle piece", lambda lib, x: x.split(2, 1)[1] ** 2, normal(3, 5)),
    case("split", "sizes", lambda lib, x: x.split([1, 4], 1)[1] * x.split([1, 4], 1)[0],
         normal(3, 5)),
    case("chunk", "", lambda lib, x: x.chunk(2, 0)[0] * x.chunk(2, 0)[1].sum(), normal(3, 5)),
    case("cat", "", lambda lib, a, b: lib.cat([a, b], 1) ** 2, normal(3, 4), normal(3, 2)),
    case("cat", "one frozen, one twice", lambda lib, a, b, m: lib.cat([a, m * 1.0, b, a]),
         normal(2, 3), normal(1, 3), mask(2, 3)),
    case("stack", "", lambda lib, a, b: lib.stack([a, b], -1) ** 2, normal(3, 4), normal(3, 4)),
    case("pad", "", lambda lib, x: lib.nn.functional.pad(x, (1, 2)) ** 2, normal(3, 4)),
    case("pad", "frame of 3s", lambda lib, x: lib.nn.functional.pad(x, (1, 2, 0, 1), value=3.0),
         normal(2, 3, 4)),
    case("pad", "cropping", lambda lib, x: lib.nn.functional.pad(x, (-1, 2, 1, -2)) ** 2,
         normal(2, 3, 4)),
    case("index", "slices", lambda lib, x: x[1:, ::2] ** 2, normal(3, 5)),
    case("index", "an integer", lambda lib, x: x[-1] ** 2, normal(3, 5)),
    case("index", "None and …", lambda lib, x: x[..., None, 1] ** 2, normal(3, 5)),
    case("index", "written into", written_into, normal(3, 2), normal(2)),
    case("index", "a list naming a place twice", lambda lib, x: x[[0, 2, 0], 1:], normal(3, 5)),
    case("index", "integer tensors", lambda lib, x, i, j: x[i, j],
         normal(3, 5), labels(3, 7), labels(5, 7)),
    case("index", "a mask", lambda lib, x, m: x[m] ** 2, normal(3, 5), mask(3, 5)),
    case("index", "a mask of rows", lambda lib, x, m: x[m], normal(3, 5),
         given([True, False, True])),
    case("gather", "", lambda lib, x, i: x.gather(1, i) ** 2, normal(3, 5), labels(5, 3, 4)),
    case("gather", "fewer rows", lambda lib, x, i: x.gather(-1, i), normal(3, 5), labels(5, 2, 6)),
    case("gather", "first axis", lambda lib, x, i: x.gather(0, i), normal(3, 5), labels(3, 4, 2)),
    layer("nn.Flatten", "", (), normal(2, 3, 2)),
    layer("nn.Flatten", "the last two", (-2,), normal(2, 3, 2)),
]  # fmt: skip

"""Cases of convolution, pooling, normalisation and dropout."""

from __future__ import annotations

from functools import partial
from typing import Any

from tinygrad_fm import ops
from tinygrad_fm.checking.cases.case import (
    Case,
    Input,
    case,
    constant,
    functional,
    layer,
    module,
    normal,
    positive,
    spread,
)
from tinygrad_fm.ops.conv import Geometry
from tinygrad_fm.ops.function import Function
from tinygrad_fm.ops.pool import Window

conv, conv_transpose = partial(functional, "conv2d"), partial(functional, "conv_transpose2d")
max_pool, avg_pool = partial(functional, "max_pool2d"), partial(functional, "avg_pool2d")
adaptive = partial(functional, "adaptive_avg_pool2d")

CONVOLUTIONS: list[Case] = [
    conv("", normal(2, 3, 5, 4), normal(2, 3, 3, 2), normal(2)),
    conv("no bias", normal(2, 2, 4, 4), normal(2, 2, 3, 3)),
    conv("1×1", normal(2, 3, 3, 2), normal(4, 3, 1, 1), normal(4)),
    conv("kernel = image", normal(2, 2, 3, 4), normal(3, 2, 3, 4), normal(3)),
    conv("stride 2", normal(2, 2, 5, 6), normal(2, 2, 3, 3), normal(2), stride=2),
    conv("stride beyond the kernel", normal(1, 2, 7, 8), normal(2, 2, 2, 2), normal(2), stride=3),
    conv("padding 1", normal(2, 2, 4, 3), normal(2, 2, 3, 3), normal(2), padding=1),
    conv("5×5, padding 2", normal(2, 1, 6, 5), normal(2, 1, 5, 5), normal(2), padding=2),
    conv("same", normal(1, 2, 4, 5), normal(2, 2, 3, 3), normal(2), padding="same"),
    conv("same, even kernel", normal(1, 2, 4, 5), normal(2, 2, 2, 4), normal(2), padding="same"),
    conv("valid", normal(1, 2, 4, 5), normal(2, 2, 3, 3), normal(2), padding="valid"),
    conv("dilation 2", normal(1, 2, 6, 7), normal(2, 2, 3, 2), normal(2), dilation=2),
    conv("groups 2", normal(2, 4, 4, 3), normal(4, 2, 2, 2), normal(4), groups=2),
    conv("depthwise", normal(2, 3, 4, 4), normal(6, 1, 3, 3), normal(6), groups=3, padding=1),
    conv("all pairs", normal(2, 4, 7, 6), normal(2, 2, 3, 2), normal(2),
         stride=(2, 1), padding=(1, 2), dilation=(2, 3), groups=2),
    conv("all pairs, no bias", normal(1, 4, 6, 9), normal(4, 2, 2, 3),
         stride=(1, 3), padding=(2, 0), dilation=(3, 1), groups=2),
    conv("frozen image", constant(normal(2, 1, 5, 5)), normal(3, 1, 3, 3), normal(3),
         analytic=False),
    conv("frozen image, padding 1", constant(normal(3, 1, 5, 4)), normal(3, 1, 3, 3), normal(3),
         padding=1, analytic=False),
    conv("frozen kernel", normal(2, 2, 4, 4), constant(normal(3, 2, 3, 3)), normal(3),
         analytic=False),
    conv("16 channels", normal(4, 16, 8, 7), normal(8, 16, 3, 3), normal(8), padding=1),
    layer("nn.Conv2d", "", (2, 3, 3), normal(2, 2, 4, 4), normal(3, 2, 3, 3), normal(3), padding=1),
    layer("nn.Conv2d", "all options", (2, 4, (3, 2), (2, 1), (1, 0), (1, 2), 2, False),
          normal(2, 2, 5, 5), normal(4, 1, 3, 2)),
    layer("nn.Conv2d", "same", (1, 2, 3), normal(2, 1, 4, 5), normal(2, 1, 3, 3), normal(2),
          padding="same"),
    conv_transpose("", normal(2, 3, 3, 4), normal(3, 2, 3, 2), normal(2)),
    conv_transpose("no bias", normal(1, 2, 3, 4), normal(2, 2, 2, 2)),
    conv_transpose("stride 2", normal(2, 2, 3, 2), normal(2, 2, 3, 3), normal(2), stride=2),
    conv_transpose("padding 1", normal(2, 2, 4, 3), normal(2, 2, 3, 3), normal(2), padding=1),
    conv_transpose("output padding", normal(1, 2, 3, 2), normal(2, 2, 3, 3), normal(2),
                   stride=2, padding=1, output_padding=1),
    conv_transpose("groups 2", normal(2, 4, 3, 2), normal(4, 2, 2, 3), normal(4), groups=2),
    conv_transpose("dilation 2", normal(1, 2, 3, 4), normal(2, 1, 2, 3), normal(1), dilation=2),
    conv_transpose("all pairs", normal(2, 4, 3, 4), normal(4, 1, 3, 2), normal(2),
                   stride=(2, 3), padding=(1, 2), output_padding=(1, 0), groups=2,
                   dilation=(2, 3)),
    layer("nn.ConvTranspose2d", "", (2, 3, 3), normal(2, 2, 3, 3), normal(2, 3, 3, 3), normal(3)),
    layer("nn.ConvTranspose2d", "all options",
          (2, 4, (3, 2), (2, 1), (1, 0), (1, 0), 2, False, (1, 2)),
          normal(1, 2, 3, 4), normal(2, 2, 3, 2)),
]  # fmt: skip


def fused(
    operation: type[Function], what: str, layers: Any, *inputs: Input, **options: Any
) -> Case:
    """An operation that a plan puts in the place of layers; PyTorch runs layers(functional, …)."""
    flags = {"analytic": options.pop("analytic", True)}

    def run(lib: Any, *tensors: Any) -> Any:
        if hasattr(lib, "apply"):
            return lib.apply(operation, *tensors, **options)
        return layers(lib.nn.functional, *tensors)

    return case(f"ops.{operation.__name__}", what, run, *inputs, **flags)


def conv_pool(F: Any, x: Any, weight: Any, *bias: Any) -> Any:
    return F.max_pool2d(F.conv2d(x, weight, *bias, padding=1).relu(), 2)


def norm(F: Any, x: Any, *affine: Any) -> Any:
    return F.batch_norm(x, None, None, *affine, training=True)


def conv_norm_pool(F: Any, x: Any, weight: Any, gamma: Any, beta: Any, *bias: Any) -> Any:
    c = F.conv2d(x, weight, *bias, padding=1)
    return F.max_pool2d(norm(F, c, gamma, beta).relu(), 2)


conv_block = partial(fused, ops.ConvBlock)
conv_norm_block = partial(fused, ops.ConvNormBlock, momentum=0.1, eps=1e-5)
STRIDED, GROUPED = Geometry((2, 1), (1, 0), (1, 2), 1), Geometry((1, 1), (1, 1), (1, 1), 2)
OVERLAPPING = Window((3, 3), (2, 2), (1, 1), (1, 1), False)
NORM = {"momentum": 0.1, "eps": 1e-5, "affine": True, "training": True, "relu": True}

FUSED: list[Case] = [
    conv_block("", conv_pool, normal(3, 2, 4, 6), normal(3, 2, 3, 3), normal(3)),
    conv_block("odd image", conv_pool, normal(2, 2, 5, 7), normal(3, 2, 3, 3), normal(3)),
    conv_block("no bias", conv_pool, normal(2, 1, 6, 4), normal(2, 1, 3, 3)),
    conv_block("many images", conv_pool, normal(21, 1, 4, 4), normal(2, 1, 3, 3), normal(2)),
    conv_block("frozen images", conv_pool, constant(normal(3, 1, 6, 6)), normal(2, 1, 3, 3),
               normal(2), analytic=False),
    conv_block("frozen kernel", conv_pool, normal(3, 1, 6, 6), constant(normal(2, 1, 3, 3)),
               normal(2)),
    conv_norm_block("", conv_norm_pool, normal(3, 2, 4, 6), normal(3, 2, 3, 3), normal(3),
                    normal(3), normal(3), bias=True),
    conv_norm_block("odd image", conv_norm_pool, normal(2, 2, 5, 7), normal(3, 2, 3, 3), normal(3),
                    normal(3), normal(3), bias=True),
    conv_norm_block("no bias", conv_norm_pool, normal(3, 2, 4, 4), normal(3, 2, 3, 3), normal(3),
                    normal(3), bias=False),
    conv_norm_block("many images", conv_norm_pool, normal(21, 1, 4, 4), normal(2, 1, 3, 3),
                    normal(2), normal(2), normal(2), bias=True),
    conv_norm_block("frozen images", conv_norm_pool, constant(normal(3, 1, 6, 6)),
                    normal(2, 1, 3, 3), normal(2), normal(2), bias=False, analytic=False),
    conv_norm_block("frozen kernel", conv_norm_pool, normal(3, 1, 6, 6),
                    constant(normal(2, 1, 3, 3)), normal(2), normal(2), bias=False),
    fused(ops.Conv3x3, "ReLU", lambda F, x, w, b: F.conv2d(x, w, b, padding=1).relu(),
          normal(3, 2, 5, 4), normal(3, 2, 3, 3), normal(3), relu=True),
    fused(ops.Conv3x3, "z, ReLU", lambda F, x, w, z: (F.conv2d(x, w, padding=1) + z).relu(),
          normal(3, 2, 4, 4), normal(3, 2, 3, 3), normal(3, 3, 4, 4), relu=True, residual=True),
    fused(ops.Conv2d, "ReLU", lambda F, x, w, b: F.conv2d(x, w, b, *STRIDED).relu(),
          normal(2, 2, 5, 6), normal(3, 2, 3, 2), normal(3), relu=True, geometry=STRIDED),
    fused(ops.Conv2d, "z, ReLU", lambda F, x, w, b, z: (F.conv2d(x, w, b, *GROUPED) + z).relu(),
          normal(2, 4, 3, 4), normal(4, 2, 3, 3), normal(4), normal(2, 4, 3, 4), relu=True,
          residual=True, geometry=GROUPED),
    fused(ops.Conv2d, "ReLU, overlapping pool",
          lambda F, x, w, b: F.max_pool2d(F.conv2d(x, w, b, *GROUPED).relu(), *OVERLAPPING[:3]),
          normal(2, 2, 6, 5), normal(2, 1, 3, 3), normal(2), relu=True, geometry=GROUPED,
          window=OVERLAPPING),
    fused(ops.ConvTranspose2d, "z, ReLU",
          lambda F, x, w, b, z: (F.conv_transpose2d(x, w, b, stride=2) + z).relu(),
          normal(2, 2, 2, 3), normal(2, 3, 2, 2), normal(3), normal(2, 3, 4, 6), relu=True,
          residual=True, output_size=(4, 6), geometry=Geometry((2, 2), (0, 0), (1, 1), 1)),
    fused(ops.BatchNorm, "ReLU", lambda F, *inputs: norm(F, *inputs).relu(), normal(3, 2, 3, 4),
          normal(2), normal(2), residual=False, **NORM),
    fused(ops.BatchNorm, "z, ReLU", lambda F, x, a, b, z: (norm(F, x, a, b) + z).relu(),
          normal(3, 2, 3, 4), normal(2), normal(2), normal(3, 2, 3, 4), residual=True, **NORM),
    fused(ops.BatchNorm, "of vectors, z, ReLU",
          lambda F, x, a, b, z: (norm(F, x, a, b) + z).relu(), normal(7, 3), normal(3), normal(3),
          normal(7, 3), residual=True, **NORM),
    fused(ops.BatchNorm, "z, ReLU, not affine", lambda F, x, z: (norm(F, x) + z).relu(),
          normal(7, 3), normal(7, 3), residual=True, **{**NORM, "affine": False}),
    fused(ops.BatchNorm, "evaluation, z, ReLU",
          lambda F, x, a, b, m, v, z: (F.batch_norm(x, m, v, a, b) + z).relu(),
          normal(3, 2, 3, 4), normal(2), normal(2), constant(normal(2)), constant(positive(2)),
          normal(3, 2, 3, 4), residual=True, **{**NORM, "training": False}),
]  # fmt: skip

SEQUENTIAL: list[Case] = [
    module("nn.Sequential", "conv, norm, ReLU, pool",
           lambda lib: lib.nn.Sequential(lib.nn.Conv2d(2, 3, 3, padding=1), lib.nn.BatchNorm2d(3),
                                         lib.nn.ReLU(), lib.nn.MaxPool2d(2)),
           normal(3, 2, 4, 6), normal(3, 2, 3, 3), normal(3), normal(3), normal(3)),
]  # fmt: skip

POOLING: list[Case] = [
    max_pool("2×2", spread(2, 2, 4, 6), 2),
    max_pool("2×2, odd image", spread(1, 2, 5, 7), 2),
    max_pool("3×3, overlapping", spread(1, 2, 6, 7), 3, stride=2),
    max_pool("padding", spread(1, 2, 5, 6), 3, stride=2, padding=1),
    max_pool("ceil_mode", spread(1, 2, 5, 6), 2, ceil_mode=True),
    max_pool("ceil_mode, padding", spread(1, 2, 6, 6), 3, stride=2, padding=1, ceil_mode=True),
    max_pool("dilation", spread(1, 2, 6, 7), 2, stride=1, dilation=2),
    max_pool("all pairs", spread(2, 2, 7, 6), (3, 2), stride=(1, 2), padding=(1, 0),
             dilation=(2, 1), ceil_mode=True),
    max_pool("gaps between windows", spread(1, 2, 7, 8), 2, stride=3),
    layer("nn.MaxPool2d", "", (2,), spread(2, 2, 4, 4)),
    layer("nn.MaxPool2d", "all options", (3, 2, 1, 1), spread(1, 2, 6, 5), ceil_mode=True),
    avg_pool("2×2", normal(2, 2, 4, 6), 2),
    avg_pool("2×2, odd image", normal(1, 2, 5, 7), 2),
    avg_pool("padding counts", normal(1, 2, 5, 6), 3, stride=2, padding=1),
    avg_pool("padding does not count", normal(1, 2, 5, 6), 3, stride=2, padding=1,
             count_include_pad=False),
    avg_pool("ceil_mode", normal(1, 2, 6, 6), 3, stride=2, padding=1, ceil_mode=True),
    avg_pool("all pairs", normal(2, 2, 7, 6), (3, 2), stride=(1, 2), padding=(1, 0),
             ceil_mode=True, count_include_pad=False),
    layer("nn.AvgPool2d", "", (2,), normal(2, 2, 4, 4)),
    layer("nn.AvgPool2d", "all options", ((3, 2), (2, 1), 1, True, False), normal(1, 2, 6, 5)),
    adaptive("1", normal(2, 3, 4, 3), 1),
    adaptive("uneven windows", normal(2, 2, 7, 5), (3, 2)),
    adaptive("one size kept", normal(1, 2, 4, 5), (None, 2)),
    adaptive("more windows than pixels", normal(1, 1, 3, 2), (5, 4)),
    layer("nn.AdaptiveAvgPool2d", "", ((2, 3),), normal(2, 2, 5, 5)),
]  # fmt: skip


def batch_norm(
    what: str, x: Input, *affine: Input, training: bool = True, analytic: bool = True
) -> Case:
    """With running estimates that are not 0 and 1."""

    def run(lib: Any, x: Any, mean: Any, variance: Any, *affine: Any) -> Any:
        return lib.nn.functional.batch_norm(
            x, mean.clone(), variance.clone(), *affine, training=training
        )

    estimates = constant(normal(3)), constant(positive(3))
    return case("batch_norm", what, run, x, *estimates, *affine, analytic=analytic)


NORMALISATION: list[Case] = [
    batch_norm("of vectors", normal(5, 3), positive(3), normal(3)),
    batch_norm("of images", normal(2, 3, 3, 2), positive(3), normal(3)),
    batch_norm("of sequences", normal(2, 3, 4), positive(3), normal(3)),
    batch_norm("of images, not affine", normal(2, 3, 3, 2)),
    batch_norm("evaluation", normal(2, 3, 2, 2), positive(3), normal(3), training=False),
    batch_norm("evaluation, not affine", normal(4, 3), training=False),
    batch_norm("frozen input", constant(normal(5, 3)), positive(3), normal(3), analytic=False),
    functional("batch_norm", "weight alone, eps 0.3", normal(5, 3), None, None, positive(3),
               training=True, eps=0.3),
    functional("batch_norm", "bias alone", normal(5, 3), None, None, None, normal(3),
               training=True),
    layer("nn.BatchNorm1d", "", (3,), normal(5, 3), positive(3), normal(3)),
    layer("nn.BatchNorm1d", "sequences", (3,), normal(2, 3, 4), positive(3), normal(3),
          momentum=None),
    layer("nn.BatchNorm2d", "", (3,), normal(2, 3, 3, 2), positive(3), normal(3)),
    layer("nn.BatchNorm2d", "evaluation", (3,), normal(2, 3, 3, 2), positive(3), normal(3),
          training=False),
    layer("nn.BatchNorm2d", "no affine, no estimates", (3,), normal(2, 3, 3, 2), affine=False,
          track_running_stats=False, training=False),
    functional("layer_norm", "", normal(3, 4), (4,), positive(4), normal(4)),
    functional("layer_norm", "two axes, eps 0.2", normal(2, 2, 3, 4), (3, 4), positive(3, 4),
               normal(3, 4), eps=0.2),
    functional("layer_norm", "not affine", normal(2, 3, 4), (4,)),
    layer("nn.LayerNorm", "", (4,), normal(3, 4), positive(4), normal(4)),
    layer("nn.LayerNorm", "two axes, no bias", ((3, 4),), normal(2, 3, 4), positive(3, 4),
          bias=False),
    layer("nn.LayerNorm", "not affine", ([4],), normal(3, 4), elementwise_affine=False),
]  # fmt: skip

DROPOUT: list[Case] = [
    functional("dropout", "½", normal(5, 6), random=True),
    functional("dropout", "¼", normal(5, 6), 0.25, random=True),
    functional("dropout", "0.3", normal(5, 6), 0.3, random=True),
    functional("dropout", "everything", normal(5, 6), 1.0),
    case("dropout", "nothing", lambda lib, x: lib.nn.functional.dropout(x, 0.0) * 2, normal(5, 6)),
    case("dropout", "evaluation", lambda lib, x: lib.nn.functional.dropout(x, 0.5, False) * 2,
         normal(5, 6)),
    layer("nn.Dropout", "0.3", (0.3,), normal(5, 6), random=True),
    layer("nn.Dropout", "evaluation", (0.3,), normal(5, 6), training=False),
]  # fmt: skip

LAYERS = CONVOLUTIONS + FUSED + SEQUENTIAL + POOLING + NORMALISATION + DROPOUT

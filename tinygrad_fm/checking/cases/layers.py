"""Cases of convolution, pooling, normalisation and dropout."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

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


def block(
    what: str, x: Input, weight: Input, bias: bool = True, training: bool = True, **flags: bool
) -> Case:
    """The layers in a row that `Sequential` takes together."""
    outputs, channels = weight.draw(np.random.default_rng()).shape[:2]
    norm = "norm" in what

    def make(lib: Any) -> Any:
        layers = [lib.nn.Conv2d(channels, outputs, 3, padding=1, bias=bias)]
        layers += [lib.nn.BatchNorm2d(outputs)] * norm
        layers += [lib.nn.ReLU(), lib.nn.MaxPool2d(2)]
        return lib.nn.Sequential(*layers).train(training)

    others = [normal(outputs)] * (bias + 2 * norm)
    return module("nn.Sequential", what, make, x, weight, *others, **flags)


BLOCKS: list[Case] = [
    block("conv, ReLU, pool", normal(3, 2, 4, 6), normal(3, 2, 3, 3)),
    block("conv, ReLU, pool, odd image", normal(2, 2, 5, 7), normal(3, 2, 3, 3)),
    block("conv, ReLU, pool, no bias", normal(2, 1, 6, 4), normal(2, 1, 3, 3), bias=False),
    block("conv, ReLU, pool, many images", normal(21, 1, 4, 4), normal(2, 1, 3, 3)),
    block("conv, ReLU, pool, frozen images", constant(normal(3, 1, 6, 6)), normal(2, 1, 3, 3),
          analytic=False),
    block("conv, norm, ReLU, pool", normal(3, 2, 4, 6), normal(3, 2, 3, 3)),
    block("conv, norm, ReLU, pool, odd image", normal(2, 2, 5, 7), normal(3, 2, 3, 3)),
    block("conv, norm, ReLU, pool, no bias", normal(3, 2, 4, 4), normal(3, 2, 3, 3), bias=False),
    block("conv, norm, ReLU, pool, many images", normal(21, 1, 4, 4), normal(2, 1, 3, 3)),
    block("conv, norm, ReLU, pool, frozen images", constant(normal(3, 1, 6, 6)),
          normal(2, 1, 3, 3), analytic=False),
    block("conv, norm, ReLU, pool, evaluation", normal(3, 2, 4, 4), normal(3, 2, 3, 3),
          training=False),
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

LAYERS = CONVOLUTIONS + BLOCKS + POOLING + NORMALISATION + DROPOUT

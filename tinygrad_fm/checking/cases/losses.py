"""Cases of losses, each with every reduction."""

from __future__ import annotations

from typing import Any

from tinygrad_fm.checking.cases.case import (
    Case,
    Input,
    constant,
    functional,
    given,
    labels,
    loss,
    normal,
    positive,
    probability,
    spread,
)

SOME_IGNORED = given([1, -100, 0, 2, -100, 1])


def reductions(of: str, what: str, *inputs: Input, **options: Any) -> list[Case]:
    """A loss with each reduction; its arguments as `functional` takes them."""
    return [
        functional(of, f"{what} {reduction}".strip(), *inputs, reduction=reduction, **options)
        for reduction in ("none", "mean", "sum")
    ]


CLASSES: list[Case] = [
    *reductions("cross_entropy", "", normal(6, 3), labels(3, 6)),
    *reductions("cross_entropy", "of images", normal(2, 3, 2, 2), labels(3, 2, 2, 2)),
    *reductions("cross_entropy", "weights", normal(6, 3), labels(3, 6), constant(positive(3))),
    *reductions("cross_entropy", "smoothing", normal(6, 3), labels(3, 6), label_smoothing=0.1),
    *reductions("cross_entropy", "some ignored", normal(6, 3), SOME_IGNORED),
    *reductions("cross_entropy", "ignoring class 2", normal(6, 3), labels(3, 6), ignore_index=2),
    *reductions("cross_entropy", "everything at once", normal(6, 3, scale=5), SOME_IGNORED,
                constant(positive(3)), label_smoothing=0.3),
    *reductions("nll_loss", "", normal(6, 3), labels(3, 6)),
    *reductions("nll_loss", "of images", normal(2, 3, 2, 2), labels(3, 2, 2, 2)),
    *reductions("nll_loss", "weights, some ignored", normal(6, 3), SOME_IGNORED,
                constant(positive(3))),
    loss("nn.CrossEntropyLoss", "", normal(6, 3), labels(3, 6)),
    loss("nn.CrossEntropyLoss", "all options", normal(6, 3), labels(3, 6), ignore_index=1,
         reduction="sum", label_smoothing=0.2),
    loss("nn.NLLLoss", "", normal(6, 3), labels(3, 6), ignore_index=0),
]  # fmt: skip

NUMBERS: list[Case] = [
    *reductions("mse_loss", "", normal(3, 4), normal(3, 4)),
    *reductions("l1_loss", "", spread(3, 4), constant(normal(3, 4)), analytic=False),
    *reductions("smooth_l1_loss", "", spread(3, 4, reach=3), normal(3, 4), analytic=False),
    *reductions("smooth_l1_loss", "β 0.3", spread(3, 4), normal(3, 4), analytic=False, beta=0.3),
    *reductions("smooth_l1_loss", "β 0", spread(3, 4), normal(3, 4), analytic=False, beta=0.0),
    *reductions("binary_cross_entropy", "", probability(3, 4), probability(3, 4)),
    *reductions("binary_cross_entropy", "weights",
                probability(3, 4), probability(3, 4), constant(positive(4))),
    *reductions("binary_cross_entropy_with_logits", "", normal(3, 4, scale=3), probability(3, 4)),
    *reductions("binary_cross_entropy_with_logits", "weights", normal(3, 4), probability(3, 4),
                constant(positive(3, 4))),
    *reductions("binary_cross_entropy_with_logits", "pos_weight", normal(4, 3, scale=3),
                probability(4, 3), pos_weight=constant(positive(3))),
    *reductions("kl_div", "", normal(3, 4), probability(3, 4)),
    *reductions("kl_div", "log target", normal(3, 4), normal(3, 4), log_target=True),
    functional("kl_div", "batchmean", normal(3, 4), probability(3, 4), reduction="batchmean"),
    loss("nn.MSELoss", "", normal(3, 4), normal(3, 4)),
    loss("nn.L1Loss", "", spread(3, 4), normal(3, 4), analytic=False),
    loss("nn.SmoothL1Loss", "β 0.7", spread(3, 4), normal(3, 4), beta=0.7, analytic=False),
    loss("nn.BCELoss", "", probability(3, 4), probability(3, 4)),
    loss("nn.BCEWithLogitsLoss", "", normal(3, 4), probability(3, 4)),
    loss("nn.KLDivLoss", "", normal(3, 4), probability(3, 4), reduction="sum"),
    loss("nn.KLDivLoss", "log target", normal(3, 4), normal(3, 4), log_target=True),
]  # fmt: skip

LOSSES = CLASSES + NUMBERS

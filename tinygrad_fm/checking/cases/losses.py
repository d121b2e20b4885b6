"""Cases of losses, each with every reduction."""

from __future__ import annotations

from typing import Any

from tinygrad_fm.checking.cases.case import (
    Case,
    Input,
    case,
    constant,
    given,
    labels,
    loss,
    normal,
    positive,
    probability,
    spread,
)

REDUCTIONS = ("none", "mean", "sum")
SOME_IGNORED = given([1, -100, 0, 2, -100, 1])


def each_reduction(of: str, what: str, *inputs: Input, analytic: bool = True, **options: Any
                   ) -> list[Case]:  # fmt: skip
    """`of`(input, target, weight, …) with each reduction; `weight` is the third input, if any."""

    def of_reduction(reduction: str) -> Case:
        def run(lib: Any, x: Any, target: Any, *weight: Any) -> Any:
            function = getattr(lib.nn.functional, of)
            return function(x, target, *weight, reduction=reduction, **options)

        return case(of, f"{what} {reduction}".strip(), run, *inputs, analytic=analytic)

    return [of_reduction(reduction) for reduction in REDUCTIONS]


def with_pos_weight(reduction: str) -> Case:
    def run(lib: Any, x: Any, target: Any, pos_weight: Any) -> Any:
        return lib.nn.functional.binary_cross_entropy_with_logits(
            x, target, pos_weight=pos_weight, reduction=reduction
        )

    return case("binary_cross_entropy_with_logits", f"pos_weight {reduction}", run,
                normal(4, 3, scale=3), probability(4, 3), constant(positive(3)))  # fmt: skip


CLASSES: list[Case] = [
    *each_reduction("cross_entropy", "", normal(6, 3), labels(3, 6)),
    *each_reduction("cross_entropy", "of images", normal(2, 3, 2, 2), labels(3, 2, 2, 2)),
    *each_reduction("cross_entropy", "weights", normal(6, 3), labels(3, 6), constant(positive(3))),
    *each_reduction("cross_entropy", "smoothing", normal(6, 3), labels(3, 6), label_smoothing=0.1),
    *each_reduction("cross_entropy", "some ignored", normal(6, 3), SOME_IGNORED),
    *each_reduction("cross_entropy", "ignoring class 2", normal(6, 3), labels(3, 6),
                    ignore_index=2),
    *each_reduction("cross_entropy", "everything at once", normal(6, 3, scale=5), SOME_IGNORED,
                    constant(positive(3)), label_smoothing=0.3),
    *each_reduction("nll_loss", "", normal(6, 3), labels(3, 6)),
    *each_reduction("nll_loss", "of images", normal(2, 3, 2, 2), labels(3, 2, 2, 2)),
    *each_reduction("nll_loss", "weights, some ignored", normal(6, 3), SOME_IGNORED,
                    constant(positive(3))),
    loss("nn.CrossEntropyLoss", "", lambda lib: lib.nn.CrossEntropyLoss(),
         normal(6, 3), labels(3, 6)),
    loss("nn.CrossEntropyLoss", "all options",
         lambda lib: lib.nn.CrossEntropyLoss(
             ignore_index=1, reduction="sum", label_smoothing=0.2),
         normal(6, 3), labels(3, 6)),
    loss("nn.NLLLoss", "", lambda lib: lib.nn.NLLLoss(ignore_index=0), normal(6, 3), labels(3, 6)),
]  # fmt: skip

NUMBERS: list[Case] = [
    *each_reduction("mse_loss", "", normal(3, 4), normal(3, 4)),
    *each_reduction("l1_loss", "", spread(3, 4), constant(normal(3, 4)), analytic=False),
    *each_reduction("smooth_l1_loss", "", spread(3, 4, reach=3), normal(3, 4), analytic=False),
    *each_reduction("smooth_l1_loss", "β 0.3", spread(3, 4), normal(3, 4),
                    analytic=False, beta=0.3),
    *each_reduction("smooth_l1_loss", "β 0", spread(3, 4), normal(3, 4),
                    analytic=False, beta=0.0),
    *each_reduction("binary_cross_entropy", "", probability(3, 4), probability(3, 4)),
    *each_reduction("binary_cross_entropy", "weights",
                    probability(3, 4), probability(3, 4), constant(positive(4))),
    *each_reduction("binary_cross_entropy_with_logits", "", normal(3, 4, scale=3),
                    probability(3, 4)),
    *each_reduction("binary_cross_entropy_with_logits", "weights", normal(3, 4), probability(3, 4),
                    constant(positive(3, 4))),
    *(with_pos_weight(reduction) for reduction in REDUCTIONS),
    *each_reduction("kl_div", "", normal(3, 4), probability(3, 4)),
    *each_reduction("kl_div", "log target", normal(3, 4), normal(3, 4), log_target=True),
    case("kl_div", "batchmean",
         lambda lib, x, t: lib.nn.functional.kl_div(x, t, reduction="batchmean"),
         normal(3, 4), probability(3, 4)),
    loss("nn.MSELoss", "", lambda lib: lib.nn.MSELoss(), normal(3, 4), normal(3, 4)),
    loss("nn.L1Loss", "", lambda lib: lib.nn.L1Loss(), spread(3, 4), normal(3, 4), analytic=False),
    loss("nn.SmoothL1Loss", "β 0.7", lambda lib: lib.nn.SmoothL1Loss(beta=0.7),
         spread(3, 4), normal(3, 4), analytic=False),
    loss("nn.BCELoss", "", lambda lib: lib.nn.BCELoss(), probability(3, 4), probability(3, 4)),
    loss("nn.BCEWithLogitsLoss", "", lambda lib: lib.nn.BCEWithLogitsLoss(),
         normal(3, 4), probability(3, 4)),
    loss("nn.KLDivLoss", "", lambda lib: lib.nn.KLDivLoss(reduction="sum"),
         normal(3, 4), probability(3, 4)),
    loss("nn.KLDivLoss", "log target", lambda lib: lib.nn.KLDivLoss(log_target=True),
         normal(3, 4), normal(3, 4)),
]  # fmt: skip

LOSSES = CLASSES + NUMBERS

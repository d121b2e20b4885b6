"""Recipes small enough to be trained in tests, under the names of their big sisters.

Run as a program this is the command line with those recipes, on one thread, and with a checkpoint
every $CHECKPOINT_EVERY seconds or else after every batch.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from tinygrad_fm.recipes import RECIPES, Recipe
from tinygrad_fm.recipes.cnn_5conv import FiveConvolutions
from tinygrad_fm.recipes.recipe import one_cycle

# Between them: SGD, Adam and AdamW, all three kinds of schedule, dropout, batch norm, augmentation.
_EXTRACTOR = RECIPES["cnn-5conv"].changed(
    epochs=1,
    batch_size=500,
    build=partial(FiveConvolutions, channels=(2, 3, 4), hidden=8),
)
TINY: dict[str, Recipe] = {
    "mlp-deep": RECIPES["mlp-deep"].changed(
        batch_size=200, build=partial(RECIPES["mlp-deep"].build, hidden=(8, 8))
    ),
    "mlp-1hidden": RECIPES["mlp-1hidden"].changed(
        batch_size=200,
        build=partial(RECIPES["mlp-1hidden"].build, hidden=8),
        step_schedule=one_cycle,
    ),
    "cnn-5conv": _EXTRACTOR,
    "features-mlp": RECIPES["features-mlp"].changed(
        batch_size=500,
        epochs=2,
        extractor=_EXTRACTOR,
        build=partial(RECIPES["features-mlp"].build, inputs=8),
    ),
}


if __name__ == "__main__":
    from tinygrad_fm import set_num_threads
    from tinygrad_fm.cli import main
    from tinygrad_fm.runs import training

    training.CHECKPOINT_EVERY = float(os.environ.get("CHECKPOINT_EVERY", "0"))
    set_num_threads(1)
    RECIPES.update(TINY)
    sys.exit(main())

"""A PyTorch state dict becomes a run that can be evaluated, exported and trained further."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygrad_fm.errors import RunError
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.settings import configured
from tinygrad_fm.runs.folder import SavedRun, weights_into
from tinygrad_fm.runs.training import begin


def import_weights(
    file: str | Path,
    name: str,
    settings: Mapping[str, Any],
    *,
    seed: int = 0,
    data_dir: Path | None = None,
    extractor: Path | None = None,
    out: Path | None = None,
) -> SavedRun:
    """Make a run folder of a safetensors file with the weights of a recipe's PyTorch twin.

    The weights are the run's model, and what its training begins with. They must have been trained
    on images of mean 0 and variance 1, as the recipes' are. Half and double precision become
    single.

    Args:
        file: written by safetensors.torch.save_file(model.state_dict(), file), say.
        name: the recipe's.
        settings, seed, data_dir, extractor, out: see `begin`.

    Raises:
        RunError: no safetensors file, or one whose names, shapes, types or numbers are not those
            of the recipe's model.
        DataUnavailable, ExtractorError, OSError, ValueError: see `begin`.
    """
    recipe = configured(RECIPES[name], settings)
    if recipe.extractor is not None and extractor is None:
        raise RunError(
            f"{name} sees features, not images: it needs the weights of its extractor as well; "
            f"give the model.safetensors of a trained {recipe.extractor.name}"
        )
    model = weights_into(recipe.build_hollow(), Path(file))
    return begin(
        name,
        settings,
        seed=seed,
        data_dir=data_dir,
        extractor=extractor,
        initial=model,
        out=out,
    )

"""A PyTorch state dict becomes a run that can be evaluated, exported and trained further."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_fm.nn import Module
from tinygrad_fm.recipes import RECIPES, Recipe
from tinygrad_fm.recipes.settings import configured
from tinygrad_fm.runs.files import RunError, read_arrays
from tinygrad_fm.runs.folder import SavedRun
from tinygrad_fm.runs.training import begin

SHOWN = 3  # problems that an error spells out


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
    on images of mean 0 and variance 1, as the recipes' are.

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
    model = read_weights(file, recipe)
    return begin(
        name,
        settings,
        seed=seed,
        data_dir=data_dir,
        extractor=extractor,
        initial=model,
        out=out,
    )


def read_weights(file: str | Path, recipe: Recipe) -> Module:
    """A recipe's model with the weights of a safetensors file.

    Half and double precision become single.

    Raises:
        RunError: see `import_weights`.
    """
    arrays, _ = read_arrays(Path(file))
    model = recipe.build()
    problems = _problems(arrays, model.state_dict())
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise RunError(f"{file} does not fit {recipe.name}: {'; '.join(problems[:SHOWN])}{more}")
    model.load_state_dict(arrays)
    return model


def _problems(given: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> list[str]:
    """What is wrong with arrays by name, each in a few words."""
    problems = [f"{name} {wanted[name].shape} is missing" for name in wanted.keys() - given.keys()]
    problems += [f"{name[:80]} is unknown" for name in given.keys() - wanted.keys()]
    for name in wanted.keys() & given.keys():
        got, want = given[name], wanted[name]
        if got.shape != want.shape:
            problems.append(f"{name} has the shape {got.shape}, wanted {want.shape}")
        elif got.dtype.kind != want.dtype.kind:
            problems.append(f"{name} has the type {got.dtype}, wanted {want.dtype}")
        elif not _fits(got, want.dtype):
            problems.append(f"{name} has numbers that are not finite in {want.dtype}")
    return sorted(problems)


def _fits(array: np.ndarray, dtype: np.dtype) -> bool:
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        return bool(np.isfinite(array.astype(dtype)).all())

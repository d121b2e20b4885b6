"""Features of a trained network as another model's inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_fm import data
from tinygrad_fm.errors import ExtractorError, WeightsError
from tinygrad_fm.files import read_regular
from tinygrad_fm.nn import Module
from tinygrad_fm.recipes.recipe import Recipe
from tinygrad_fm.recipes.weights import MAX_WEIGHTS, load_arrays, put_weights
from tinygrad_fm.train import predict


@dataclass(frozen=True)
class FeatureSet:
    """What a network made of each image: features (N, F), called `images`, and labels (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def extract(model: Module, loader: data.DataLoader) -> FeatureSet:
    """The features of every image of a loader, in its order, without dropout and graph."""
    _, features, labels = predict(model.features, loader)
    return FeatureSet(features, labels)


def training_facts(recipe: Recipe, seed: int) -> dict[str, str]:
    """What decides which images a network has been trained on."""
    return {
        "recipe": recipe.name,
        "dataset": recipe.dataset,
        "seed": str(seed),
        "validation_fraction": str(recipe.validation_fraction),
    }


def load_extractor(recipe: Recipe, seed: int, path: Path) -> Module:
    """A trained model of `recipe` from a file of `save_weights`.

    Raises:
        ExtractorError: no such file, or trained on other images: with another seed, say. Then
            images that this run holds out would be among those that the extractor has seen.
    """
    wanted = training_facts(recipe, seed)
    try:
        arrays, found = load_arrays(read_regular(path, MAX_WEIGHTS), str(path))
    except (OSError, WeightsError) as error:
        raise ExtractorError(f"{path} is not a file of weights: {error}") from error
    different = [
        f"{fact} {found.get(fact, 'unknown')}, wanted {value}"
        for fact, value in wanted.items()
        if found.get(fact) != value
    ]
    if different:
        raise ExtractorError(
            f"{path} has {'; '.join(different)}: it may have been trained on images that this run "
            "holds out. Take the model.safetensors of `python -m tinygrad_fm train "
            f"{recipe.name} --dataset {recipe.dataset} --seed {seed}`"
        )
    try:
        # Our files had these facts and no others before they had a checksum.
        return put_weights(
            recipe.build_hollow(),
            arrays,
            found,
            str(path),
            sum_needed=found.keys() != wanted.keys(),
        )
    except WeightsError as error:
        raise ExtractorError(str(error)) from error

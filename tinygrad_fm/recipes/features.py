"""Features of a trained network as another model's inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tinygrad_fm import data
from tinygrad_fm.nn import Module
from tinygrad_fm.recipes.recipe import Recipe
from tinygrad_fm.train import predict


class ExtractorError(ValueError):
    """A file of weights that can't serve as the extractor of a run."""


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


def save_weights(model: Module, path: Path, facts: dict[str, str]) -> None:
    """Write the state dict as a safetensors file, with the facts of its training."""
    path.write_bytes(save_arrays(model.state_dict(), facts))


def save_arrays(arrays: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> bytes:
    """A safetensors file of arrays, and of facts about them: equal ones are equal to the bit.

    The library writes the facts in another order each time, so they are sorted afterwards.
    Source of the format: https://huggingface.co/docs/safetensors/index
    """
    # It writes memory as it lies there, so that has to be in order. (Not ascontiguousarray: it
    # gives a scalar a dimension.)
    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = save(ordered, dict(facts))
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(facts.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the arrays begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def load_extractor(recipe: Recipe, seed: int, path: Path) -> Module:
    """A trained model of `recipe` from a file of `save_weights`.

    Raises:
        ExtractorError: no such file, or trained on other images: with another seed, say. Then
            images that this run holds out would be among those that the extractor has seen.
    """
    wanted = training_facts(recipe, seed)
    try:
        with safe_open(path, framework="numpy") as file:
            found = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError) as error:  # the last: a type NumPy does not know
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
    model = recipe.build()
    try:
        # Numbers that are too large for the model's type are no weights.
        with np.errstate(over="raise", invalid="raise"):
            model.load_state_dict(arrays)
    except (FloatingPointError, ValueError) as error:
        raise ExtractorError(f"{path}: {error}") from error
    return model

"""`list` and `summary`: what can be trained."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from tinygrad_fm.cli.command import add_command, positive
from tinygrad_fm.nn import Module
from tinygrad_fm.recipes import RECIPES, Recipe
from tinygrad_fm.recipes.summary import Layer, summarize
from tinygrad_fm.report import format_table
from tinygrad_fm.tensor import Tensor

DATA_SETS = (
    {
        "data set": "fashion-mnist",
        "images": "60,000 + 10,000",
        "what": "clothes",
        "source": "Xiao, Rasul and Vollgraf (2017), arxiv.org/abs/1708.07747",
    },
    {
        "data set": "mnist",
        "images": "60,000 + 10,000",
        "what": "handwritten digits",
        "source": "LeCun, Cortes and Burges, yann.lecun.com/exdb/mnist",
    },
    {
        "data set": "garments",
        "images": "10,000 + 2,000",
        "what": "clothes",
        "source": "built in: drawn by this package, no download",
    },
)


def add_commands(commands: Any) -> None:
    add_command(commands, "list", show_list, "show the recipes and the data sets", "list")
    command = add_command(
        commands,
        "summary",
        show_summary,
        "show a recipe's layers: output shape, parameters, operations, memory",
        "summary cnn --batch-size 64",
    )
    command.add_argument("recipe", metavar="RECIPE", choices=RECIPES, help=", ".join(RECIPES))
    command.add_argument(
        "--batch-size", type=positive, default=1, metavar="N", help="images (default: 1)"
    )


def show_list(options: argparse.Namespace) -> None:
    """Two tables."""
    rows = [
        {
            "recipe": recipe.name,
            "parameters": count(recipe.build()),
            "data set": recipe.dataset,
            "source": recipe.source,
            "published": recipe.published,
        }
        for recipe in RECIPES.values()
    ]
    print(format_table(rows, {"published": ".2%"}), end="\n\n")
    print(format_table(DATA_SETS))
    print("\npublished: the test accuracy that the source reports; images: training + test")


def count(model: Module) -> int:
    return sum(p.numel() for p in model.parameters())


def show_summary(options: argparse.Namespace) -> None:
    """The layers, one a line, and their sums."""
    recipe = RECIPES[options.recipe]
    layers = summarize(recipe.build(), blank_images(recipe, options.batch_size))
    images = "1 image" if options.batch_size == 1 else f"a batch of {options.batch_size} images"
    print(f"{recipe.name}: {recipe.summary}, {images}\n")
    print(layer_table(layers))


def blank_images(recipe: Recipe, batch_size: int) -> Tensor:
    """What the recipe's model takes: images (N, 1, 28, 28), or features (N, F)."""
    images = Tensor(np.zeros((batch_size, 1, 28, 28), np.float32))
    return images if recipe.extractor is None else recipe.extractor.build().features(images)


def layer_table(layers: list[Layer]) -> str:
    rows = [
        {
            "layer": f"{layer.name} {layer.kind}".strip(),
            "output": "×".join(map(str, layer.shape)),
            "parameters": layer.parameters or None,
            "FLOP": layer.flops or None,
            "kB": layer.bytes / 1e3,
        }
        for layer in layers
    ]
    total = {
        "layer": "all",
        "parameters": sum(layer.parameters for layer in layers),
        "FLOP": sum(layer.flops for layer in layers),
        "kB": sum(layer.bytes for layer in layers) / 1e3,
    }
    return format_table([*rows, total], {"kB": ",.1f"})

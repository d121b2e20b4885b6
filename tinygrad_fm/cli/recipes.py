"""`list`, `summary`, `profile` and `graph`: what can be trained, and what it is made of."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_fm.autograd.graph import SUFFIXES, draw
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.cli.command import add_command, add_threads, positive
from tinygrad_fm.errors import CommandError
from tinygrad_fm.formatting import printable
from tinygrad_fm.nn import Module
from tinygrad_fm.recipes import RECIPES, Recipe
from tinygrad_fm.recipes.profiling import plan_of_recipe, profile_recipe
from tinygrad_fm.recipes.summary import Layer, summarize
from tinygrad_fm.report import format_table

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

    command = add_command(
        commands,
        "profile",
        show_profile,
        "measure where the time of training goes, operation by operation",
        "profile cnn --batch-size 256 --threads 1",
    )
    command.add_argument("recipe", metavar="RECIPE", choices=RECIPES, help=", ".join(RECIPES))
    command.add_argument(
        "--batch-size", type=positive, metavar="N", help="images (default: the recipe's own)"
    )
    add_threads(command)
    command.add_argument("--inference", action="store_true", help="instead of training steps")
    command.add_argument(
        "--plan", action="store_true", help="the calls of the plan, and where they work in memory"
    )

    command = add_command(
        commands,
        "graph",
        show_graph,
        "draw the operations that training a recipe records, from parameters to the loss",
        "graph mlp -o out/mlp.svg",
    )
    command.add_argument("recipe", metavar="RECIPE", choices=RECIPES, help=", ".join(RECIPES))
    command.add_argument(
        "-o",
        "--out",
        type=drawing,
        required=True,
        metavar="FILE",
        help="a .dot file, or with Graphviz installed .svg, .png or .pdf",
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
    print(textwrap.fill(f"{recipe.name}: {recipe.summary}, {images}", 80), end="\n\n")
    print(layer_table(layers))


def blank_images(recipe: Recipe, batch_size: int) -> Tensor:
    """What the recipe's model takes: images (N, 1, 28, 28), or features (N, F)."""
    images = Tensor(np.zeros((batch_size, 1, 28, 28), np.float32))
    if recipe.extractor is None:
        return images
    return recipe.extractor.build().features(images).detach()


def show_profile(options: argparse.Namespace) -> None:
    """The table of `profile_recipe`, or that of the plan."""
    recipe = RECIPES[options.recipe]
    show = plan_of_recipe if options.plan else profile_recipe
    print(show(recipe, options.batch_size, training=not options.inference))


def show_graph(options: argparse.Namespace) -> None:
    """Draw the graph of one small batch."""
    recipe = RECIPES[options.recipe]
    model = recipe.build()
    images, labels = blank_images(recipe, 2), Tensor(np.zeros(2, np.int64))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        draw(recipe.loss(model(images), labels), options.out, dict(model.named_parameters()))
    except RuntimeError as error:  # Graphviz is not installed
        raise CommandError(str(error)) from error
    print(f"The graph is {printable(options.out)}")


def drawing(text: str) -> Path:
    """A file with an ending in which a graph can be drawn."""
    path = Path(text)
    if path.suffix not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"wanted {', '.join(SUFFIXES)}, got {text!r}")
    return path


def layer_table(layers: list[Layer]) -> str:
    rows = [
        {
            "layer": f"{layer.name} {layer.kind}".strip(),
            "output": "x".join(map(str, layer.shape)),
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

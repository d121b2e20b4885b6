"""`export` and `import`: weights for other programs, and from them."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from tinygrad_fm.cli.command import (
    add_command,
    add_dataset,
    add_extractor,
    add_run,
    add_settings,
    natural,
    positive,
    rate,
    settings,
)
from tinygrad_fm.export import FORMATS, export
from tinygrad_fm.formatting import printable
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.runs import import_weights, open_run, resume_command

SETTINGS = ("dataset", "epochs", "batch_size", "lr")


def add_commands(commands: Any) -> None:
    command = add_command(
        commands,
        "export",
        export_run,
        "write a run's best weights for other programs",
        "export runs/cnn-2026-04-15-0 --to onnx\n\n"
        "onnx         pixels (uint8) in, class probabilities out; for onnxruntime\n"
        "safetensors  PyTorch's names: model.load_state_dict(load_file(FILE))\n"
        "torch        the same for torch.load(FILE, weights_only=True); needs PyTorch",
    )
    add_run(command)
    command.add_argument("--to", choices=FORMATS, required=True, help="the file's format")
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="the file (default: RECIPE.ENDING in the run)"
    )

    command = add_command(
        commands,
        "import",
        import_file,
        "make a run of a PyTorch state dict, to evaluate it or to train it further",
        "import cnn.safetensors cnn --epochs 3 --lr 0.002\n\n"
        "In PyTorch: safetensors.torch.save_file(model.state_dict(), 'cnn.safetensors').\n"
        "The weights are taken as trained on images of mean 0 and variance 1.",
    )
    add = command.add_argument
    add("file", type=Path, metavar="FILE", help="a safetensors file with the weights of RECIPE")
    add("recipe", choices=RECIPES, metavar="RECIPE", help=", ".join(RECIPES))
    add("--out", type=Path, metavar="RUN", help="the run folder (default: under runs/)")
    add_dataset(command)
    add("--epochs", type=positive, metavar="N", help="of further training")
    add("--batch-size", type=positive, metavar="N")
    add("--lr", type=rate, metavar="RATE", help="learning rate of further training")
    add("--seed", type=natural, metavar="N", default=0, help="of further training (default: 0)")
    add_settings(command)
    add_extractor(command)


def export_run(options: argparse.Namespace) -> None:
    path = export(open_run(options.run), options.to, options.out)
    print(f"{printable(path)} has {path.stat().st_size:,} bytes")


def import_file(options: argparse.Namespace) -> None:
    """Make the run, and say what can be done with it."""
    run = import_weights(
        options.file,
        options.recipe,
        settings(options, SETTINGS),
        seed=options.seed,
        data_dir=options.data_dir,
        extractor=options.extractor,
        out=options.out,
    )
    print(f"The run is in {printable(run.path)}/")
    print(f"  to test it:          tinygrad-fm evaluate {printable(shlex.quote(str(run.path)))}")
    print(f"  to train it further: {printable(resume_command(run.path))}")

"""The command line: `python -m benchmarks`, and `… peers`, `… summary` and others beside it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.against import against
from benchmarks.chart import plot_ratios
from benchmarks.peers.compare import MODELS as COMPARED
from benchmarks.peers.environments import PEERS, available, default_folder, install, is_installed
from benchmarks.processes import ROOT
from benchmarks.publish import publish
from benchmarks.summary import TITLES, describe, lines, tables, warning
from tinygrad_fm import get_num_threads
from tinygrad_fm.cli import prepare_streams
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.profiling import profile_recipe
from tinygrad_fm.report.table import format_table
from tinygrad_fm.runs.files import write_json

# What works on images; measured are the models of the project's three parts, if none is named.
MODELS = [name for name, recipe in RECIPES.items() if recipe.extractor is None]
PARTS = ("sigmoid-mlp", "mlp", "cnn", "cnn-bn")
SECTIONS = [section for section in TITLES if section != "peers"]  # a command of their own


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    prepare_streams()
    options = parser().parse_args(arguments)
    return options.action(options)


def parser() -> argparse.ArgumentParser:
    """The options, and the commands beside measuring."""
    top = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure NumPy against PyTorch on this machine.",
    )
    add = top.add_argument
    add("--models", nargs="+", choices=MODELS, default=PARTS, metavar="MODEL")
    measuring(add)
    add("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION",
        help=", ".join(SECTIONS))  # fmt: skip
    add("--torch-compile", action="store_true",
        help="beside training steps also torch.compile's, half a minute more for each")  # fmt: skip
    top.set_defaults(action=measure, peers={})
    commands = top.add_subparsers(metavar="COMMAND")

    command = commands.add_parser("summary", help="Markdown tables of JSON files")
    command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    command.add_argument("--chart", type=Path, metavar="FILE", help="draw the ratios")
    command.set_defaults(action=summary)

    command = commands.add_parser("publish", help="put the results of runs into README and RESULTS")
    command.set_defaults(action=lambda _: publish(ROOT) or 0)

    command = commands.add_parser("peers", help="training steps beside other libraries")
    add = command.add_argument
    add("--only", nargs="+", choices=PEERS, default=PEERS, metavar="PEER", help=", ".join(PEERS),
        dest="chosen")  # fmt: skip
    add("--peers-dir", type=Path, metavar="DIR", default=default_folder(),
        help="where each has an environment of its own (default: %(default)s)")  # fmt: skip
    add("--install", action="store_true", help="make the environments that are not there")
    add("--models", nargs="+", choices=COMPARED, default=COMPARED, metavar="MODEL")
    measuring(add)
    command.set_defaults(action=beside_peers, only=["peers"], torch_compile=False)

    command = commands.add_parser("against", help="this working tree and an older commit, in turns")
    command.add_argument("commit", metavar="COMMIT")
    command.add_argument("--models", nargs="+", choices=MODELS, default=PARTS, metavar="MODEL")
    command.add_argument("--batch-sizes", nargs="+", type=int, default=[64, 256])
    command.add_argument("--repeats", type=int, default=20, help="turns of each (20)")
    command.add_argument("--quick", action="store_true", help="to see that everything runs")
    command.set_defaults(action=compare)

    command = commands.add_parser("profile", help="a model's cost, operation by operation")
    command.add_argument("model", choices=RECIPES, metavar="MODEL", help=", ".join(RECIPES))
    command.add_argument("--batch-size", type=int)
    mode = command.add_mutually_exclusive_group()
    mode.add_argument("--training", action="store_true", default=True)
    mode.add_argument("--inference", action="store_false", dest="training")
    command.set_defaults(action=profile)
    return top


def measuring(add: Callable[..., object]) -> None:
    """The options of all that measures."""
    add("--batch-sizes", nargs="+", type=int, help="of training steps (default: 64 256)")
    add("--threads", nargs="+", type=int, default=[get_num_threads()], help="one or more counts")
    add("--repeats", type=int, help="turns of each contender (default: 20)")
    add("--json", type=Path, metavar="FILE", help="write all figures")
    add("--chart", type=Path, metavar="FILE", help="draw the ratios")
    add("--quick", action="store_true", help="tiny sizes, to see that everything runs")


def measure(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("torch") is None:
        print("benchmarks needs PyTorch: pip install '.[reference]'", file=sys.stderr)
        return 1
    # Only here: everything else on this command line runs without PyTorch.
    from benchmarks import measure as room
    from benchmarks.settings import Settings

    settings = Settings(
        models=tuple(options.models),
        batch_sizes=tuple(options.batch_sizes or ([8] if options.quick else [64, 256])),
        threads=tuple(options.threads),
        repeats=options.repeats or (3 if options.quick else 20),
        quick=options.quick,
        torch_compile=options.torch_compile,
        peers=options.peers,
    )
    for file in filter(None, (options.json, options.chart)):
        file.parent.mkdir(parents=True, exist_ok=True)  # now, not after ten minutes of measuring
    results = room.measure(settings, tuple(options.only))
    if options.json:
        write_json(options.json, results)
    show([results], options.chart)
    return 0


def summary(options: argparse.Namespace) -> int:
    runs = [json.loads(file.read_text()) for file in options.files]
    show(runs, options.chart, markdown=True)
    return 0


def beside_peers(options: argparse.Namespace) -> int:
    chosen, folder = options.chosen, options.peers_dir.absolute()
    for peer in chosen if options.install else ():
        if not is_installed(peer, folder):
            print(f"Installing {peer} in {folder / peer}", file=sys.stderr)
            install(peer, folder)
    options.peers = available(chosen, folder)
    if not options.peers:
        print("Nothing is measured: none of them is installed.", file=sys.stderr)
        return 1
    return measure(options)


def show(runs: list, chart: Path | None, markdown: bool = False) -> None:
    found = lines(runs)
    parts = describe(runs[0]["machine"]), tables(found, markdown), warning(found)
    print("\n\n".join(filter(None, parts)))
    if chart:  # without single operations: there are too many of them
        plot_ratios([line for line in found if line.section != "operation"], chart)


def compare(options: argparse.Namespace) -> int:
    sizes, models = tuple(options.batch_sizes), tuple(options.models)
    found = list(against(options.commit, models, sizes, options.repeats, options.quick))
    formats = {"new ms": ".3f", "old ms": ".3f", "new ÷ old": ".3f", "of fastest": ".3f"}
    print(format_table(found, formats))
    return 0


def profile(options: argparse.Namespace) -> int:
    print(profile_recipe(RECIPES[options.model], options.batch_size, options.training))
    return 0


if __name__ == "__main__":
    sys.exit(main())

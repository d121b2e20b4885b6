"""Every command has help with an example, shows what it should, and fits 80 columns."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_runs

from tinygrad_fm import data
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.cli import explain, main, parser
from tinygrad_fm.cli.runs import confusion_table
from tinygrad_fm.data.catalog import CLOTHES
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.summary import summarize
from tinygrad_fm.runs import begin, go_on

ROOT = Path(tiny_runs.__file__).parents[1]
COMMANDS = sorted(
    next(a for a in parser()._actions if isinstance(a.choices, dict)).choices  # type: ignore[arg-type]
)


def output(capsys, *arguments: object) -> str:
    """What a command prints that succeeds."""
    assert main([str(argument) for argument in arguments]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_all_commands_of_the_issue_are_there():
    wanted = """demo list train evaluate predict compare report summary tune gradcheck bench profile
    graph export import"""
    assert set(wanted.split()) <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_is_understood(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert widest(text) <= 80
    (example,) = re.findall(r"^example:\n  tinygrad-fm (.*)$", text, re.MULTILINE)
    options, rest = parser().parse_known_args(example.split())
    assert options.takes_rest or not rest
    assert example.split()[0] == command


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_the_program_introduces_itself(arguments, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(("usage: tinygrad-fm", "tinygrad-fm 0."))


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        ("evaluate run", ""),
        ("train --resume run", ""),
        ("train mlp", ", try a smaller --batch-size"),
    ],
)
def test_only_commands_that_take_a_batch_size_advise_a_smaller_one(command, advice):
    assert explain(MemoryError(), parser().parse_args(command.split())) == (
        f"not enough memory{advice}"
    )


def test_demo_is_quiet_where_there_is_no_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tinygrad_fm.demo.SETTINGS", {"mlp-1hidden": {"epochs": 1}})
    text = output(capsys, "demo", "--out", tmp_path / "demo")
    assert re.search(r"^mlp-1hidden +[\d,]+ +1 ", text, re.MULTILINE)
    assert (tmp_path / "demo" / "curves.png").exists()


@pytest.mark.usefixtures("all_garments")
def test_list(capsys):
    text = output(capsys, "list")
    assert widest(text) <= 80
    for name, recipe in RECIPES.items():
        (line,) = re.findall(rf"^{name} .*$", text, re.MULTILINE)
        assert recipe.published is None or f"{recipe.published:.2%}" in line
    for name in ("fashion-mnist", "mnist", "garments"):
        assert re.search(rf"^{name} ", text, re.MULTILINE)
    images = [len(data.Garments(train)) for train in (True, False)]
    assert f"{images[0]:,} + {images[1]:,}" in text


# ---------------------------------------------------------------------------- summary


@pytest.mark.parametrize("name", RECIPES)
def test_summary_accounts_for_every_parameter(name, capsys):
    text = output(capsys, "summary", name)
    assert widest(text) <= 80
    total = sum(p.numel() for p in RECIPES[name].build().parameters())
    assert re.search(rf"^all .* {total:,} ", text, re.MULTILINE)


def test_summary_counts_operations_as_the_definitions_do():
    layers = summarize(RECIPES["cnn"].build(), Tensor(np.zeros((3, 1, 28, 28), np.float32)))
    by_name = {layer.name: layer for layer in layers}
    conv, hidden = by_name["0"], by_name["7"]
    assert (conv.kind, conv.shape) == ("Conv2d", (3, 32, 28, 28))
    assert conv.flops == 2 * 3 * 32 * 28 * 28 * 9
    assert conv.parameters == 32 * 9 + 32
    assert conv.bytes == 4 * (3 * 32 * 28 * 28 + 32 * 9 + 32)
    assert hidden.flops == 2 * 3 * 3136 * 128


def test_summary_shows_what_a_module_does_itself():
    layers = summarize(RECIPES["resnet"].build(), Tensor(np.zeros((1, 1, 28, 28), np.float32)))
    (block,) = (layer for layer in layers if layer.name == "3")
    assert block.kind == "BasicBlock"
    assert block.flops == 2 * 16 * 28 * 28  # the sum and its ReLU
    assert block.parameters == 0


# ---------------------------------------------------------------------------- profile and graph


def test_profile(capsys):
    text = output(capsys, "profile", "mlp-1hidden", "--batch-size", 4, "--inference")
    assert re.search(r"^Linear +4x128 +10 ", text, re.MULTILINE)
    assert "CrossEntropy" not in text
    assert widest(text) <= 80


def test_graph(tmp_path, capsys):
    path = tmp_path / "new" / "mlp.dot"
    assert output(capsys, "graph", "mlp", "-o", path) == f"The graph is {path}\n"
    drawn = path.read_text()
    for text in ("NLLLoss", "LogSoftmax", "1.weight", "5.bias"):
        assert text in drawn, text


def test_graph_without_graphviz(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert main(["graph", "mlp", "-o", str(tmp_path / "mlp.svg")]) == 1
    assert "needs Graphviz's dot program" in capsys.readouterr().err


def test_graph_in_an_unknown_format(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["graph", "mlp", "-o", "mlp.gif"])
    assert ended.value.code == 2
    assert "wanted .dot, .svg, .png, .pdf, got 'mlp.gif'" in capsys.readouterr().err


# ---------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two tiny runs of one epoch."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        paths = []
        for name in ("mlp-1hidden", "mlp-deep"):
            patch.setitem(RECIPES, name, tiny_runs.TINY[name])
            settings = {"dataset": "garments", "epochs": 2, "batch_size": 500}
            saved = begin(name, settings, out=folder / name)
            go_on(saved, progress=False)
            paths.append(saved.path)
        yield paths


def test_compare(runs, tmp_path, capsys):
    picture = tmp_path / "new" / "comparison.png"
    text = output(capsys, "compare", *runs, "--out", picture)
    assert widest(text.replace(str(picture), "comparison.png")) <= 80
    assert re.search(r"^mlp-1hidden +[\d,]+ +2 ", text, re.MULTILINE)
    assert re.search(r"^mlp-deep +[\d,]+ +2 ", text, re.MULTILINE)
    assert picture.stat().st_size > 10_000


def test_compare_tells_runs_of_one_name_apart(runs, tmp_path, capsys):
    other = shutil.copytree(runs[0], tmp_path / runs[0].name)
    text = output(capsys, "compare", runs[0], other, "--out", tmp_path / "comparison.png")
    assert text.count("mlp-1hidden") >= 2


def test_compare_says_when_the_test_sets_differ(runs, tmp_path, capsys):
    other = shutil.copytree(runs[0], tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["data_sha256"]["test"] = "0"
    (other / "config.json").write_text(json.dumps(config))
    picture = tmp_path / "comparison.png"
    assert "different test sets" not in output(capsys, "compare", *runs, "--out", picture)
    text = output(capsys, "compare", runs[0], other, "--out", picture)
    assert "different test sets:\n  mlp-1hidden: garments\n  other: garments\n" in text


def test_compare_refuses_what_is_not_complete(runs, tmp_path, capsys):
    begun = shutil.copytree(runs[0], tmp_path / "begun")
    (begun / "metrics.json").unlink()
    picture = tmp_path / "comparison.png"
    assert main(["compare", str(runs[1]), str(begun), "--out", str(picture)]) == 1
    assert "this run is not complete; go on with" in capsys.readouterr().err
    assert not picture.exists()


def test_compare_has_a_row_for_every_run_but_a_picture_only_for_as_many_as_colours(
    runs, tmp_path, capsys
):
    many = [shutil.copytree(runs[0], tmp_path / f"run-{i:02}") for i in range(12)]
    picture = tmp_path / "comparison.png"
    text = output(capsys, "compare", *many, "--out", picture)
    assert re.findall(r"^run-\d\d", text, re.MULTILINE) == [path.name for path in many]
    assert text.endswith("There is no picture: it has colours for 8 runs, not for 12.\n")
    assert not picture.exists()


def test_compare_refuses_a_run_that_is_given_twice(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to(runs[0])
    assert main(["compare", *map(str, runs), "link"]) == 1
    assert capsys.readouterr().err == (
        f"tinygrad-fm: {runs[0]} is given twice; leave one of the two out\n"
    )
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["comparison", "comparison.txt"])
def test_compare_in_an_unknown_format(runs, tmp_path, name, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(runs[0]), "--out", str(tmp_path / name)])
    assert ended.value.code == 2
    assert "wanted an ending like .png, .svg, .pdf, got" in capsys.readouterr().err


def test_compare_takes_names_as_they_are(runs, tmp_path, capsys):
    """Between dollars Matplotlib expects a formula."""
    odd = shutil.copytree(runs[0], tmp_path / "lr$_^$")
    assert "lr$_^$" in output(capsys, "compare", odd, "--out", tmp_path / "comparison.png")


def test_evaluate_finds_what_training_measured(runs, capsys):
    text = output(capsys, "evaluate", runs[0])
    assert widest(text) <= 80
    (accuracy,) = re.findall(r"^test accuracy (\S+)%", text, re.MULTILINE)
    metrics = (runs[0] / "metrics.json").read_text()
    assert f'"test_accuracy": {float(accuracy) / 100:.4g}' in metrics
    assert text.count("Ankle boot") == 2  # among the classes, and in the confusion matrix


@pytest.mark.parametrize("command", ["evaluate", "report"])
@pytest.mark.parametrize("epochs", [0, 1])
def test_the_test_set_is_not_read_before_training_is_over(runs, tmp_path, command, epochs, capsys):
    begun = shutil.copytree(runs[0], tmp_path / "begun")
    (begun / "metrics.json").unlink()
    history = (begun / "history.csv").read_text().splitlines()[: 1 + epochs]
    (begun / "history.csv").write_text("\n".join(history) + "\n")
    if not epochs:  # the first epoch is under way
        (begun / "history.csv").unlink()
        (begun / "model.safetensors").unlink()
    assert main([command, str(begun)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"tinygrad-fm: {begun} is not complete: {epochs} of 2 epochs, and the test set is read at "
        f"the end; go on with `tinygrad-fm train --resume {begun}`\n"
    )


def test_the_largest_confusions_fit_beside_the_names_of_their_classes():
    text = confusion_table(np.full((10, 10), 1000), CLOTHES)
    assert widest(text) <= 80
    assert re.search(r"^1 Trouser  ( +1000){10}$", text, re.MULTILINE)


# ---------------------------------------------------------------------------- bench, and pipes


def program(
    *arguments: str, path: Path = ROOT, environment: Mapping[str, str] = {}, **options: Any
) -> subprocess.CompletedProcess:
    """Run the program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tinygrad_fm", *arguments],
        env={**os.environ, "PYTHONPATH": str(path), **environment},
        stderr=subprocess.PIPE,
        encoding="utf-8",
        **options,
    )


def test_bench_hands_its_options_over():
    done = program("bench", "--models", "unknown")
    assert done.returncode == 2
    assert "python -m benchmarks: error: argument --models: invalid choice" in done.stderr


def test_bench_needs_a_checkout(tmp_path):
    shutil.copytree(ROOT / "tinygrad_fm", tmp_path / "tinygrad_fm")
    done = program("bench", path=tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "tinygrad-fm: bench needs the folder benchmarks/ of a checkout: run it in a clone\n"
    )


def test_a_reader_that_has_seen_enough():
    """As in `tinygrad-fm list | head -1`: no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    done = program("list", stdout=writing)
    os.close(writing)
    assert done.stderr == ""


@pytest.mark.parametrize("closed", [1, 2], ids=["stdout", "stderr"])
def test_a_closed_stream_is_no_failure(closed):
    """As in `tinygrad-fm list >&-`."""
    done = program("list", stdout=subprocess.PIPE, preexec_fn=lambda: os.close(closed))
    assert (done.returncode, done.stderr) == (0, "")
    assert ("cnn-bn" in done.stdout) == (closed == 2)


def test_what_goes_to_stderr_does_not_go_to_stdout_if_that_is_closed():
    done = program("evaluate", "nowhere", stdout=subprocess.PIPE, preexec_fn=lambda: os.close(2))
    assert (done.returncode, done.stdout) == (1, "")


def test_results_that_find_no_room():
    """Linux's /dev/full is a disk without room."""
    with open("/dev/full", "w") as full:
        done = program("list", stdout=full)
    assert (done.returncode, done.stderr) == (1, "tinygrad-fm: the disk is full, could not write\n")


def test_a_terminal_that_knows_few_signs():
    """Tables have lines and the bars have blocks, which not every encoding has."""
    done = program("list", environment={"PYTHONIOENCODING": "ascii"}, stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cnn-bn" in done.stdout

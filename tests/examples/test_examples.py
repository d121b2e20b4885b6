"""Each lesson runs from its first line to its last, says what it should, and draws its pictures."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from example_runner import ROOT, run

PICTURES = {
    "part1_numpy_by_hand": {"curves.png", "confusion.png"},
    "part2_mlp": {"curves.png", "confusion.png", "predictions.png"},
    "part3_cnn": {
        "curves.png",
        *(
            f"{name}-{kind}.png"
            for name in ("cnn", "cnn-bn")
            for kind in ("confusion", "predictions")
        ),
    },
    "autograd_tour": {"curves.png", "network"},
}


@pytest.mark.parametrize("example", PICTURES)
def test_runs_and_draws(example, lesson):
    output, out = lesson(example)
    assert "garments (built-in)" in output
    drawn = {path.name for path in out.iterdir()}
    if example == "autograd_tour":  # the graph is a picture only where Graphviz is installed
        drawn = {name.removesuffix(".svg").removesuffix(".dot") for name in drawn}
    assert drawn == PICTURES[example]
    assert all(path.stat().st_size > 500 for path in out.iterdir())


def test_gradients_by_hand_are_those_of_autograd(lesson):
    output, _ = lesson("part1_numpy_by_hand")
    differences = re.findall(r"^gradient of .* difference (\S+)$", output, re.MULTILINE)
    assert len(differences) == 4
    assert all(float(d) < 1e-6 for d in differences)


def test_the_loop_by_hand_learns(lesson):
    output, _ = lesson("part2_mlp")
    assert "109,386 parameters" in output
    (accuracy,) = re.findall(r"test accuracy on .*: (\S+)%", output)
    assert float(accuracy) > 50


def test_both_architectures_are_compared(lesson):
    output, _ = lesson("part3_cnn")
    rows = re.findall(r"^(cnn\S*) +([\d,]+) +\S+% +\S+% +(\S+)% +\d+$", output, re.MULTILINE)
    assert [(name, parameters) for name, parameters, _ in rows] == [
        ("cnn", "421,642"),
        ("cnn-bn", "241,994"),
    ]
    assert all(float(accuracy) > 50 for *_, accuracy in rows)


def test_the_tour_shows_every_stop(lesson):
    output, _ = lesson("autograd_tour")
    for text in (
        "made by      Add from ['Mul', 'Exp']",
        "a second backward: backward reached CrossEntropy a second time",
        "inside no_grad, requires_grad is False",
        "y.data[0] = 100: assignment destination is read-only",
        "x += 1: a leaf tensor that requires a gradient cannot be written into",
        "backward of Sqrt on 3 made NaN",
        "gradcheck passed",
    ):
        assert text in output


def test_the_tour_writes_dot_without_graphviz(tmp_path):
    result = run("autograd_tour", "--dataset=garments", "--epochs=1", "--out", tmp_path, PATH="")
    assert result.returncode == 0, result.stderr
    assert "needs Graphviz's dot program, which is not installed" in result.stdout
    assert (tmp_path / "network.dot").read_text().startswith("digraph {")


@pytest.mark.parametrize("example", PICTURES)
def test_missing_data_is_an_error_without_a_traceback(example, tmp_path):
    result = run(example, "--data-dir", tmp_path / "nowhere", "--out", tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith(("mnist is not in", "fashion-mnist is not in"))
    assert result.stderr.endswith("or use the built-in data set: --dataset garments\n")
    assert "Traceback" not in result.stderr


def test_pasted_into_a_notebook_the_defaults_hold(tmp_path):
    """In a notebook the arguments are the kernel's; ours must not choke on them."""
    cell = """
import sys
sys.modules["ipykernel"] = sys  # as if a kernel were running
from options import parse
print(parse("lesson", dataset="garments", epochs=3, lr=None))
"""
    result = subprocess.run(
        [sys.executable, "-c", cell, "-f", "kernel.json"],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'examples'}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "epochs=3" in result.stdout

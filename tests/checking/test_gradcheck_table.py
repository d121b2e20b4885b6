"""The printed table, and its verdict."""

import sys

import numpy as np
import pytest

from tinygrad_fm import ops
from tinygrad_fm.checking import table
from tinygrad_fm.checking.cases import CASES

FEW = [case for case in CASES if case.of in ("relu", "l1_loss", "nn.Linear", "dropout", "to")]


@pytest.fixture
def few_cases(monkeypatch):
    monkeypatch.setattr(table, "CASES", FEW)
    monkeypatch.setattr(table.run_all, "__defaults__", (FEW,))


def test_the_table_lists_each_name_once_in_80_columns(few_cases, capsys):
    assert table.print_table()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 79
    assert [line.split()[0] for line in lines[4:-3]] == [
        "to", "relu", "nn.Linear", "dropout", "l1_loss",
    ]  # fmt: skip
    assert f"5 operations, layers and losses, {len(FEW)} cases: all right" in lines
    random = sum(case.random for case in FEW)
    assert (
        f"{len(FEW) - random} cases compared with PyTorch, the first order in float64 and float32"
        in lines
    )


def test_a_broken_derivative_is_reported_and_the_verdict_is_false(few_cases, capsys, monkeypatch):
    monkeypatch.setattr(ops.ReLU, "backward", lambda node, grad: grad)
    assert not table.print_table()
    out = capsys.readouterr().out
    assert "FAILED relu: d(output" in out
    assert "FAILED relu: differs from PyTorch float64" in out
    assert "FAILURES" in out


def test_a_broken_second_derivative_is_reported(few_cases, capsys, monkeypatch):
    """On arrays, hence in first order, the tanh beneath is right."""
    right = ops.ReLU.backward
    monkeypatch.setattr(
        ops.ReLU,
        "backward",
        lambda node, grad: right(node, grad) * (1 if isinstance(grad, np.ndarray) else 2),
    )
    assert not table.print_table()
    lines = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if "FAILED relu" in line]
    assert "second order: d(output" in failed[0]
    assert "differs from PyTorch in second order" in failed[1]
    (row,) = (line.split() for line in lines if line.startswith("relu "))
    assert row[2:6] != row[6:]
    assert [float(error) > 0.1 for error in row[6:]] == [True, True]


def test_a_crash_is_reported_and_the_other_rows_are_still_printed(few_cases, capsys, monkeypatch):
    def crash(node, grad):
        raise RuntimeError("no derivative today")

    monkeypatch.setattr(ops.ReLU, "backward", crash)
    assert not table.print_table()
    out = capsys.readouterr().out
    assert "FAILED relu: RuntimeError: no derivative today" in out
    assert "\nl1_loss" in out


def test_without_pytorch_the_table_says_so(few_cases, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tinygrad_fm.reference.operations", None)
    assert table.print_table()
    out = capsys.readouterr().out
    assert "PyTorch is not installed" in out
    assert "l1_loss" in out

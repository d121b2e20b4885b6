"""Tensor methods, functions and activations at their edges, beside PyTorch."""

from pathlib import Path

import pytest
from edges.judge import surprises
from edges.tensor_known import KNOWN
from edges.tensor_table import ALONE, MADE, TWO, cases

ROWS = (*ALONE, *TWO, *MADE)


@pytest.mark.parametrize("row", ROWS)
def test_an_expression_is_as_in_pytorch_or_known_to_differ(row):
    found = surprises(cases(row), KNOWN.get(row, ()))
    assert not found, "\n".join(found)


def test_known_differences_are_of_the_table_and_in_the_documentation():
    assert set(KNOWN) <= set(ROWS)
    page = (Path(__file__).parents[2] / "docs/pytorch.md").read_text(encoding="utf-8")
    reasons = {known.reason for row in KNOWN.values() for known in row}
    assert {reason for reason in reasons if f"\n| {reason} |" not in page} == set()

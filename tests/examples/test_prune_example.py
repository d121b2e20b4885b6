"""The pruning example: a row for each sparsity, and zeros that stay."""

from __future__ import annotations

import re


def test_accuracy_is_told_for_every_sparsity(lesson):
    output, out = lesson("prune")
    rows = re.findall(r"^ *(\S+)% +(\S+)% +(\S+)%$", output, re.MULTILINE)
    sparsity, untrained, tuned = zip(*(map(float, row) for row in rows), strict=True)
    assert sparsity == (0, 50, 80, 90, 95, 98, 99)
    assert untrained[0] == tuned[0] > 50
    assert tuned[3] > 50  # nine tenths gone
    assert sum(tuned) > sum(untrained)
    (zeros, accuracy) = re.findall(r"^(\d+)% of the weights .* accuracy (\S+)%", output, re.M)[0]
    assert int(zeros) in sparsity
    assert float(accuracy) > 50
    assert (out / "sparsity.png").stat().st_size > 1000

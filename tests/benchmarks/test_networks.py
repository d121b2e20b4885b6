"""The networks of the benchmark compute the same in both libraries."""

import pytest

pytest.importorskip("torch")

from benchmarks.architectures import ARCHITECTURES
from benchmarks.networks import contenders


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_losses_are_those_of_pytorch(name):
    steps = contenders(name, 4, planned=True)
    losses = {side: [float(step().detach()) for _ in range(4)] for side, step in steps.items()}
    assert losses["ours"] == pytest.approx(losses["torch"], rel=2e-5)
    assert losses["torch_channels_last"] == pytest.approx(losses["torch"], rel=2e-5)

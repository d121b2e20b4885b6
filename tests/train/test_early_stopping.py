"""Early stopping: stops when it should, and gives back the best weights bit for bit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinygrad_fm import nn
from tinygrad_fm.train.early_stopping import EarlyStopping
from tinygrad_fm.train.history import EpochRow


def row(epoch: int, value: float) -> EpochRow:
    """An epoch whose validation loss and accuracy are both `value`."""
    return EpochRow(epoch, 0.0, 0.0, value, value, 0.1, 1.0)


def run(early_stopping: EarlyStopping, values: list[float], model: nn.Module) -> int:
    """Feed epochs until the stop, changing the weights in each; the epoch of the stop, or 0."""
    for epoch, value in enumerate(values, start=1):
        fill(model, epoch)
        early_stopping.update(row(epoch, value), model)
        if early_stopping.should_stop:
            return epoch
    return 0


def fill(model: nn.Module, epoch: int) -> None:
    rng = np.random.default_rng(epoch)
    for array in model.state_dict().values():
        array[...] = rng.standard_normal(array.shape)


def small_model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.mark.parametrize(
    ("options", "values", "stop", "best"),
    [
        ({"patience": 2}, [5, 4, 3, 3, 3, 1], 5, 3),  # equal is not better
        ({"patience": 2}, [5, 6, 4, 5, 3, 4], 0, 5),  # never two bad ones in a row
        ({"patience": 1}, [5, 4, 4.5], 3, 2),
        ({"patience": 2, "min_delta": 0.5}, [5, 4.6, 4.4, 4.0, 3.95], 5, 3),
        ({"patience": 2}, [math.nan, 5, math.nan, math.nan], 4, 2),
        ({"patience": 2}, [math.inf, math.nan, 1], 2, 0),
        ({"patience": 2, "monitor": "val_accuracy"}, [0.5, 0.7, 0.7, 0.6, 0.9], 4, 2),
        ({"patience": 2, "monitor": "val_accuracy"}, [0.0, 0.1, 0.2], 0, 3),
    ],
)
def test_stops_at_the_right_epoch_and_remembers_the_best(options, values, stop, best):
    early_stopping = EarlyStopping(**options)
    assert run(early_stopping, values, small_model()) == stop
    assert early_stopping.best_epoch == best
    if best:
        assert early_stopping.best_value == values[best - 1]


def test_restores_the_best_weights_and_buffers_bit_for_bit():
    model = small_model()
    early_stopping = EarlyStopping(patience=2)
    run(early_stopping, [3, 2, 4, 5], model)
    early_stopping.restore(model)

    best = small_model()
    fill(best, epoch=2)
    for name, array in best.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array)

    fill(model, epoch=9)  # the copies are not tied to the model by restoring
    early_stopping.restore(model)
    for name, array in best.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array)


def test_nothing_to_restore_is_an_error():
    model = small_model()
    early_stopping = EarlyStopping(patience=5)
    run(early_stopping, [math.nan, math.nan], model)
    with pytest.raises(RuntimeError, match="val_loss was never a finite number"):
        early_stopping.restore(model)


@pytest.mark.parametrize(
    "options",
    [{"patience": 0}, {"patience": 1, "min_delta": -1.0}, {"patience": 1, "monitor": "x"}],
)
def test_bad_arguments_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        EarlyStopping(**options)

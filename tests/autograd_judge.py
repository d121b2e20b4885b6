"""One script, run in both libraries: the same nest of tensors, and the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import tinygrad_fm as tg
from tinygrad_fm import Tensor


def both(script: Any, *arrays: np.ndarray) -> None:
    """`script(lib, *tensors)` returns nested tensors: the same nest and the same numbers."""
    ours = script(tg, *map(tg.from_numpy, arrays))
    theirs = script(torch, *map(torch.tensor, arrays))
    assert_alike(ours, theirs)


def assert_alike(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, Tensor)
        assert ours.requires_grad == theirs.requires_grad
        assert ours.shape == tuple(theirs.shape)
        assert str(ours.dtype) == str(theirs.dtype).split(".")[1]
        np.testing.assert_allclose(ours.data, theirs.detach(), rtol=1e-10, atol=1e-12)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        assert_alike(list(ours.values()), list(theirs.values()))
    elif isinstance(theirs, (tuple, list)):
        assert type(ours) is type(theirs)
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_alike(a, b)
    else:
        assert ours == theirs

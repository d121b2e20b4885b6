"""The library's one source of randomness: a seeded `numpy.random.Generator`."""

from __future__ import annotations

import numpy as np

_default = np.random.default_rng()


def manual_seed(seed: int) -> np.random.Generator:
    """Reseed the default generator, which initialisation, dropout and shuffling draw from.

    The generator object stays the same, so that a layer holding it sees the new seed as well.

    Raises:
        ValueError: if `seed` is negative.
    """
    if seed < 0:
        raise ValueError(f"manual_seed expects an integer of at least 0, got {seed}")
    _default.bit_generator.state = np.random.PCG64(seed).state
    return _default


def default_generator() -> np.random.Generator:
    """The generator used wherever none is passed."""
    return _default

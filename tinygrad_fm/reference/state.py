"""Our weights in PyTorch's own file."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import torch


def state_dict_file(state: Mapping[str, np.ndarray]) -> bytes:
    """What `torch.load(file, weights_only=True)` gives back as a state dict."""
    file = io.BytesIO()
    torch.save({name: torch.tensor(array) for name, array in state.items()}, file)
    return file.getvalue()

"""Our weights in PyTorch's own file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch


def save_state_dict(state: Mapping[str, np.ndarray], path: Path) -> None:
    """What `torch.load(path, weights_only=True)` gives back as a state dict."""
    file = io.BytesIO()  # torch.save would tell of a full disk in words of its own
    torch.save({name: torch.tensor(array) for name, array in state.items()}, file)
    path.write_bytes(file.getvalue())

"""Importing torchvision where only its Python half loads.

A torchvision built for another PyTorch than the one beside it cannot load its compiled operations,
and then refuses to be imported because two of them are undeclared. Its transforms and data sets
need neither.
"""

from __future__ import annotations

from types import ModuleType

import torch

DECLARATIONS = torch.library.Library("torchvision", "FRAGMENT")  # undone if it were collected
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_torchvision() -> ModuleType:
    """Return torchvision, declaring what it asks for if its extension did not load."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in ("nms", "qnms"):
            DECLARATIONS.define(name + SIGNATURE)
        import torchvision
    return torchvision

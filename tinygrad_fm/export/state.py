"""A run's weights by PyTorch's names: `twin.load_state_dict` takes them as they are."""

from __future__ import annotations

from pathlib import Path

from tinygrad_fm.export.error import ExportError
from tinygrad_fm.recipes.features import training_facts
from tinygrad_fm.recipes.weights import save_weights
from tinygrad_fm.runs import SavedRun


def write_safetensors(run: SavedRun, path: Path) -> None:
    """Write the state dict with what is needed to use it: recipe, classes, normalisation."""
    facts = training_facts(run.recipe, run.seed) | {
        "classes": ", ".join(run.classes),
        "mean": repr(run.normalise.mean),
        "std": repr(run.normalise.std),
    }
    save_weights(run.own_model(), path, facts)


def write_torch(run: SavedRun, path: Path) -> None:
    """Write the state dict by `torch.save`; needs PyTorch.

    Raises:
        ExportError: PyTorch is not installed.
    """
    try:
        from tinygrad_fm.reference.state import save_state_dict
    except ImportError as error:
        raise ExportError(
            "PyTorch is not installed; install it, or export to safetensors, which PyTorch reads "
            "with safetensors.torch.load_file"
        ) from error
    save_state_dict(run.own_model().state_dict(), path)

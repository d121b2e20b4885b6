"""A run's weights by PyTorch's names: `twin.load_state_dict` takes them as they are."""

from __future__ import annotations

from tinygrad_fm.errors import ExportError
from tinygrad_fm.recipes.features import training_facts
from tinygrad_fm.recipes.weights import weights_file
from tinygrad_fm.runs import SavedRun


def safetensors_file(run: SavedRun) -> bytes:
    """The state dict with what is needed to use it: recipe, classes, normalisation."""
    facts = training_facts(run.recipe, run.seed) | {
        "classes": ", ".join(run.classes),
        "mean": repr(run.normalise.mean),
        "std": repr(run.normalise.std),
    }
    return weights_file(run.own_model(), facts)


def torch_file(run: SavedRun) -> bytes:
    """The state dict by `torch.save`; needs PyTorch.

    Raises:
        ExportError: PyTorch is not installed.
    """
    try:
        from tinygrad_fm.reference.state import state_dict_file
    except ImportError as error:
        raise ExportError(
            "PyTorch is not installed; install it with `python -m pip install "
            "'tinygrad-fm[reference]'`, or export to safetensors, which PyTorch reads "
            "with safetensors.torch.load_file"
        ) from error
    return state_dict_file(run.own_model().state_dict())

"""A run as an ONNX file that takes pixels and gives probabilities: nothing is left to remember.

    images         uint8 (batch, 1, 28, 28), pixels 0 to 255 as the data set has them
    probabilities  float32 (batch, 10), of the classes named in the file's metadata

Normalisation comes first in the graph, the way from the model's outputs to probabilities last.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_fm.data import Normalize
from tinygrad_fm.export.error import ExportError
from tinygrad_fm.nn import Module
from tinygrad_fm.recipes.recipe import proportional, softmax
from tinygrad_fm.runs import SavedRun

if TYPE_CHECKING:
    from onnx import ModelProto

    from tinygrad_fm.export.onnx_graph import Graph

OPSET, IR_VERSION = 17, 8  # of 2022: old enough for the runtimes in use, new enough for us


def onnx_file(run: SavedRun) -> bytes:
    """The run's model with its normalisation; needs the package onnx.

    Raises:
        ExportError: onnx is not installed, or it has no operator for a layer.
    """
    try:
        import onnx
    except ImportError as error:
        raise ExportError(
            "the package onnx is not installed; install it with `pip install onnx`, "
            "or export to safetensors, which needs nothing"
        ) from error
    model = as_onnx(run.model(), run.normalise, run.recipe.probabilities)
    model.graph.name = run.recipe.name
    facts = {"recipe": run.recipe.name, "classes": json.dumps(run.classes)}
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def as_onnx(
    model: Module, normalise: Normalize, probabilities: Callable[[np.ndarray], np.ndarray]
) -> ModelProto:
    """A trained model as an ONNX model, see above.

    Args:
        normalise: the transform of float images 0 to 1 that the model was trained with.
        probabilities: the recipe's way from outputs to probabilities.

    Raises:
        ExportError: a layer or a way to probabilities that has no ONNX operator here.
    """
    from onnx import TensorProto, helper

    from tinygrad_fm.export.onnx_graph import Graph

    graph = Graph()
    x = _normalised(graph, "images", normalise)
    outputs = graph.add(model, x)
    last = _probabilities(graph, outputs, probabilities)
    graph.nodes.append(helper.make_node("Identity", [last], ["probabilities"]))
    made = helper.make_graph(
        graph.nodes,
        "model",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 1, 28, 28])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        graph.weights,
        doc_string="images: uint8 pixels 0 to 255, light on black; probabilities of the classes",
    )
    return helper.make_model(
        made,
        producer_name="tinygrad_fm",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


def _normalised(graph: Graph, images: str, normalise: Normalize) -> str:
    """(pixels / 255 - mean) / std."""
    from onnx import TensorProto

    assert isinstance(normalise.mean, float)
    assert isinstance(normalise.std, float)
    pixels = graph.node("Cast", images, to=TensorProto.FLOAT)
    shares = graph.node("Div", pixels, graph.scalar(255))
    centred = graph.node("Sub", shares, graph.scalar(normalise.mean))
    return graph.node("Div", centred, graph.scalar(normalise.std))


def _probabilities(
    graph: Graph, outputs: str, probabilities: Callable[[np.ndarray], np.ndarray]
) -> str:
    if probabilities is softmax:
        return graph.node("Softmax", outputs, axis=1)
    if probabilities is np.exp:
        return graph.node("Exp", outputs)
    if probabilities is proportional:
        total = graph.node("ReduceSum", outputs, graph.weight(np.array([1])), keepdims=1)
        return graph.node("Div", outputs, total)
    raise ExportError(
        f"ONNX export does not know the probabilities {probabilities!r}; it knows softmax, "
        "numpy.exp and proportional"
    )

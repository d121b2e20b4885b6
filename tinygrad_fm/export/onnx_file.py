"""A module as an ONNX file, and a run as one that takes pixels and gives probabilities.

    images         uint8 (batch, 1, 28, 28), pixels 0 to 255 as the data set has them
    probabilities  float32 (batch, 10), of the classes named in the file's metadata

With a run nothing is left to remember: normalisation comes first in the graph, the way from the
model's outputs to probabilities last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.data import Normalize
from tinygrad_fm.errors import ExportError
from tinygrad_fm.nn import Module
from tinygrad_fm.recipes.recipe import proportional, softmax
from tinygrad_fm.runs import SavedRun

if TYPE_CHECKING:
    from onnx import ValueInfoProto

    from tinygrad_fm.export.onnx_graph import Graph

OPSET, IR_VERSION = 17, 8  # of 2022: old enough for the runtimes in use, new enough for us


def onnx(model: Module, *examples: Tensor) -> bytes:
    """A module, however its `forward` is written, as an ONNX file; needs the package onnx.

    The module runs in evaluation mode on the examples, and on a batch of another size, and its
    operations become the file's. Inputs are called `input` (`input_0`, `input_1`, … if there are
    several), outputs likewise. The first axis of the first example is the batch, whose size is
    free, and so is that of every other example with as long a first axis. Branches of Python are
    taken as for the examples.

    Args:
        examples: what `forward` takes: tensors of at least one axis, with values as they will be.

    Raises:
        ExportError: onnx is not installed, it has no operator for an operation, or a number that
            the model computes outside of its operations depends on the input.
        RuntimeError: the module writes into a tensor in place.
    """
    if not examples or any(x.ndim == 0 or x.numel() == 0 for x in examples):
        raise ExportError("ONNX export wants an example of each input, with at least one element")
    graph = _graph()
    from tinygrad_fm.export.onnx_graph import info

    names = _numbered("input", len(examples))
    given = [
        info(name, x.dtype, (-1, *x.shape[1:]) if len(x) == len(examples[0]) else x.shape)
        for name, x in zip(names, examples, strict=True)
    ]
    outputs = graph.add(model, examples, names)
    results = []
    for name, (last, result) in zip(_numbered("output", len(outputs)), outputs, strict=True):
        graph.node("Identity", last, name=name)
        result.name = name
        results.append(result)
    return _file(graph, given, results)


def onnx_file(run: SavedRun) -> bytes:
    """The run's model with its normalisation; needs the package onnx.

    Raises:
        ExportError: onnx is not installed, or it has no operator for an operation.
    """
    graph = _graph()
    from tinygrad_fm.export.onnx_graph import info

    x = _normalised(graph, "images", run.normalise)
    example = np.random.default_rng(0).normal(size=(2, 1, 28, 28)).astype(np.float32)
    ((outputs, _),) = graph.add(run.model(), [Tensor(example)], [x])
    last = _probabilities(graph, outputs, run.recipe.probabilities)
    graph.node("Identity", last, name="probabilities")
    return _file(
        graph,
        [info("images", np.dtype(np.uint8), (-1, 1, 28, 28))],
        [info("probabilities", np.dtype(np.float32), (-1, 10))],
        name=run.recipe.name,
        doc="images: uint8 pixels 0 to 255, light on black; probabilities of the classes",
        facts={"recipe": run.recipe.name, "classes": json.dumps(run.classes)},
    )


def _graph() -> Graph:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ExportError(
            "the package onnx is not installed; install it with "
            "`python -m pip install 'tinygrad-fm[export]'`, "
            "or export to safetensors, which needs nothing"
        ) from error
    from tinygrad_fm.export.onnx_graph import Graph

    return Graph()


def _numbered(word: str, count: int) -> list[str]:
    return [word] if count == 1 else [f"{word}_{i}" for i in range(count)]


def _file(
    graph: Graph,
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    name: str = "model",
    doc: str = "",
    facts: dict[str, str] | None = None,
) -> bytes:
    from onnx import checker, helper, shape_inference

    made = helper.make_graph(graph.nodes, name, inputs, outputs, graph.weights, doc_string=doc)
    model = helper.make_model(
        made,
        producer_name="tinygrad_fm",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, facts or {})
    try:
        checker.check_model(model, full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        raise ExportError(f"ONNX does not allow this model: {error}") from error
    return model.SerializeToString()


def _normalised(graph: Graph, images: str, normalise: Normalize) -> str:
    """(pixels / 255 - mean) / std."""
    from onnx import TensorProto

    assert isinstance(normalise.mean, float)
    assert isinstance(normalise.std, float)
    pixels = graph.node("Cast", images, to=TensorProto.FLOAT)
    shares = graph.node("Div", pixels, graph.weight(np.float32(255)))
    centred = graph.node("Sub", shares, graph.weight(np.float32(normalise.mean)))
    return graph.node("Div", centred, graph.weight(np.float32(normalise.std)))


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

"""A module in evaluation mode as the nodes of an ONNX graph.

One function a layer type, in the table `WRITERS`: it adds the layer's nodes to the graph and
returns the name of their output. Operators: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tinygrad_fm import nn
from tinygrad_fm.export.error import ExportError
from tinygrad_fm.recipes.cnn_5conv import FiveConvolutions
from tinygrad_fm.recipes.resnet import BasicBlock


class Graph:
    """Nodes and weights as they are added, in order."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def weight(self, array: np.ndarray) -> str:
        """Add an array; returns its name."""
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def scalar(self, value: float) -> str:
        return self.weight(np.array(value, np.float32))

    def add(self, module: nn.Module, x: str) -> str:
        """Add a module, x being its input.

        Raises:
            ExportError: a type of module that `WRITERS` does not have.
        """
        if type(module) not in WRITERS:
            raise ExportError(
                f"ONNX export does not know {type(module).__name__}; it knows "
                f"{', '.join(kind.__name__ for kind in WRITERS)}. "
                "Add a function to WRITERS in tinygrad_fm/export/onnx_graph.py"
            )
        return WRITERS[type(module)](self, module, x)


# ------------------------------------------------------------------------------------- layers


def _linear(graph: Graph, layer: Any, x: str) -> str:
    weights = [graph.weight(p.data) for p in (layer.weight, layer.bias) if p is not None]
    return graph.node("Gemm", x, *weights, transB=1)


def _conv(graph: Graph, layer: Any, x: str) -> str:
    if isinstance(layer.padding, str):
        raise ExportError(f"ONNX export wants padding in numbers, got {layer.padding!r}")
    weights = [graph.weight(p.data) for p in (layer.weight, layer.bias) if p is not None]
    return graph.node(
        "Conv",
        x,
        *weights,
        strides=_pair(layer.stride),
        pads=_pair(layer.padding) * 2,  # top, left, bottom, right
        dilations=_pair(layer.dilation),
        group=layer.groups,
    )


def _batch_norm(graph: Graph, layer: Any, x: str) -> str:
    if layer.weight is None or layer.running_mean is None:
        raise ExportError("ONNX export wants batch norm with weights and running estimates")
    tensors = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    weights = [graph.weight(tensor.data) for tensor in tensors]
    return graph.node("BatchNormalization", x, *weights, epsilon=layer.eps)


def _max_pool(graph: Graph, layer: Any, x: str) -> str:
    return graph.node(
        "MaxPool",
        x,
        kernel_shape=_pair(layer.kernel_size),
        strides=_pair(layer.kernel_size if layer.stride is None else layer.stride),
        pads=_pair(layer.padding) * 2,
        dilations=_pair(layer.dilation),
        ceil_mode=int(layer.ceil_mode),
    )


def _global_average(graph: Graph, layer: Any, x: str) -> str:
    if layer.output_size not in (1, (1, 1)):
        raise ExportError(
            f"ONNX export knows AdaptiveAvgPool2d(1) only, got output_size={layer.output_size}"
        )
    return graph.node("GlobalAveragePool", x)


def _flatten(graph: Graph, layer: Any, x: str) -> str:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        raise ExportError("ONNX export knows Flatten() only, which keeps the batch's axis")
    return graph.node("Flatten", x, axis=1)


def _log_softmax(graph: Graph, layer: Any, x: str) -> str:
    return graph.node("LogSoftmax", x, axis=layer.dim)


def _relu(graph: Graph, layer: nn.Module, x: str) -> str:
    return graph.node("Relu", x)


def _sigmoid(graph: Graph, layer: nn.Module, x: str) -> str:
    return graph.node("Sigmoid", x)


def _nothing(graph: Graph, layer: nn.Module, x: str) -> str:
    return x


# ------------------------------------------------------------------------------------- models


def _sequential(graph: Graph, layers: Any, x: str) -> str:
    for layer in layers:
        x = graph.add(layer, x)
    return x


def _five_convolutions(graph: Graph, model: Any, x: str) -> str:
    return graph.add(model.classifier, graph.add(model.features, x))


def _basic_block(graph: Graph, block: Any, x: str) -> str:
    both = graph.add(block.residual, x), graph.add(block.shortcut, x)
    return graph.node("Relu", graph.node("Add", *both))


WRITERS: dict[type[nn.Module], Callable[[Graph, Any, str], str]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool,
    nn.AdaptiveAvgPool2d: _global_average,
    nn.Flatten: _flatten,
    nn.ReLU: _relu,
    nn.Sigmoid: _sigmoid,
    nn.LogSoftmax: _log_softmax,
    nn.Dropout: _nothing,  # does nothing in evaluation
    nn.Identity: _nothing,
    nn.Sequential: _sequential,
    FiveConvolutions: _five_convolutions,
    BasicBlock: _basic_block,
}


def _pair(size: int | tuple[int, int]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)

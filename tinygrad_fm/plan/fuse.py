"""Operations of a trace that are faster taken together, found by what flows between them.

Each pattern starts at one operation and follows its result through operations that are its only
readers. What stands in their place gives the same results up to rounding, and is an operation with
its own tests and twin (`ops/fast/conv_block.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from tinygrad_fm import ops
from tinygrad_fm.ops.pool import HALVING
from tinygrad_fm.plan.chains import with_chains
from tinygrad_fm.plan.trace import Node, Trace

CONVOLUTIONS = (ops.Conv2d, ops.Conv3x3)


class FoldedWeight(ops.Function):
    """γ/√(σ² + eps)·w for each channel of the output: what a norm in evaluation makes of w."""

    def forward(
        self, weight: np.ndarray, gamma: np.ndarray, variance: np.ndarray, eps: float
    ) -> np.ndarray:
        return weight * (gamma / np.sqrt(variance + eps)).reshape(-1, *(1,) * (weight.ndim - 1))


class FoldedBias(ops.Function):
    """γ/√(σ² + eps)·(b - μ) + β, b being 0 where there is none."""

    def forward(
        self,
        gamma: np.ndarray,
        beta: np.ndarray,
        mean: np.ndarray,
        variance: np.ndarray,
        *bias: np.ndarray,
        eps: float,
    ) -> np.ndarray:
        return gamma / np.sqrt(variance + eps) * (sum(bias) - mean) + beta


def fuse(trace: Trace, recording: bool = True) -> Trace:
    """The same trace with fewer, larger operations."""
    if not recording:
        graph = _Graph(trace)
        for node in trace.nodes:
            if node.operation in (*CONVOLUTIONS, ops.Linear):
                graph.fold_norm(node)
        trace = replace(trace, nodes=list(graph.nodes()), specs=graph.specs)
    graph = _Graph(trace)
    for node in trace.nodes:
        if node.operation is ops.Conv3x3:
            graph.conv_block(node)
        if node.output in graph.gone:
            continue
        if issubclass(node.operation, ops.Conv2d):  # the transposed one as well
            graph.conv_relu(node)
        elif node.operation is ops.BatchNorm:
            graph.norm_relu(node)
        elif node.operation is ops.LogSoftmax:
            graph.cross_entropy(node)
    return with_chains(replace(trace, nodes=list(graph.nodes())))


class _Graph:
    """Who reads which value, and what has taken whose place."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.specs = trace, list(trace.specs)
        self.readers: dict[int, list[Node]] = {}
        for node in trace.nodes:
            for value in node.inputs:
                self.readers.setdefault(value, []).append(node)
        self.places = {node.output: i for i, node in enumerate(trace.nodes)}
        self.gone: set[int] = set()  # outputs of operations that are a part of another now
        self.instead: dict[int, tuple[Node, ...]] = {}  # by the last one's output

    def nodes(self) -> Iterator[Node]:
        for node in self.trace.nodes:
            if node.output in self.instead:
                yield from self.instead[node.output]
            elif node.output not in self.gone:
                yield node

    def only_reader(self, node: Node, operation: type[ops.Function]) -> Node | None:
        """The operation that alone reads the node's output, as its first input."""
        found = self.readers.get(node.output, [])
        if len(found) != 1 or node.output in self.trace.outputs:
            return None
        (reader,) = found
        fits = reader.operation is operation and reader.output not in self.gone
        if operation is not ops.Add:
            fits = fits and reader.inputs[0] == node.output
        return reader if fits else None

    def can_wait(self, norm: Node, end: Node) -> bool:
        """Whether running estimates may move as late as at `end`: nobody else uses them before."""
        moved = set(norm.operation.moved(norm.inputs, **norm.options))
        between = self.trace.nodes[self.places[norm.output] + 1 : self.places[end.output]]
        return not any(moved.intersection(node.inputs) for node in between)

    def replace(self, parts: Iterable[Node | None], *new: Node) -> None:
        self.gone.update(node.output for node in parts if node is not None)
        self.instead[new[-1].output] = new

    def fold_norm(self, layer: Node) -> None:
        """A convolution or linear layer before a norm in evaluation: its weights take the norm."""
        norm = self.only_reader(layer, ops.BatchNorm)
        if norm is None or norm.options["training"] or not norm.options["affine"]:
            return
        x, weight, *bias = layer.inputs
        _, gamma, beta, mean, variance = norm.inputs
        eps = {"eps": norm.options["eps"]}
        new_weight, new_bias = len(self.specs), len(self.specs) + 1
        self.specs += [self.specs[weight], self.specs[beta]]
        self.replace(
            [layer, norm],
            Node(FoldedWeight, (weight, gamma, variance), eps, new_weight),
            Node(FoldedBias, (gamma, beta, mean, variance, *bias), eps, new_bias),
            Node(layer.operation, (x, new_weight, new_bias), layer.options, norm.output),
        )

    def sum_relu(self, node: Node) -> tuple[Node | None, Node | None, tuple[int, ...]]:
        """What follows a node: the sum with another value, ReLU, and that value, if there are any.

        Without ReLU there is neither; a sum that is no such sum has no ReLU either.
        """
        plus = self.only_reader(node, ops.Add)
        relu = self.only_reader(plus or node, ops.ReLU)
        added = tuple(v for v in plus.inputs if v != node.output) if plus else ()
        if plus and (len(added) != 1 or self.shape(added[0]) != self.shape(node.output)):
            return None, None, ()
        return plus, relu, added

    def norm_relu(self, norm: Node) -> None:
        """BatchNorm [+ z] - ReLU."""
        plus, relu, added = self.sum_relu(norm)
        if relu is not None and self.can_wait(norm, relu):
            how = {**norm.options, "relu": True, "residual": plus is not None}
            fused = Node(ops.BatchNorm, (*norm.inputs, *added), how, relu.output)
            self.replace([norm, plus, relu], fused)

    def conv_relu(self, conv: Node) -> None:
        """Convolution [+ z] - ReLU, or convolution - ReLU - max pool."""
        plus, relu, added = self.sum_relu(conv)
        if relu is None:
            return
        one = self.shape(conv.output)[0] == 1  # image, which `OneImage` convolves
        pool = None if plus or one else self.only_reader(relu, ops.MaxPool2d)
        how = {**conv.options, "relu": True, "residual": plus is not None}
        if pool is not None:
            how["window"] = pool.options["window"]
        fused = Node(conv.operation, (*conv.inputs, *added), how, (pool or relu).output)
        self.replace([conv, plus, relu, pool], fused)

    def conv_block(self, conv: Node) -> None:
        """conv 3×3 - [BatchNorm in training] - ReLU - max pool 2."""
        norm = self.only_reader(conv, ops.BatchNorm)
        if norm is not None and not (norm.options["training"] and norm.options["affine"]):
            return
        relu = self.only_reader(norm or conv, ops.ReLU)
        pool = self.only_reader(relu, ops.MaxPool2d) if relu else None
        if pool is None or pool.options["window"] != HALVING or 0 in self.shape(pool.output):
            return
        x, weight, *bias = conv.inputs
        if norm is None:
            block = Node(ops.ConvBlock, conv.inputs, {}, pool.output)
        elif not self.can_wait(norm, pool):
            return
        else:
            _, gamma, beta, *running = norm.inputs
            how = {name: norm.options[name] for name in ("momentum", "eps")}
            inputs = (x, weight, gamma, beta, *bias, *running)
            block = Node(ops.ConvNormBlock, inputs, {**how, "bias": bool(bias)}, pool.output)
        self.replace([conv, norm, relu, pool], block)

    def cross_entropy(self, logarithms: Node) -> None:
        """log-softmax over classes - negative log-likelihood."""
        loss = self.only_reader(logarithms, ops.NLLLoss)
        if loss is not None and logarithms.options["axis"] == 1:
            inputs = (*logarithms.inputs, *loss.inputs[1:])
            block = Node(ops.CrossEntropy, inputs, loss.options, loss.output)
            self.replace([logarithms, loss], block)

    def shape(self, value: int) -> tuple[int, ...]:
        return self.specs[value].shape

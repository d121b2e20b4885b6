"""A module as the nodes of an ONNX graph, read from the operations that it carries out.

One function an operation, in the table `WRITERS`: it adds nodes to the graph and returns the name
of their output. Operators: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from tinygrad_fm import ops
from tinygrad_fm.autograd.mode import no_grad, running
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.errors import ExportError
from tinygrad_fm.nn import Module
from tinygrad_fm.ops.conv import PLAIN
from tinygrad_fm.ops.pool import spans_of
from tinygrad_fm.ops.shape import ARRAY
from tinygrad_fm.plan.trace import Tracer, needed

Sizes = tuple[int, ...]  # of a tensor; -k stands for k times the batch


@dataclass(frozen=True, eq=False)
class Step:
    """One operation that was carried out: `output = operation(*inputs, **options)`."""

    operation: type[ops.Function]
    inputs: tuple[np.ndarray, ...]
    options: Mapping[str, Any]
    output: np.ndarray


class Captured(NamedTuple):
    """What a module did. An array is known by its identity.

    Attributes:
        inputs: the arrays that it was given.
        steps: the operations that lead from an input to an output, in order. An array among a
            step's inputs that is neither an input nor another step's output is a constant: a
            parameter, a number, or what operations on these alone have made.
        outputs: the arrays that it returned.
        wiring: which operation takes what from where, by number; None is a constant.
    """

    inputs: list[np.ndarray]
    steps: list[Step]
    outputs: list[np.ndarray]
    wiring: list[tuple]


class Capture(Tracer):
    """Takes apart the operations that should be no step, and lets nobody write into results."""

    def __call__(self, node: ops.Function, method: Any, arrays: tuple, how: dict) -> Any:
        apart = _parts(type(node))
        if apart is not None:
            return apart(*map(Tensor, arrays), **how).data
        y = super().__call__(node, method, arrays, how)
        if not any(y is x for x in arrays):
            y.flags.writeable = False
        return y


def capture(function: Callable[..., Any], *inputs: Tensor) -> Captured:
    """Call a function of tensors, which returns a tensor or several, and note its operations.

    Raises:
        RuntimeError: if the function writes into one of its inputs or results: that is no step.
        TypeError: if it returns anything but tensors.
    """
    given = [Tensor(x.data.copy(order="K")) for x in inputs]
    for x in given:
        x.data.flags.writeable = False
    tracer = Capture(given)
    with no_grad(), running(tracer):
        try:
            result = function(*given)
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            raise RuntimeError(
                "writing in place cannot be captured; compute a new tensor, as in x = x + y"
            ) from error
    outputs = result if isinstance(result, tuple | list) else (result,)
    if not all(isinstance(y, Tensor) for y in outputs):
        raise TypeError(f"a tensor or a tuple of tensors is wanted, got {type(result).__name__}")
    ends = [tracer.source(y.data) for y in outputs]
    live, nodes = set(tracer.inputs), []
    for node in tracer.nodes:
        if live.intersection(node.inputs):
            live.add(node.output)
            nodes.append(node)
    nodes = needed(nodes, ends, effects=False)
    of = tracer.arrays
    steps = [Step(f, tuple(of[x] for x in xs), options, of[y]) for f, xs, options, y in nodes]
    names = {v: i for i, v in enumerate([*tracer.inputs, *(node.output for node in nodes)])}
    wiring: list[tuple] = [(node.operation, *map(names.get, node.inputs)) for node in nodes]
    wiring.append(tuple(map(names.get, ends)))
    return Captured([x.data for x in given], steps, [y.data for y in outputs], wiring)


class Graph:
    """Nodes and weights as they are added, in order."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.names: dict[int, str] = {}  # of arrays, by identity
        self.batch = ""  # the first input, whose first axis is the batch

    def node(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        name = name or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def weight(self, array: np.ndarray, name: str = "constant") -> str:
        """Add an array; returns its name."""
        name = f"{name}_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def number(self, value: Any, like: np.ndarray) -> str:
        """Add a number of an array's dtype."""
        return self.weight(np.array(value, like.dtype))

    def whole(self, *values: int) -> str:
        """Add a list of integers."""
        return self.weight(np.array(values, np.int64))

    def sizes(self, sizes: Sizes) -> str:
        """Sizes as a tensor, of which some depend on the batch."""
        if min(sizes, default=0) >= 0:
            return self.whole(*sizes)
        batch = self.node("Shape", self.batch, start=0, end=1)
        parts = [
            self.whole(n) if n >= 0 else self.node("Mul", batch, self.whole(-n)) for n in sizes
        ]
        return self.node("Concat", *parts, axis=0)

    def add(
        self, model: Module, examples: Sequence[Tensor], names: Sequence[str]
    ) -> list[tuple[str, ValueInfoProto]]:
        """Add a module in evaluation mode, its inputs being called `names`.

        It runs twice, on the examples and on another batch: what of its constants differs comes
        from the input without having been recorded, and sizes that differ are the batch's.

        Returns:
            For each of its outputs the name, and its type and sizes.

        Raises:
            ExportError: if the two runs differ in another way, or for an operation that `WRITERS`
                does not have.
        """
        others = other_batch(examples)
        modes = [(module, module.training) for module in model.modules()]
        try:
            model.eval()
            first, second = (capture(model, *xs) for xs in (examples, others))
        finally:
            for module, mode in modes:
                module.training = mode
        if first.wiring != second.wiring:
            raise ExportError(
                "ONNX export wants a model that does the same for every batch; this one carried "
                "out other operations for a batch of another size and with other values"
            )
        self.batch = names[0]
        lengths = (len(examples[0].data), len(others[0].data))
        called = {id(array): name for name, array in model.state_dict().items()}
        self.names.update({id(x): name for x, name in zip(first.inputs, names, strict=True)})
        for step, other in zip(first.steps, second.steps, strict=True):
            writer = WRITERS.get(step.operation)
            if writer is None:
                called_for = step.options.get("function", step.operation)  # of Discrete: greater, …
                raise ExportError(
                    f"ONNX export does not know the operation {called_for.__name__}; it knows "
                    f"{', '.join(sorted(kind.__name__ for kind in {*WRITERS, *PARTS}))}. Write the "
                    "model with these, give your own operation a twin in terms of them, or add a "
                    "function to WRITERS in tinygrad_fm/export/onnx_graph.py"
                )
            for x, y in zip(step.inputs, other.inputs, strict=True):
                if id(x) not in self.names:
                    _need_same(step, x, y)
                    self.names[id(x)] = self.weight(x, called.get(id(x), "constant"))
            options = _common(step, other, lengths)
            inputs = [self.names[id(x)] for x in step.inputs]
            self.names[id(step.output)] = writer(self, replace(step, options=options), *inputs)
        outputs = []
        for x, y in zip(first.outputs, second.outputs, strict=True):
            if id(x) not in self.names:
                raise ExportError(
                    "ONNX export wants outputs that come from the inputs by recorded operations; "
                    f"one of shape {x.shape} does not (comparisons and .data are not recorded)"
                )
            sizes = common_sizes(x.shape, y.shape, lengths)
            if sizes is None:
                raise ExportError(f"an output of shape {x.shape} is no multiple of the batch")
            outputs.append((self.names[id(x)], info(self.names[id(x)], x.dtype, sizes)))
        return outputs


def info(name: str, dtype: Any, sizes: Sizes) -> ValueInfoProto:
    """An input's or output's name, type and sizes."""
    words = [n if n >= 0 else "batch" if n == -1 else f"{-n}*batch" for n in sizes]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), words)


def other_batch(examples: Sequence[Tensor]) -> list[Tensor]:
    """Another batch like the examples: of another size, with other values."""
    generator, n = np.random.default_rng(0), len(examples[0].data)
    others = []
    for x in examples:
        shape = (2 * n + 1, *x.shape[1:]) if x.shape[:1] == (n,) else x.shape
        values = generator.choice(x.data.ravel(), shape)
        if x.dtype.kind == "f":  # whole numbers may be indices: those stay within their bounds
            values = values + generator.uniform(0, 1, shape).astype(x.dtype)
        others.append(Tensor(values))
    return others


def common_sizes(a: Sizes, b: Sizes, lengths: tuple[int, int]) -> Sizes | None:
    """The sizes for any batch, of those for batches of two lengths; None if there are none."""
    if len(a) != len(b) or any(
        n != m and (n % lengths[0] or n * lengths[1] != m * lengths[0])
        for n, m in zip(a, b, strict=True)
    ):
        return None
    return tuple(n if n == m else -(n // lengths[0]) for n, m in zip(a, b, strict=True))


def _common(step: Step, other: Step, lengths: tuple[int, int]) -> dict[str, Any]:
    """The options for any batch; sizes that depend on it are negative."""
    options, others = dict(step.options), dict(other.options)
    if "shape" in options:
        # (The option may have a -1, which the outputs' shapes tell.)
        sizes = common_sizes(step.output.shape, other.output.shape, lengths)
        options["shape"] = others["shape"] = sizes
    for name, value in options.items():
        if value != others[name] or (name == "shape" and value is None):
            raise ExportError(
                f"ONNX export wants one {name} of {step.operation.__name__} for all batches, or "
                f"one that is a multiple of the batch; got {step.options[name]} and "
                f"{other.options[name]} for batches of {lengths[0]} and {lengths[1]}"
            )
    return options


def _need_same(step: Step, x: np.ndarray, y: np.ndarray) -> None:
    if x.dtype != y.dtype or not np.array_equal(x, y, equal_nan=x.dtype.kind in "fc"):
        raise ExportError(
            f"ONNX export found an input of {step.operation.__name__}, of shape {x.shape}, that "
            "changes from batch to batch, but that no recorded operation has made: it is random, "
            "or computed from .data, by a comparison (x > 0), or as a Python number. Compute it "
            "with tensors' differentiable operations, such as relu, clamp or maximum"
        )


# ------------------------------------------------------------------------------------- writers


def _plain(operator: str, **names: str) -> Callable[..., str]:
    """An ONNX operator that does the same; `names`: the operation's names of its attributes."""

    def write(graph: Graph, step: Step, *inputs: str) -> str:
        attributes = {theirs: step.options[ours] for theirs, ours in names.items()}
        return graph.node(operator, *inputs, **attributes)

    return write


def _reduced(operator: str) -> Callable[..., str]:
    def write(graph: Graph, step: Step, x: str) -> str:
        axes, kept = step.options["axes"], int(step.options["keepdim"])
        if not axes:  # which for ONNX would be all
            return x
        if operator == "ReduceSum":
            return graph.node(operator, x, graph.whole(*axes), keepdims=kept)
        return graph.node(operator, x, axes=axes, keepdims=kept)

    return write


def _extremum(graph: Graph, step: Step, x: str) -> str:
    return _reduced("ReduceMax" if step.options["largest"] else "ReduceMin")(graph, step, x)


def _cumsum(graph: Graph, step: Step, x: str) -> str:
    return graph.node("CumSum", x, graph.weight(np.array(step.options["axis"])))


def _cast(graph: Graph, step: Step, x: str) -> str:
    return graph.node("Cast", x, to=helper.np_dtype_to_tensor_dtype(step.output.dtype))


def _clamp(graph: Graph, step: Step, x: str) -> str:
    ends = (step.options["low"], step.options["high"])
    return graph.node("Clip", x, *("" if n is None else graph.number(n, step.output) for n in ends))


def _softplus(graph: Graph, step: Step, x: str) -> str:
    beta, threshold = (graph.number(step.options[n], step.output) for n in ("beta", "threshold"))
    scaled = graph.node("Mul", x, beta)
    curved = graph.node("Div", graph.node("Softplus", scaled), beta)
    return graph.node("Where", graph.node("Greater", scaled, threshold), x, curved)


def _linear(graph: Graph, step: Step, x: str, weight: str, *bias: str) -> str:
    if step.output.ndim == 2:
        return graph.node("Gemm", x, weight, *bias, transB=1)
    y = graph.node("MatMul", x, graph.node("Transpose", weight, perm=(1, 0)))
    return graph.node("Add", y, *bias) if bias else y


def _conv(graph: Graph, step: Step, *inputs: str) -> str:
    return graph.node("Conv", *inputs, **_laid(step.options.get("geometry", PLAIN)))


def _conv_transpose(graph: Graph, step: Step, *inputs: str) -> str:
    geometry = step.options["geometry"]
    extra = [
        out - ((n - 1) * s - 2 * p + d * (k - 1) + 1)
        for out, n, k, s, p, d in zip(
            step.options["output_size"],
            step.inputs[0].shape[2:],
            step.inputs[1].shape[2:],
            *geometry[:3],
            strict=True,
        )
    ]
    return graph.node("ConvTranspose", *inputs, output_padding=extra, **_laid(geometry))


def _laid(geometry: Any) -> dict[str, Any]:
    stride, padding, dilation, groups = geometry
    pads = padding * 2  # top, left, bottom, right
    return {"strides": stride, "pads": pads, "dilations": dilation, "group": groups}


def _batch_norm(graph: Graph, step: Step, x: str, *parameters: str) -> str:
    if step.options["training"]:
        raise ExportError("ONNX export wants batch norm with running estimates")
    affine = parameters[:-2] or _neutral(graph, step.output.shape[1:2], step.output)
    return graph.node(
        "BatchNormalization", x, *affine, *parameters[-2:], epsilon=step.options["eps"]
    )


def _layer_norm(graph: Graph, step: Step, x: str, *affine: str) -> str:
    dims, like = step.options["dims"], step.output
    affine = affine or _neutral(graph, like.shape[like.ndim - dims :], like)
    return graph.node("LayerNormalization", x, *affine, axis=-dims, epsilon=step.options["eps"])


def _neutral(graph: Graph, shape: Sizes, like: np.ndarray) -> tuple[str, ...]:
    """A scale of ones and a shift of zeros."""
    return graph.weight(np.ones(shape, like.dtype)), graph.weight(np.zeros(shape, like.dtype))


def _max_pool(graph: Graph, step: Step, x: str) -> str:
    pool, dtype = _windows(step), step.output.dtype
    (top, left, bottom, right), (height, width) = pool["pads"], pool["kernel_shape"]
    if bottom >= height or right >= width:  # too much for ONNX Runtime, of a dilated window
        lowest = -np.inf if dtype.kind == "f" else np.iinfo(dtype).min
        frame = graph.whole(0, 0, top, left, 0, 0, bottom, right)
        x, pool["pads"] = graph.node("Pad", x, frame, graph.number(lowest, step.output)), [0] * 4
    return graph.node("MaxPool", x, dilations=step.options["window"].dilation, **pool)


def _average_pool(graph: Graph, step: Step, x: str) -> str:
    window, size = step.options.get("window"), step.inputs[0].shape[2:]
    if window is None:  # windows of several sizes: a product with each axis' shares
        for axis, spans in enumerate(spans_of(size, **step.options)[:2]):
            shares = np.zeros((len(spans), size[axis]), step.output.dtype)
            for row, span in zip(shares, spans, strict=True):
                row[span] = 1 / (span.stop - span.start)
            matrix = graph.weight(shares.T if axis else shares)
            x = graph.node("MatMul", *((x, matrix) if axis else (matrix, x)))
        return x
    pool = _windows(step)
    if step.options["count_include_pad"]:  # of the padding, not of what a last window lacks
        frame = graph.whole(0, 0, *window.padding, 0, 0, *window.padding)
        x = graph.node("Pad", x, frame)
        end = (after - p for after, p in zip(pool["pads"][2:], window.padding, strict=True))
        pool["pads"] = [0, 0, *end]
    return graph.node("AveragePool", x, **pool)


def _windows(step: Step) -> dict[str, Any]:
    """A window's attributes; `ceil_mode` as padding behind the image that makes windows whole."""
    kernel, stride, padding, dilation, _ = step.options["window"]
    after = [
        max(p, (out - 1) * s + d * (k - 1) + 1 - n - p)
        for out, n, k, s, p, d in zip(
            *(step.output.shape[2:], step.inputs[0].shape[2:]),
            *(kernel, stride, padding, dilation),
            strict=True,
        )
    ]
    return {"kernel_shape": kernel, "strides": stride, "pads": [*padding, *after]}


def _reshape(graph: Graph, step: Step, x: str) -> str:
    sizes = step.options["shape"]
    if sum(n < 0 for n in sizes) == 1 and 0 not in sizes:
        sizes = tuple(max(n, -1) for n in sizes)  # ONNX, too, finds out one of them
        return graph.node("Reshape", x, graph.whole(*sizes))
    return graph.node("Reshape", x, graph.sizes(sizes), allowzero=1)


def _pad(graph: Graph, step: Step, x: str) -> str:
    before, after = zip(*step.options["widths"], strict=True)
    value = graph.number(step.options["value"], step.output)
    return graph.node("Pad", x, graph.whole(*before, *after), value)


def _index(graph: Graph, step: Step, x: str, *arrays: str) -> str:
    if len(arrays) > 1 or any(array.dtype == bool for array in step.inputs[1:]):
        raise ExportError("ONNX export knows indices with one array of integers and no mask")
    index = step.options["index"]
    if ... not in index:
        index = (*index, ...)
    at = index.index(...)
    named = len(index) - 1 - index.count(None)
    rest = [(None, None, None)] * (step.inputs[0].ndim - named)
    slices, single, new, pick = [], [], [], 0
    axis = place = 0  # of the input, and of the view from which the array picks
    for part in (*index[:at], *rest, *index[at + 1 :]):
        if isinstance(part, int):
            slices.append((part, part + 1 or _END, axis, 1))
            single.append(axis)
        elif part is None:
            new.append(place)
        elif part == ARRAY:
            pick = place
        elif part != (None, None, None):
            start, stop, stride = part[0], part[1], part[2] or 1
            ends = (0, _END) if stride > 0 else (_END, -_END)
            start, stop = (ends[0] if start is None else start, ends[1] if stop is None else stop)
            slices.append((start, stop, axis, stride))
        axis += part is not None
        place += not isinstance(part, int)
    if slices:
        x = graph.node("Slice", x, *(graph.whole(*column) for column in zip(*slices, strict=True)))
    x = graph.node("Squeeze", x, graph.whole(*single)) if single else x
    x = graph.node("Unsqueeze", x, graph.whole(*new)) if new else x
    return graph.node("Gather", x, *arrays, axis=pick) if arrays else graph.node("Identity", x)


_END = 2**31 - 1  # beyond every axis

_SAME_NAME: tuple[type[ops.Function], ...] = (
    ops.Add, ops.Sub, ops.Mul, ops.Div, ops.Pow, ops.Neg, ops.Exp, ops.Log, ops.Sqrt, ops.Abs,
    ops.Sin, ops.Cos, ops.Erf, ops.Tanh, ops.Sigmoid, ops.Where,
)  # fmt: skip
WRITERS: dict[type[ops.Function], Callable[..., str]] = {
    **{operation: _plain(operation.__name__) for operation in _SAME_NAME},
    ops.ReLU: _plain("Relu"),
    ops.LeakyReLU: _plain("LeakyRelu", alpha="negative_slope"),
    ops.ELU: _plain("Elu", alpha="alpha"),
    ops.Softplus: _softplus,
    ops.Clamp: _clamp,
    ops.Maximum: _plain("Max"),
    ops.Cast: _cast,
    ops.Clone: _plain("Identity"),
    ops.Sum: _reduced("ReduceSum"),
    ops.Mean: _reduced("ReduceMean"),
    ops.Prod: _reduced("ReduceProd"),
    ops.LogSumExp: _reduced("ReduceLogSumExp"),
    ops.Extremum: _extremum,
    ops.CumSum: _cumsum,
    ops.Softmax: _plain("Softmax", axis="axis"),
    ops.LogSoftmax: _plain("LogSoftmax", axis="axis"),
    ops.Reshape: _reshape,
    ops.Permute: _plain("Transpose", perm="axes"),
    ops.Expand: lambda graph, step, x: graph.node("Expand", x, graph.sizes(step.options["shape"])),
    ops.Cat: _plain("Concat", axis="axis"),
    ops.Pad: _pad,
    ops.Index: _index,
    ops.Matmul: _plain("MatMul"),
    ops.Linear: _linear,
    ops.Einsum: _plain("Einsum", equation="equation"),
    ops.Conv2d: _conv,
    ops.Conv3x3: _conv,
    ops.ConvTranspose2d: _conv_transpose,
    ops.MaxPool2d: _max_pool,
    ops.AveragePool2d: _average_pool,
    ops.BatchNorm: _batch_norm,
    ops.LayerNorm: _layer_norm,
}


def _variance(x: Tensor, axes: Sizes, keepdim: bool, correction: float) -> Tensor:
    centred = x - x.mean(axes, True)
    freedom = max(math.prod(x.shape[i] for i in axes) - correction, 0)
    return (centred * centred).sum(axes, keepdim) / freedom


# Operations without an operator of their own, in terms of those above.
PARTS: dict[type[ops.Function], Callable[..., Tensor]] = {
    ops.Expm1: lambda x: x.exp() - 1,
    ops.Log1p: lambda x: (x + 1).log(),
    ops.SiLU: lambda x: x * x.sigmoid(),
    ops.GELU: lambda x: x * ((x * math.sqrt(0.5)).erf() + 1) * 0.5,
    ops.GELUTanh: lambda x: (
        x * ((math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)).tanh() + 1) * 0.5
    ),
    ops.Var: _variance,
    ops.Std: lambda x, **how: _variance(x, **how).sqrt(),
}


def _parts(operation: type[ops.Function]) -> Callable[..., Tensor] | None:
    """An operation in terms of others, if it has to be: by `PARTS`, or by its own twin."""
    return None if operation in WRITERS else PARTS.get(operation, operation.twin)

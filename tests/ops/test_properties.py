"""Drawn shapes and arguments, against PyTorch in float64."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch_judge import assert_like_torch

from tinygrad_fm.ops.pool import Window

drawn = settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def positive(shape, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 2, shape)


def distinct(shape):
    """No two elements alike: no ties."""
    n = int(np.prod(shape))
    return np.random.default_rng(n).permutation(n).reshape(shape) / 7 - n / 14


def pairs(low, high):
    """One integer for both axes, or two."""
    return st.one_of(st.integers(low, high), st.tuples(*[st.integers(low, high)] * 2))


def as_pair(value):
    return (value, value) if isinstance(value, int) else value


shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=4)
two_shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=3)

ARITHMETIC = {
    "add": lambda lib, a, b: a + b,
    "sub": lambda lib, a, b: a - b,
    "mul": lambda lib, a, b: a * b,
    "div": lambda lib, a, b: a / b,
    "pow": lambda lib, a, b: a**b,
    "where": lambda lib, a, b: lib.where(a > b, a, b),
    "kl_div": lambda lib, a, b: lib.nn.functional.kl_div(a, b, reduction="none"),
}


@pytest.mark.parametrize("name", ARITHMETIC)
@drawn
@given(both=two_shapes)
def test_broadcasting(name, both):
    a, b = both.input_shapes
    assert_like_torch(ARITHMETIC[name], positive(a, 1), positive(b, 2))


@drawn
@given(
    batch=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=3),
    sizes=st.tuples(*[st.integers(0, 4)] * 3),
    vectors=st.sampled_from(["", "a", "b", "ab"]),
)
def test_matmul(batch, sizes, vectors):
    n, k, m = sizes
    (left, right), a, b = batch.input_shapes, (n, k), (k, m)
    a = (k,) if "a" in vectors else (*left, *a)
    b = (k,) if "b" in vectors else (*right, *b)
    assert_like_torch(lambda lib, a, b: a @ b, normal(a, 1), normal(b, 2))


REDUCTIONS = {
    "sum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "mean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "var": lambda x, axes, keep: x.var(axes, correction=0, keepdim=keep),
    "amax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "amin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "logsumexp": lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@drawn
@given(data=st.data(), keep=st.booleans())
def test_reductions(name, data, keep):
    shape = data.draw(hnp.array_shapes(max_dims=4, max_side=4))
    axes = data.draw(hnp.valid_tuple_axes(len(shape), min_size=1))
    assert_like_torch(lambda lib, x: REDUCTIONS[name](x, axes, keep), distinct(shape))


AXIS = {
    "softmax": lambda x, axis: x.softmax(axis),
    "log_softmax": lambda x, axis: x.log_softmax(axis),
    "cumsum": lambda x, axis: x.cumsum(axis),
    "prod": lambda x, axis: x.prod(axis),
    "max": lambda x, axis: x.max(axis).values,
    "min": lambda x, axis: x.min(axis, keepdim=True).values,
    "unsqueeze": lambda x, axis: x.unsqueeze(axis),
    "squeeze": lambda x, axis: x.squeeze(axis),
    "flatten": lambda x, axis: x.flatten(axis),
    "transpose": lambda x, axis: x.transpose(0, axis),
    "chunk": lambda x, axis: x.chunk(2, axis)[0],
    "split": lambda x, axis: x.split(2, axis)[-1],
}


@pytest.mark.parametrize("name", AXIS)
@drawn
@given(data=st.data())
def test_functions_of_an_axis(name, data):
    shape = data.draw(hnp.array_shapes(max_dims=4, max_side=4))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    assert_like_torch(lambda lib, x: AXIS[name](x, axis), distinct(shape))


@drawn
@given(data=st.data())
def test_indexing(data):
    shape = data.draw(hnp.array_shapes(max_dims=4, max_side=4))
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
    parts = index if isinstance(index, tuple) else (index,)
    assume(all(part.step is None or part.step > 0 for part in parts if isinstance(part, slice)))
    assert_like_torch(lambda lib, x: x[index], normal(shape))


@drawn
@given(data=st.data())
def test_indexing_with_integer_arrays(data):
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=4))
    index = data.draw(hnp.integer_array_indices(shape, dtype=np.dtype(np.int64)))
    assert_like_torch(lambda lib, x, *index: x[index], normal(shape), *index)


@drawn
@given(shape=hnp.array_shapes(max_dims=3, max_side=5), data=st.data())
def test_padding_and_cropping(shape, data):
    axes = data.draw(st.integers(1, len(shape)))
    widths = data.draw(st.lists(st.integers(-2, 3), min_size=2 * axes, max_size=2 * axes))
    left = [shape[-1 - i] + min(widths[2 * i], 0) + min(widths[2 * i + 1], 0) for i in range(axes)]
    assume(min(left) >= 0)
    assert_like_torch(lambda lib, x: lib.nn.functional.pad(x, widths, value=1.5), normal(shape))


# ------------------------------------------------------------------------------ images


@settings(drawn, max_examples=120)
@given(
    n=st.integers(0, 3),
    groups=st.integers(1, 3),
    channels=st.integers(1, 3),
    outputs=st.integers(1, 3),
    kernel=st.tuples(*[st.integers(1, 4)] * 2),
    stride=pairs(1, 3),
    padding=pairs(0, 3),
    dilation=pairs(1, 3),
    extra=st.tuples(*[st.integers(0, 4)] * 2),
    bias=st.booleans(),
)
def test_conv2d(n, groups, channels, outputs, kernel, stride, padding, dilation, extra, bias):
    size = [
        max(d * (k - 1) + 1 - 2 * p, 1) + e
        for k, p, d, e in zip(kernel, as_pair(padding), as_pair(dilation), extra, strict=True)
    ]
    x, w = normal((n, channels * groups, *size)), normal((outputs * groups, channels, *kernel), 1)
    b = [normal(len(w), 2)] * bias
    assert_like_torch(
        lambda lib, x, w, b=None: lib.nn.functional.conv2d(
            x, w, b, stride, padding, dilation, groups
        ),
        x, w, *b,
    )  # fmt: skip


@drawn
@given(
    n=st.integers(0, 18),
    channels=st.integers(1, 6),
    outputs=st.integers(1, 5),
    size=st.tuples(*[st.integers(1, 11)] * 2),
    bias=st.booleans(),
)
def test_conv2d_of_3x3_and_padding_1(n, channels, outputs, size, bias):
    x, w = normal((n, channels, *size)), normal((outputs, channels, 3, 3), 1)
    b = [normal(outputs, 2)] * bias
    assert_like_torch(
        lambda lib, x, w, b=None: lib.nn.functional.conv2d(x, w, b, padding=1), x, w, *b
    )


@settings(drawn, max_examples=80)
@given(
    n=st.integers(0, 3),
    groups=st.integers(1, 3),
    channels=st.integers(1, 3),
    outputs=st.integers(1, 3),
    kernel=st.tuples(*[st.integers(1, 4)] * 2),
    stride=st.tuples(*[st.integers(1, 3)] * 2),
    padding=st.tuples(*[st.integers(0, 2)] * 2),
    dilation=st.tuples(*[st.integers(1, 3)] * 2),
    size=st.tuples(*[st.integers(1, 4)] * 2),
    output_padding=st.tuples(*[st.integers(0, 2)] * 2),
)
def test_conv_transpose2d(
    n, groups, channels, outputs, kernel, stride, padding, dilation, size, output_padding
):
    out = [
        (s - 1) * t - 2 * p + d * (k - 1) + e + 1
        for s, t, p, d, k, e in zip(
            size, stride, padding, dilation, kernel, output_padding, strict=True
        )
    ]
    limits = [max(t, d) for t, d in zip(stride, dilation, strict=True)]
    assume(min(out) > 0 and output_padding[0] < limits[0] and output_padding[1] < limits[1])
    x, w = normal((n, channels * groups, *size)), normal((channels * groups, outputs, *kernel), 1)
    assert_like_torch(
        lambda lib, x, w, b: lib.nn.functional.conv_transpose2d(
            x, w, b, stride, padding, output_padding, groups, dilation
        ),
        x, w, normal(outputs * groups, 2),
    )  # fmt: skip


@st.composite
def windows(draw):
    """kernel, stride, padding, dilation and an image's size that fit together."""
    kernel, dilation = draw(pairs(1, 4)), draw(pairs(1, 2))
    stride = draw(st.one_of(st.none(), pairs(1, 3)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in as_pair(kernel))
    size = tuple(
        max(d * (k - 1) + 1 - 2 * p, 1) + draw(st.integers(0, 5))
        for k, p, d in zip(as_pair(kernel), padding, as_pair(dilation), strict=True)
    )
    return kernel, stride, padding, dilation, size


def every_window_sees_a_pixel(window, ceil):
    """Where one lies in the padding alone, PyTorch writes outside of its memory."""
    kernel, stride, padding, dilation, size = window
    pairs = [as_pair(v) for v in (kernel, kernel if stride is None else stride, dilation)]
    counts = Window(pairs[0], pairs[1], padding, pairs[2], ceil).output_size(*size)
    return all(
        any(0 <= i * s - p + j * d < n for j in range(k))
        for count, n, p, k, s, d in zip(counts, size, padding, *pairs, strict=True)
        for i in range(count)
    )


@settings(drawn, max_examples=120)
@given(window=windows(), n=st.integers(0, 2), channels=st.integers(1, 3), ceil=st.booleans())
def test_max_pool2d(window, n, channels, ceil):
    assume(every_window_sees_a_pixel(window, ceil))
    kernel, stride, padding, dilation, size = window
    assert_like_torch(
        lambda lib, x: lib.nn.functional.max_pool2d(x, kernel, stride, padding, dilation, ceil),
        distinct((n, channels, *size)),
    )


@settings(drawn, max_examples=80)
@given(
    window=windows(),
    n=st.integers(0, 2),
    channels=st.integers(1, 3),
    ceil=st.booleans(),
    count_pad=st.booleans(),
)
def test_avg_pool2d(window, n, channels, ceil, count_pad):
    kernel, stride, padding, dilation, size = window
    assume(as_pair(dilation) == (1, 1))
    assert_like_torch(
        lambda lib, x: lib.nn.functional.avg_pool2d(x, kernel, stride, padding, ceil, count_pad),
        normal((n, channels, *size)),
    )


@drawn
@given(n=st.integers(0, 2), size=st.tuples(*[st.integers(1, 9)] * 2), out=pairs(1, 7))
def test_adaptive_avg_pool2d(n, size, out):
    assert_like_torch(
        lambda lib, x: lib.nn.functional.adaptive_avg_pool2d(x, out), normal((n, 2, *size))
    )


# ------------------------------------------------------------------------------ layers and losses


@drawn
@given(lead=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
       inputs=st.integers(1, 5), outputs=st.integers(1, 5))  # fmt: skip
def test_linear(lead, inputs, outputs):
    assert_like_torch(
        lambda lib, x, w, b: lib.nn.functional.linear(x, w, b),
        normal((*lead, inputs)), normal((outputs, inputs), 1), normal(outputs, 2),
    )  # fmt: skip


@drawn
@given(
    shape=hnp.array_shapes(min_dims=2, max_dims=4, max_side=5),
    affine=st.booleans(),
    training=st.booleans(),
    eps=st.sampled_from([1e-5, 1e-3, 0.5]),
)
def test_batch_norm(shape, affine, training, eps):
    channels = shape[1]
    # Of two values, σ² is often tiny and the gradient a difference of huge numbers.
    assume(np.prod(shape) > 2 * channels)
    parameters = [positive(channels, 1), normal(channels, 2)] * affine
    mean, variance = normal(channels, 3), positive(channels, 4)

    def run(lib, x, *parameters):
        running = lib.tensor(mean), lib.tensor(variance)
        return lib.nn.functional.batch_norm(
            x, *running, *(parameters or (None, None)), training=training, eps=eps
        )

    assert_like_torch(run, normal(shape), *parameters)


@drawn
@given(shape=hnp.array_shapes(min_dims=1, max_dims=4, min_side=2, max_side=5), data=st.data())
def test_layer_norm(shape, data):
    last = shape[data.draw(st.integers(0, len(shape) - 1)) :]
    assert_like_torch(
        lambda lib, x, w, b: lib.nn.functional.layer_norm(x, last, w, b, eps=1e-3),
        normal(shape), positive(last, 1), normal(last, 2),
    )  # fmt: skip


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@settings(drawn, max_examples=60)
@given(
    n=st.integers(0, 5),
    classes=st.integers(1, 5),
    rest=hnp.array_shapes(min_dims=0, max_dims=2, max_side=3),
    ignored=st.sampled_from([-100, 0]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    weighted=st.booleans(),
)
def test_cross_entropy(reduction, n, classes, rest, ignored, smoothing, weighted):
    target = np.random.default_rng(1).integers(0, classes, (n, *rest))
    if ignored == -100 and target.size:
        target.flat[:: max(1, target.size // 2)] = -100
    weight = positive(classes, 3) if weighted else None

    def run(lib, x, target):
        w = None if weight is None else lib.tensor(weight)
        return lib.nn.functional.cross_entropy(
            x, target, w, ignore_index=ignored, reduction=reduction, label_smoothing=smoothing
        )

    assert_like_torch(run, normal((n, classes, *rest)), target)


@drawn
@given(shape=shapes, seed=st.integers(0, 99), reduction=st.sampled_from(["none", "mean", "sum"]))
@pytest.mark.parametrize(
    "name", ["mse_loss", "l1_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits"]
)
def test_losses_of_any_shape(name, shape, seed, reduction):
    x, t = normal(shape, seed), np.asarray(np.random.default_rng(seed + 1).random(shape))
    assert_like_torch(
        lambda lib, x, t: getattr(lib.nn.functional, name)(x, t, reduction=reduction),
        np.asarray(x), t,
    )  # fmt: skip


@drawn
@given(data=st.data())
def test_einsum(data):
    """Two operands with any letters, and any of them kept."""
    letters = st.text("abcd", min_size=1, max_size=3)
    left, right = data.draw(letters), data.draw(letters)
    known = sorted(set(left + right))
    kept = data.draw(st.permutations(known).map(lambda p: "".join(p[: len(p) // 2 + 1])))
    sizes = dict(zip("abcd", (2, 3, 1, 2), strict=True))
    equation = f"{left},{right}->{kept}"
    try:  # PyTorch knows no letter more than once in some places
        torch.einsum(equation, *(torch.zeros([sizes[c] for c in s]) for s in (left, right)))
    except RuntimeError:
        assume(False)
    assert_like_torch(
        lambda lib, a, b: lib.einsum(equation, a, b),
        *(normal([sizes[c] for c in s], i) for i, s in enumerate((left, right))),
    )

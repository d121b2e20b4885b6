"""What `gradcheck` says about right, wrong and non-differentiable functions."""

import numpy as np
import pytest

import tinygrad_fm
from tinygrad_fm import Tensor, apply, gradcheck, nn, ops
from tinygrad_fm.checking import GradcheckError
from tinygrad_fm.random import default_generator

F = nn.functional


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


class WrongSquare(ops.Function):
    """x², whose derivative is wrong at one place."""

    def forward(self, x):
        self.save_for_backward(x)
        return x * x

    def backward(self, grad):
        dx = 2 * grad * self.saved[0]
        dx[1, 2] *= 1.5
        return dx


class WrongShape(ops.Function):
    def forward(self, x):
        return x * 2

    def backward(self, grad):
        return (2 * grad).sum(axis=0)


def wrong_square(x):
    return apply(WrongSquare, x)


def test_a_right_gradient_passes_to_the_last_digits():
    report = gradcheck(lambda a, b: (a @ b).tanh(), [normal(3, 4), normal(4, 2)])
    assert report
    assert report.methods == {"complex step"}
    assert report.worst_error < 1e-12
    assert report.derivatives == (12 + 8) * (6 + 1)
    assert not report.kinks


def test_a_failure_names_input_index_values_and_error():
    x = normal(2, 3) + 5
    with pytest.raises(GradcheckError) as caught:
        gradcheck(lambda a, b: a + wrong_square(b), [normal(2, 3), x])
    (failure,) = caught.value.report.failures
    assert failure.input == "input 1"
    assert failure.index == failure.output == (1, 2)
    assert failure.computed == pytest.approx(3 * x[1, 2])
    assert failure.expected == pytest.approx(2 * x[1, 2])
    assert failure.error == pytest.approx(1 / 3)
    for part in ("input 1", "(1, 2)", f"{3 * x[1, 2]:.12g}", f"{2 * x[1, 2]:.12g}", "0.33"):
        assert part in str(caught.value)


def test_without_an_exception_the_report_is_false():
    report = gradcheck(wrong_square, normal(2, 3) + 5, raise_exception=False)
    assert not report
    assert not report.ok
    assert "FAILED" in str(report)


def test_a_large_input_is_checked_in_a_random_direction():
    assert gradcheck(lambda x: x * x, normal(60, 50)).derivatives == 1
    with pytest.raises(GradcheckError, match="random combination of outputs"):
        gradcheck(wrong_square, normal(60, 50) + 5)


def test_a_gradient_that_is_wrong_everywhere_is_located_in_a_large_input():
    frozen_half = gradcheck(
        lambda x: x * x.detach(), normal(60, 50), raise_exception=False
    ).failures
    assert len(frozen_half) == 100  # the sample
    assert all(failure.index is not None for failure in frozen_half)
    assert frozen_half[0].error == pytest.approx(0.5)


def test_a_gradient_that_never_comes_is_a_failure():
    with pytest.raises(GradcheckError, match="computed 0,"):
        gradcheck(lambda x: x.detach() * 2, normal(3))


def test_a_gradient_of_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"input 0 of shape \(2, 3\) a gradient of shape \(3,\)"):
        gradcheck(lambda x: apply(WrongShape, x), normal(2, 3))


@pytest.mark.parametrize("method", ["auto", "complex", "difference"])
def test_relu_at_zero_is_a_kink_not_a_failure(method):
    report = gradcheck(F.relu, np.array([-1.0, 0.0, 2.0]), method=method)
    assert report.ok
    assert report.kinks == [("input 0", (1,))]
    assert "not differentiable here, left out: input 0 at (1,)" in str(report)


@pytest.mark.parametrize("method", ["auto", "difference"])
def test_the_absolute_value_at_zero_is_a_kink(method):
    report = gradcheck(lambda x: x.abs(), np.array([0.0, 1.0]), method=method)
    assert report.kinks == [("input 0", (0,))]


@pytest.mark.parametrize("method", ["auto", "complex", "difference"])
def test_ties_in_pooling_are_kinks(method):
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    x[0, 0, 0, 0] = x[0, 0, 1, 1]
    report = gradcheck(lambda x: F.max_pool2d(x, 2), x, method=method)
    assert sorted(report.kinks) == [("input 0", (0, 0, 0, 0)), ("input 0", (0, 0, 1, 1))]


def test_a_kink_between_the_steps_of_differences_is_recognised():
    x = np.array([1e-6, -4e-6, 1.0])
    report = gradcheck(F.relu, x, method="difference")
    assert [index for _, index in report.kinks] == [(0,), (1,)]
    assert not gradcheck(F.relu, x).kinks  # complex step has no such trouble


@pytest.mark.parametrize("share", np.linspace(0.02, 0.98, 25).round(2))
@pytest.mark.parametrize("side", [-1, 1])
def test_a_kink_anywhere_within_the_step_is_no_failure(share, side):
    step = 2e-5  # of differences at inputs up to 2
    x = np.array([2.0, side * share * step])
    report = gradcheck(lambda x: x.relu() + x / 2, x, method="difference")
    assert report.kinks == [("input 0", (1,))]


def test_the_edge_of_where_a_function_is_defined_is_a_kink():
    report = gradcheck(lambda x: x.sqrt(), np.array([0.0, 1.0]))
    assert report.ok
    assert report.kinks == [("input 0", (0,))]


def test_strong_curvature_and_flat_places_are_not_kinks():
    for method in ("auto", "difference"):
        assert not gradcheck(lambda x: (x * 30) ** 2, np.array([0.0, 1e-7, 3]), method=method).kinks
        assert not gradcheck(lambda x: x**3, np.zeros(3), method=method).kinks


def test_kinks_do_not_hide_what_is_wrong_elsewhere():
    x = np.array([[0, 1, 2.0], [0, 1, 2]])
    report = gradcheck(lambda x: wrong_square(x) + x.relu(), x, raise_exception=False)
    assert [index for _, index in report.kinks] == [(0, 0), (1, 0)]

    assert [f.index for f in report.failures] == [(1, 2)]


def test_kinks_in_a_large_input_are_found_among_its_elements():
    x = normal(60, 50)
    x[:30] = 0
    report = gradcheck(lambda x: x.relu() * 3, x)
    assert report.ok
    assert all(index[0] < 30 for _, index in report.kinks)
    assert 30 < len(report.kinks) < 70
    assert "more" in str(report)


def test_code_that_is_not_analytic_is_judged_by_differences():
    assert gradcheck(lambda x: x.abs() + x, normal(5)).methods == {"differences"}
    tiny = gradcheck(lambda x: x.exp() + 1e-4 * x.abs(), normal(5))
    assert tiny.ok
    assert "differences" in tiny.methods


class Garbage(ops.Function):
    """3x, and nonsense for complex numbers."""

    def forward(self, x):
        return 3 * x if x.dtype.kind == "f" else 3 * x.real + complex(0, np.inf)

    def backward(self, grad):
        return 3 * grad


def test_nonsense_for_complex_numbers_is_left_to_differences():
    assert gradcheck(lambda x: apply(Garbage, x), normal(3)).methods == {"differences"}


def test_method_complex_refuses_what_it_cannot_judge():
    with pytest.raises(ValueError, match='use method="difference"'):
        gradcheck(lambda x: x.abs(), normal(3), method="complex")


def test_complex_step_proves_that_code_keeps_the_dtype():
    def rounds(x):
        return apply(ops.Cast, x, dtype=np.float64)

    assert gradcheck(rounds, normal(3)).methods == {"differences"}


@pytest.mark.parametrize(
    ("fn", "inputs", "options", "message"),
    [
        (F.relu, np.arange(3), {}, "at least one floating-point input"),
        (F.relu, np.ones(3), {"method": "magic"}, "method is one of auto, complex, difference"),
        (lambda x: x.log(), np.zeros(3), {}, "output is finite"),
    ],
)
def test_what_cannot_be_checked_is_refused(fn, inputs, options, message):
    with pytest.raises(ValueError, match=message):
        gradcheck(fn, inputs, **options)


def test_a_function_must_return_one_tensor():
    with pytest.raises(TypeError, match="returns one Tensor"):
        gradcheck(lambda x: (x, x), np.ones(3))


def test_empty_and_scalar_inputs():
    assert gradcheck(lambda x, y: x.sum() * y, [np.ones((0, 3)), np.array(2.0)]).derivatives == 2


def test_inputs_are_converted_to_float64_and_left_alone():
    x = Tensor(normal(4).astype(np.float32), requires_grad=True)
    x.data.setflags(write=False)
    assert gradcheck(F.gelu, x).worst_error < 1e-12
    assert x.grad is None
    assert x.dtype == np.float32


def test_integer_inputs_are_passed_on():
    assert gradcheck(lambda x, i: x.gather(1, i), [normal(2, 3), np.array([[0, 0], [2, 1]])])


def test_method_complex_reports_like_auto():
    assert gradcheck(lambda x: x.exp(), normal(3), method="complex").worst_error < 1e-12


def test_the_random_numbers_are_the_same_at_each_call_and_put_back():
    tinygrad_fm.manual_seed(0)
    before = default_generator().bit_generator.state
    assert gradcheck(lambda x: F.dropout(x, 0.3) ** 2, normal(4, 5)).worst_error < 1e-12
    assert default_generator().bit_generator.state == before


# ------------------------------------------------------------------------------ whole modules


def network():
    tinygrad_fm.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.3, np.random.default_rng(3)), nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip


def cross_entropy(target):
    return lambda y: F.cross_entropy(y, Tensor(target))


def test_a_network_and_its_loss_in_one_line():
    model = network()
    x, target = normal(6, 1, 8, 8).astype(np.float32), np.arange(6) % 3
    before = {name: array.copy() for name, array in model.state_dict().items()}
    noise = model[4].generator.bit_generator.state
    report = gradcheck(model, x, loss=cross_entropy(target))
    assert report.methods == {"complex step"}
    assert report.worst_error < 1e-9
    assert report.derivatives == 1 + len(list(model.parameters()))
    for name, array in model.state_dict().items():  # weights and running estimates stay
        assert array.dtype == before[name].dtype
        assert (array == before[name]).all()
    assert model[4].generator.bit_generator.state == noise
    assert all(p.grad is None for p in model.parameters())


def test_a_network_in_evaluation_and_with_frozen_parameters():
    model = network().eval()
    model[0].requires_grad_(False)
    x = normal(2, 1, 8, 8)
    report = gradcheck(model, x, loss=cross_entropy([0, 2]))
    assert report.ok
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert report.derivatives == 2 * (trained + x.size)


def test_a_network_on_integers_is_checked_in_its_parameters_alone():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(normal(5, 3))

        def forward(self, i):
            return self.weight[i]

    report = gradcheck(Table(), np.array([1, 1, 4]))
    assert report.derivatives == 15 * (9 + 1)


def test_a_wrong_gradient_in_a_network_names_the_parameter(monkeypatch):
    right = ops.Conv2d.backward

    def bias_of_the_first_image(node, grad):
        return (*right(node, grad)[:2], grad[0].sum(axis=(1, 2)))

    monkeypatch.setattr(ops.Conv2d, "backward", bias_of_the_first_image)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten())
    report = gradcheck(model, normal(8, 1, 10, 10), raise_exception=False)
    assert {failure.input for failure in report.failures} == {"0.bias"}
    assert all(failure.index is not None for failure in report.failures)

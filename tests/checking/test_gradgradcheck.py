"""What `gradgradcheck` says about right and wrong second derivatives."""

import numpy as np
import pytest

import tinygrad_fm as tg
from tinygrad_fm import Tensor, apply, gradcheck, gradgradcheck, nn, ops
from tinygrad_fm.checking import GradcheckError


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


class HalfCube(ops.Function):
    """x³, one term of whose second derivative is lost: of 3g·x·x the first x is a constant."""

    def forward(self, x):
        self.save_for_backward(x)
        return x**3

    def backward(self, grad):
        (x,) = self.saved
        return 3 * grad * x * (x.detach() if isinstance(x, Tensor) else x)


def test_both_are_where_pytorch_has_them():
    assert tg.autograd.gradcheck is tg.gradcheck is gradcheck
    assert tg.autograd.gradgradcheck is tg.gradgradcheck is gradgradcheck
    with pytest.raises(AttributeError, match="no attribute 'gradcheckk'"):
        tg.autograd.gradcheckk  # noqa: B018


def test_right_second_derivatives_pass_to_the_last_digits():
    report = gradgradcheck(lambda a, b: (a @ b).tanh(), [normal(3, 4), normal(4, 2)])
    assert report
    assert report.methods == {"complex step"}
    assert report.worst_error < 1e-12
    gradients, variables = 12 + 8, 12 + 8 + 6
    assert report.derivatives == variables * (gradients + 1)


def test_a_lost_term_is_named_with_both_values():
    x = normal(3) + 3
    assert gradcheck(lambda x: apply(HalfCube, x), x)
    with pytest.raises(GradcheckError) as caught:
        gradgradcheck(lambda x: apply(HalfCube, x), x, seed=4)
    assert {failure.input for failure in caught.value.report.failures} == {"input 0"}
    g = np.random.default_rng(4).standard_normal(3)  # as it says
    failure = caught.value.report.failures[0]
    assert failure.expected == pytest.approx(6 * x[0] * g[0])
    assert failure.computed == pytest.approx(3 * x[0] * g[0])
    assert failure.index == failure.output == (0,)


def test_a_large_input_is_checked_in_a_random_direction():
    assert gradgradcheck(lambda x: (x * x).sin(), normal(60, 50)).derivatives == 2
    with pytest.raises(GradcheckError, match="random combination of outputs"):
        gradgradcheck(lambda x: apply(HalfCube, x), normal(60, 50) + 5)


@pytest.mark.parametrize("method", ["auto", "complex", "difference"])
def test_a_network_and_its_loss(method):
    tg.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.SiLU(), nn.Dropout(0.3, np.random.default_rng(3)),
        nn.Flatten(), nn.Linear(48, 3), nn.LayerNorm(3),
    )  # fmt: skip
    before = [p.data.copy() for p in model.parameters()]
    loss = lambda y: nn.functional.cross_entropy(y, tg.tensor([0, 2]))  # noqa: E731
    report = gradgradcheck(model, normal(2, 1, 4, 4).astype(np.float32), loss=loss, method=method)
    assert report.worst_error < (1e-6 if method == "difference" else 1e-9)
    assert report.derivatives > 0
    for p, array in zip(model.parameters(), before, strict=True):
        assert (p.data == array).all()
        assert p.grad is None


def test_a_parameter_is_named():
    class Cubed(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(normal(3) + 3)

        def forward(self, x):
            return apply(HalfCube, self.w) * x

    report = gradgradcheck(Cubed(), normal(3), raise_exception=False)
    assert {failure.input for failure in report.failures} == {"model.w"}


def test_a_kink_of_the_slope_is_not_a_failure():
    report = gradgradcheck(lambda x: x.abs() * x, np.array([-1.0, 0.0, 2.0]))
    assert report.ok
    assert ("input 0", (1,)) in report.kinks


def test_a_linear_function_and_one_that_ignores_an_input_have_zeros():
    assert gradgradcheck(lambda x, y: 3 * x, [normal(3), normal(2)])
    assert gradgradcheck(lambda x: x.detach() * 2 + x * 0, normal(3))


def test_integer_inputs_are_passed_on_and_wrong_methods_refused():
    assert gradgradcheck(lambda x, i: x.gather(1, i) ** 3, [normal(2, 3), np.array([[0], [2]])])
    with pytest.raises(ValueError, match="method is one of auto, complex, difference"):
        gradgradcheck(lambda x: x, normal(3), method="magic")

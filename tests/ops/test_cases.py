"""Every case of the table, to second order, against mathematics and against PyTorch."""

import numpy as np
import pytest

import tinygrad_fm
from tinygrad_fm import Tensor, gradgradcheck
from tinygrad_fm.checking.cases import CASES
from tinygrad_fm.checking.cases.elementwise import ACTIVATIONS, ARITHMETIC
from tinygrad_fm.checking.run import check_case
from tinygrad_fm.reference.operations import (
    SECOND_TOLERANCE,
    TOLERANCE,
    torch_error,
    torch_second_error,
)

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@every_case
def test_gradients_are_the_derivatives(case):
    if not case.numeric:
        pytest.skip("rounding has no derivative")
    report = check_case(case)
    assert not report.kinks
    # Complex step reaches 1e-10, and runs only if the code keeps the dtype throughout.
    assert (report.methods == {"complex step"}) == case.analytic
    assert report.worst_error < (1e-10 if case.analytic else 1e-7)


@every_case
def test_second_derivatives_are_the_derivatives_of_the_first(case):
    if not case.numeric:
        pytest.skip("rounding has no derivative")
    report = check_case(case, check=gradgradcheck)
    assert not report.kinks
    assert (report.methods == {"complex step"}) == case.analytic
    assert report.worst_error < (1e-10 if case.analytic else 1e-7)


def second_derivative(fn):
    """⟨g′, ∂⟨g, fn⟩/∂(inputs)⟩ as a function of (inputs, g, g′): gradgradcheck's own function."""

    def first(*inputs):
        *given, g = inputs
        recorded = tinygrad_fm.is_grad_enabled()
        with tinygrad_fm.enable_grad():
            y = fn(*given)
            wanted = [x for x in given if x.requires_grad]
            found = tinygrad_fm.autograd.grad(
                y, wanted, g, create_graph=recorded, materialize_grads=True
            )
        return tinygrad_fm.cat([d.reshape(-1) for d in found])

    return first


@pytest.mark.parametrize(
    "case", [c for c in (*ARITHMETIC, *ACTIVATIONS) if c.numeric], ids=lambda case: case.name
)
def test_third_derivatives_of_what_acts_on_elements(case):
    def check(fn, inputs, raise_exception):
        with tinygrad_fm.no_grad():
            shape = fn(*map(Tensor, inputs)).shape
        g = np.random.default_rng(0).standard_normal(shape)
        return gradgradcheck(second_derivative(fn), [*inputs, g], raise_exception=raise_exception)

    report = check_case(case, check=check)
    assert not report.kinks
    assert report.worst_error < (1e-10 if case.analytic else 1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@every_case
def test_outputs_and_gradients_are_pytorchs(case, dtype):
    if case.random:
        pytest.skip("PyTorch draws other random numbers")
    assert torch_error(case, dtype) <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@every_case
def test_second_derivatives_are_pytorchs(case, dtype):
    if case.random:
        pytest.skip("PyTorch draws other random numbers")
    error = torch_second_error(case, dtype)
    if error is None:
        pytest.skip("PyTorch has no such derivative")
    assert error <= SECOND_TOLERANCE[dtype]

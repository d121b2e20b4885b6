"""Every case of the table against mathematics and against PyTorch."""

import pytest

from tinygrad_fm.checking.cases import CASES
from tinygrad_fm.checking.run import check_case
from tinygrad_fm.reference.operations import TOLERANCE, torch_error

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


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@every_case
def test_outputs_and_gradients_are_pytorchs(case, dtype):
    if case.random:
        pytest.skip("PyTorch draws other random numbers")
    assert torch_error(case, dtype) <= TOLERANCE[dtype]

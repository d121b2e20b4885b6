"""Everything public that has a derivative has a case."""

import inspect

import numpy as np
import pytest

import tinygrad_fm
from tinygrad_fm import Tensor, autograd, nn, ops
from tinygrad_fm.checking.cases import CASES
from tinygrad_fm.ops.dropout import KeepMask

NAMES = {case.of for case in CASES}


def test_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)


def test_every_operation_is_run_by_a_case():
    used = set()

    def watch(node, method, arguments, options):
        used.add(type(node))
        return method(*arguments, **options)

    with autograd.running(watch):
        for case in CASES:
            pairs = zip(case.draw(), case.inputs, strict=True)
            tensors = [Tensor(array, source.differentiable) for array, source in pairs]
            y = case.run(tinygrad_fm, *tensors)
            wanted = [t for t in tensors if t.requires_grad]
            first = autograd.grad(
                y, wanted, tinygrad_fm.ones_like(y).requires_grad_(), create_graph=True,
                materialize_grads=True,
            )  # fmt: skip
            second = [g for g in first if g.requires_grad]
            sum((g.float() * g.float()).sum() for g in second).backward(create_graph=True)
    assert set(ops.OPERATIONS) - used == set()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_arrays_are_inputs_and_options_are_static(case):
    def watch(node, method, arguments, options):
        hash(tuple(options.items()))  # no array, list or dictionary is hashable
        drawing = isinstance(node, KeepMask)  # the one that has no derivative
        assert drawing or not any(isinstance(v, np.random.Generator) for v in options.values())
        return method(*arguments, **options)

    arrays = case.draw()
    tensors = [
        Tensor(a, requires_grad=source.differentiable)
        for a, source in zip(arrays, case.inputs, strict=True)
    ]
    with autograd.running(watch):
        y = case.run(tinygrad_fm, *tensors)
        y.backward(Tensor(np.ones_like(y.data)))


def test_every_function_of_nn_functional_has_a_case():
    functions = {
        name
        for name, f in inspect.getmembers(nn.functional, inspect.isfunction)
        if f.__module__ == nn.functional.__name__ and not name.startswith("_")
    }
    no_derivative = {"one_hot"}
    assert functions - NAMES == no_derivative


def test_every_layer_and_loss_has_a_case():
    layers = {
        f"nn.{name}"
        for name, c in inspect.getmembers(nn, inspect.isclass)
        if issubclass(c, nn.Module) and c is not nn.Module
    }
    containers = {"nn.ModuleList"}
    assert layers - NAMES == containers


def test_every_differentiable_method_of_tensor_has_a_case():
    methods = {
        name
        for name, f in inspect.getmembers(Tensor, inspect.isfunction)
        if not name.startswith("_") and not name.endswith("_")
    }
    about_the_tensor = {"backward", "detach", "retain_grad", "accumulate_grad", "at"}
    about_the_tensor |= {"apply_function", "register_hook"}
    about_the_tensor |= {"size", "dim", "numel", "item", "tolist", "numpy", "long", "bool", "cpu"}
    no_derivative = {"argmax", "argmin", "all", "any", "eq", "ne", "lt", "le", "gt", "ge"}
    assert methods - NAMES == about_the_tensor | no_derivative


def test_every_module_level_function_has_a_case():
    functions = {
        name
        for name, f in inspect.getmembers(tinygrad_fm, inspect.isfunction)
        if name not in vars(Tensor)
    }
    makers = {"tensor", "from_numpy", "zeros", "ones", "full", "zeros_like", "ones_like", "eye"}
    makers |= {"arange", "rand", "randn", "randint", "randperm", "manual_seed"}
    switches = {"no_grad", "enable_grad", "is_grad_enabled", "detect_anomaly"}
    tools = {
        "gradcheck",
        "gradgradcheck",
        "apply",
        "compile",
        "profile",
        "set_num_threads",
        "get_num_threads",
    }
    assert functions - NAMES <= makers | switches | tools


@pytest.mark.parametrize("of", ["cross_entropy", "nll_loss", "mse_loss", "l1_loss", "kl_div",
                                "smooth_l1_loss", "binary_cross_entropy",
                                "binary_cross_entropy_with_logits"])  # fmt: skip
def test_every_loss_is_tried_with_every_reduction(of):
    ends = {case.what.split()[-1] for case in CASES if case.of == of}
    assert {"none", "mean", "sum"} <= ends


def test_drawing_a_case_gives_the_same_inputs_every_time():
    for case in CASES[:5]:
        for a, b in zip(case.draw(), case.draw(), strict=True):
            assert (a == b).all()

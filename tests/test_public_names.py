"""`__all__` of the public modules: its names exist, nothing is left out, `*` is harmless."""

import builtins
import importlib
import inspect

import pytest

PUBLIC = [
    "tinygrad_fm",
    *(
        f"tinygrad_fm.{name}"
        for name in (
            "autograd", "autograd.functional", "checking", "data", "errors", "export", "func", "nn",
            "nn.functional", "nn.init", "nn.prune", "nn.utils", "ops", "optim",
            "optim.lr_scheduler", "recipes", "report", "runs", "train", "tune",
        )
    ),
]  # fmt: skip
# What rooms lend each other.
HELPERS = {"default_", "empty", "extra", "fans", "hollow", "pruner"}


@pytest.mark.parametrize("name", PUBLIC)
def test_each_name_exists_and_is_listed_once(name):
    module = importlib.import_module(name)
    assert all(hasattr(module, listed) for listed in module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_defined_there_is_listed(name):
    module = importlib.import_module(name)
    defined = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and (value.__module__ == name or name == "tinygrad_fm")
    }
    assert defined - set(module.__all__) - HELPERS <= set(dir(builtins))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_star_leaves_pythons_own_names_alone(name):
    namespace = {}
    exec(f"from {name} import *", namespace)
    module = importlib.import_module(name)
    assert set(namespace) - {"__builtins__"} == set(module.__all__)
    assert not set(module.__all__) & set(dir(builtins))

"""The package's own errors have one root, and each is still the builtin error it stands for."""

import importlib
import inspect
import pkgutil

import pytest

import tinygrad_fm
from tinygrad_fm import errors

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(tinygrad_fm.__path__, "tinygrad_fm.")
    if not module.name.endswith("__main__")
]


def own_errors():
    """Every class of an exception that a module of the package defines (warnings are none)."""
    return {
        value
        for module in MODULES
        for value in vars(module).values()
        if inspect.isclass(value)
        and value.__module__.startswith("tinygrad_fm")
        and issubclass(value, Exception)
        and not issubclass(value, Warning)
    }


def test_every_error_of_the_package_has_the_root_and_stands_with_it():
    found = own_errors()
    assert {error.__name__ for error in found} == set(errors.__all__)
    assert all(issubclass(error, errors.TinygradError) for error in found)


@pytest.mark.parametrize(
    ("name", "builtin"),
    {
        "AnomalyError": FloatingPointError, "CommandError": RuntimeError,
        "DataUnavailable": RuntimeError, "ExportError": ValueError, "ExtractorError": ValueError,
        "GradcheckError": AssertionError, "IDXError": ValueError,
        "MissingPackageError": ModuleNotFoundError, "NonFiniteLossError": FloatingPointError,
        "PictureError": ValueError, "RunError": RuntimeError, "TuneError": RuntimeError,
        "WeightsError": ValueError,
    }.items(),
)  # fmt: skip
def test_an_error_is_also_the_builtin_that_callers_catch(name, builtin):
    assert builtin in getattr(errors, name).__bases__


def test_ctrl_c_and_signals_are_no_errors():
    assert not issubclass(
        importlib.import_module("tinygrad_fm.runs.interrupt").EndedBySignal, Exception
    )

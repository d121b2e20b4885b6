"""What a case is, and what its inputs are drawn from."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Draw = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Input:
    """One argument of a case: how it is drawn, and whether its gradient is wanted."""

    draw: Draw
    differentiable: bool = True


def normal(*shape: int, scale: float = 1.0) -> Input:
    """Standard normal, times `scale`."""
    return Input(lambda g: scale * g.standard_normal(shape))


def positive(*shape: int) -> Input:
    """Uniform between 0.5 and 2: for logarithms, roots, divisors and weights."""
    return Input(lambda g: g.uniform(0.5, 2.0, shape))


def probability(*shape: int) -> Input:
    """Uniform between 0.05 and 0.95."""
    return Input(lambda g: g.uniform(0.05, 0.95, shape))


def spread(*shape: int, reach: float = 2.0) -> Input:
    """Distinct values between ±reach, evenly spaced, none near 0: no ties, and no kinks at 0."""

    def draw(g: np.random.Generator) -> np.ndarray:
        n = int(np.prod(shape))
        values = (np.arange(n) - n // 2 + 0.37) * (2 * reach / n)
        return g.permutation(values).reshape(shape)

    return Input(draw)


def constant(source: Input) -> Input:
    """Drawn likewise, but without a gradient."""
    return Input(source.draw, differentiable=False)


def numbers(values: list) -> Input:
    """These very numbers."""
    return Input(lambda g: np.array(values, np.float64))


def given(values: Any) -> Input:
    """These very integers or booleans."""
    return Input(lambda g: np.array(values), differentiable=False)


def labels(classes: int, *shape: int) -> Input:
    """Integers below `classes`."""
    return Input(lambda g: g.integers(0, classes, shape), differentiable=False)


def mask(*shape: int) -> Input:
    """Booleans, half of them true."""
    return Input(lambda g: g.random(shape) < 0.5, differentiable=False)


@dataclass(frozen=True)
class Case:
    """A function of tensors on inputs, written once for both libraries, whose names are the same.

    Attributes:
        of: the public name that the case is about; a row of the printed table.
        what: what is special about this one among the cases of that name.
        run: `run(lib, *tensors)` with lib either tinygrad_fm or torch, returning one tensor.
        inputs: one for each tensor.
        analytic: whether complex step can judge it. Not so |x|, which drops imaginary parts, and
            layers with a frozen input: they refuse a real array beside a complex one.
        numeric: whether its derivative can be found from its values; rounding has none.
        random: whether it draws random numbers, which PyTorch would draw differently.
    """

    of: str
    what: str
    run: Callable[..., Any]
    inputs: tuple[Input, ...]
    analytic: bool = True
    numeric: bool = True
    random: bool = False

    @property
    def name(self) -> str:
        return f"{self.of} {self.what}".strip()

    def draw(self, dtype: str = "float64") -> list[np.ndarray]:
        """The inputs, always the same: of this floating dtype, or integers or booleans."""
        generator = np.random.default_rng(zlib.crc32(self.name.encode()))
        arrays = [np.asarray(source.draw(generator)) for source in self.inputs]
        return [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]


def case(of: str, what: str, run: Callable[..., Any], *inputs: Input, **flags: bool) -> Case:
    return Case(of, what, run, inputs, **flags)


def functional(of: str, what: str, *arguments: Any, **options: Any) -> Case:
    """A call of `nn.functional.<of>`, with a tensor for each `Input` among the arguments."""
    flags = _flags(options)
    values = (*arguments, *options.values())

    def run(lib: Any, *tensors: Any) -> Any:
        rest = iter(tensors)
        filled = [next(rest) if isinstance(value, Input) else value for value in values]
        named = dict(zip(options, filled[len(arguments) :], strict=True))
        return getattr(lib.nn.functional, of)(*filled[: len(arguments)], **named)

    return Case(of, what, run, tuple(v for v in values if isinstance(v, Input)), **flags)


def layer(
    of: str, what: str, arguments: tuple, *inputs: Input, training: bool = True, **options: Any
) -> Case:
    """The module `<of>(*arguments, **options)`; inputs as `module` takes them."""
    flags = _flags(options)

    def make(lib: Any) -> Any:
        return getattr(lib.nn, of.removeprefix("nn."))(*arguments, **options).train(training)

    return module(of, what, make, *inputs, **flags)


def module(
    of: str, what: str, make: Callable[[Any], Any], x: Input, *parameters: Input, **flags: bool
) -> Case:
    """A module `make(lib)` on x, its parameters replaced by further inputs, in their order."""

    def run(lib: Any, x: Any, *tensors: Any) -> Any:
        module = make(lib)
        if "32" not in str(x.dtype):  # complex inputs want float64 buffers as well
            module.double()
        names = [name for name, _ in module.named_parameters()]
        for name, tensor in zip(names, tensors, strict=True):
            *path, last = name.split(".")
            owner = module
            for step in path:
                owner = owner._modules[step]
            owner._parameters[last] = tensor
        return module(x)

    return Case(of, what, run, (x, *parameters), **flags)


def loss(of: str, what: str, *inputs: Input, **options: Any) -> Case:
    """The loss module `<of>(**options)` on (input, target)."""
    flags = _flags(options)

    def run(lib: Any, x: Any, target: Any) -> Any:
        return getattr(lib.nn, of.removeprefix("nn."))(**options)(x, target)

    return Case(of, what, run, inputs, **flags)


def _flags(options: dict[str, Any]) -> dict[str, Any]:
    """Take the attributes of a case out of the options of a function or module."""
    return {n: options.pop(n) for n in ("analytic", "numeric", "random") if n in options}

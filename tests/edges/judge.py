"""PyTorch as the judge of edge cases: one call in both libraries, and what became of it.

A table of cases is many calls of one operation. `surprises` runs them all and returns one line for
each that PyTorch does otherwise and that isn't a known difference, and for each known difference
that is none any more. The reasons of the known ones stand in docs/pytorch.md, "What differs".
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
import torch

import tinygrad_fm


class Outcome(Enum):
    """What a call in both libraries may end in."""

    AGREE = "agree"
    REFUSED = "both refuse"
    DIFFERS = "differs"
    ACCEPTED = "accepted, PyTorch raises"
    RAISED = "raises, PyTorch computes"


class Verdict(NamedTuple):
    """The outcome, and in words what differs."""

    outcome: Outcome
    detail: str = ""


class Case(NamedTuple):
    """A call `run(lib, *tensors)`, under a name that says what is special about it.

    `lib` is tinygrad_fm or torch, so the same line runs with both. Gradients of all floating-point
    inputs are compared as well, if the call returns something that has them.
    """

    name: str
    run: Callable[..., Any]
    inputs: tuple[np.ndarray, ...] = ()


class Known(NamedTuple):
    """A difference that is wanted or accepted: all cases whose names match (`*` and `?` as in file
    names) may end in `outcome`, and at least one must. The reason is for the reader."""

    names: str
    outcome: Outcome
    reason: str


TOLERANCE = {"float16": 1e-2, "float32": 1e-5, "float64": 1e-10}
REFUSALS = (TypeError, ValueError, IndexError, RuntimeError, ArithmeticError, NotImplementedError)


def surprises(cases: Iterable[Case], known: Iterable[Known] = ()) -> list[str]:
    """A line for each case that isn't as in PyTorch, and for each known difference that is gone."""
    left = set(known)
    lines = []
    for case in cases:
        outcome, detail = judge(case)
        if outcome in (Outcome.AGREE, Outcome.REFUSED):
            continue
        expected = [k for k in known if k.outcome == outcome and fnmatchcase(case.name, k.names)]
        left -= set(expected)
        if not expected:
            lines.append(f"{case.name}: {outcome.value}: {detail}")
    return lines + [f"{k.names}: no case is {k.outcome.value!r} any more: {k}" for k in left]


def judge(case: Case) -> Verdict:
    """The verdict on one case: values, dtypes, shapes, and gradients of inputs that have any."""
    return compare(
        lambda: in_one(tinygrad_fm, tinygrad_fm.tensor, case),
        lambda: in_one(torch, torch.from_numpy, case),
    )


def compare(call_ours: Callable[[], Any], call_theirs: Callable[[], Any]) -> Verdict:
    """What two calls end in: each is run once, and what they return or raise is compared."""
    ours, our_error = attempt(call_ours)
    theirs, their_error = attempt(call_theirs)
    if our_error is not None and their_error is not None:
        if isinstance(our_error, REFUSALS):
            return Verdict(Outcome.REFUSED)
        return Verdict(Outcome.RAISED, f"not a refusal: {our_error!r}; PyTorch: {their_error!r}")
    if our_error is not None:
        return Verdict(Outcome.RAISED, f"{our_error!r}; PyTorch: {in_short(theirs)}")
    if their_error is not None:
        first = str(their_error).split("\n")[0]
        return Verdict(Outcome.ACCEPTED, f"{in_short(ours)}; PyTorch: {first}")
    detail = difference(ours, theirs)
    return Verdict(Outcome.DIFFERS if detail else Outcome.AGREE, detail)


def attempt(call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What a call returns, and what it raises: one of them is None. Overflow may pass unwarned."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning)  # PyTorch's
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            return call(), None
    except Exception as error:
        return None, error


def in_one(lib: Any, wrap: Callable[[np.ndarray], Any], case: Case) -> tuple[list, list]:
    """The results of a call in one library as arrays and Python values, and the gradients."""
    inputs = [wrap(array.copy(order="K")) for array in case.inputs]
    leaves = [x.requires_grad_() for x in inputs if "float" in str(x.dtype)]
    results = flat(case.run(lib, *inputs))
    tensors = [r for r in results if hasattr(r, "grad_fn") and r.requires_grad]
    for i, tensor in enumerate(tensors):
        upstream = np.cos(np.arange(tensor.numel()) + i).reshape(tensor.shape)
        upstream = wrap(np.asarray(upstream, str(tensor.dtype).removeprefix("torch.")))
        tensor.backward(upstream, retain_graph=True)
    gradients = [x.grad for x in leaves] if tensors else []
    return [plain(r) for r in results], [plain(g) for g in gradients]


def flat(result: Any) -> list[Any]:
    """Tuples and lists taken apart."""
    if isinstance(result, tuple | list):
        return [leaf for part in result for leaf in flat(part)]
    return [result]


def plain(value: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    return value.detach().numpy() if hasattr(value, "detach") else value


def difference(ours: tuple[list, list], theirs: tuple[list, list]) -> str:
    """What is different between results and gradients of both, in words; empty if nothing is."""
    for what, these, those in zip(("result", "gradient"), ours, theirs, strict=True):
        if len(these) != len(those):
            return f"{len(these)} {what}s, PyTorch has {len(those)}"
        for i, (a, b) in enumerate(zip(these, those, strict=True)):
            if not same(a, b, what == "gradient"):
                return f"{what} {i}: {in_short(a)}, PyTorch {in_short(b)}"
    return ""


def same(a: Any, b: Any, gradient: bool = False) -> bool:
    """Whether values, dtypes and shapes are the same, as far as the dtype's precision goes.

    Errors are relative to the number itself or, if it is smaller, to the array's largest and 1;
    in a gradient, which may be what rounding left of a difference, to 1.
    """
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return type(a) is type(b) and (a == b or (a != a and b != b))
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    equal = (a == b) | ((a != a) & (b != b))
    tolerance = TOLERANCE.get(str(a.dtype))
    if tolerance is None or equal.all():
        return bool(equal.all())
    with np.errstate(all="ignore"):
        size = np.abs(np.where(np.isfinite(b), b, 0))
        return bool(
            np.all(
                equal
                | (
                    np.abs(a - b)
                    <= tolerance * np.maximum(size, 1 if gradient else min(size.max(), 1))
                )
            )
        )


def in_short(value: Any) -> str:
    """A value in a line of a report."""
    if isinstance(value, tuple | list):
        return ", ".join(map(in_short, value[:2]))
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape} {np.array2string(value.ravel()[:6], separator=',')}"
    return repr(value)

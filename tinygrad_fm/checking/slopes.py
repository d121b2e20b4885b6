"""Directional derivatives without backward: complex step and central differences.

For a function that is analytic near x, and a direction v,

    f(x + ihv) = f(x) + ih·f′(x)v + O(h²), so f′(x)v = Im f(x + ihv)/h

with no subtraction, hence no cancellation: h can be 10⁻²⁰ and the result is exact to rounding
(Squire & Trapp 1998, doi:10.1137/S003614459631241X). Differences need no complex arithmetic, and
lose half of the digits.

Both give two one-sided slopes, along v and against it. Where they differ, f has a kink: NumPy
orders complex numbers by the real part and then by the imaginary one, so that max(x, 0) at 0 takes
one side or the other with the sign of h.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from tinygrad_fm.checking.subject import Subject

COMPLEX_STEP = 1e-20
DIFFERENCE_STEP = 1e-5  # near the cube root of float64's precision, where both errors meet


class Slope(NamedTuple):
    """f′(x)v for each element of the (flat) output, and whether that element has a kink here."""

    value: np.ndarray
    kink: np.ndarray


def by_differences(subject: Subject, name: str, direction: np.ndarray, centre: np.ndarray) -> Slope:
    """(f(x + εv) - f(x - εv))/2ε, with `centre` = f(x).

    The two one-sided slopes of a smooth function differ by ε·f″: at half the step by half of that,
    at a quarter by a quarter. Of a kink at x the difference stays; of one between x and x + εv it
    shrinks in another way: no kink's place gives both the half and the quarter.
    """
    x = subject.point[name]
    step = DIFFERENCE_STEP * max(1.0, _largest(x))

    def one_sided(step: float) -> tuple[np.ndarray, np.ndarray]:
        ahead = subject.output({name: x + step * direction}) - centre
        behind = centre - subject.output({name: x - step * direction})
        return ahead / step, behind / step

    ahead, behind = one_sided(step)
    jump = np.abs(ahead - behind)
    rounding = 1e-7 * _largest(centre)
    kink = jump > 1e-4 * (np.abs(ahead) + np.abs(behind)) + rounding
    if kink.any():
        off = [np.abs(np.subtract(*one_sided(step / n))) - jump / n for n in (2, 4)]
        kink &= np.abs(off).max(axis=0) > 0.1 * jump
    edge = ~np.isfinite(jump)  # of where f is defined, as √x at 0
    return Slope(np.where(edge, 0, ahead + behind).ravel() / 2, (kink | edge).ravel())


def by_complex_step(
    subject: Subject, name: str, direction: np.ndarray, centre: np.ndarray
) -> Slope | None:
    """Im f(x + ihv)/h, or None if the function cannot take complex numbers."""
    x = subject.point[name]
    sides = []
    for h in (COMPLEX_STEP, -COMPLEX_STEP):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a lost imaginary part is only warned of
                y = subject.output({name: x + 1j * h * direction})
        except (TypeError, ValueError, FloatingPointError, Warning):
            return None
        if y.dtype.kind != "c" or not _close(y.real, centre):
            return None
        sides.append(y.imag / h)
    ahead, behind = sides
    if not (np.isfinite(ahead).all() and np.isfinite(behind).all()):
        return None
    rounding = 1e-8 * max(_largest(ahead), _largest(behind))
    return Slope((ahead + behind).ravel() / 2, (np.abs(ahead - behind) > rounding).ravel())


def _largest(array: np.ndarray) -> float:
    return float(np.abs(array).max(initial=0.0))


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and _largest(a - b) <= 1e-9 * max(1.0, _largest(b))

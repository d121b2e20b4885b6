"""`gradcheck`: are the gradients that `backward` computes the derivatives of `forward`?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.checking.slopes import Slope, by_complex_step, by_differences
from tinygrad_fm.checking.subject import Subject
from tinygrad_fm.errors import GradcheckError
from tinygrad_fm.nn import Module

METHODS = ("auto", "complex", "difference")
TOLERANCE = {"complex step": 1e-9, "differences": 1e-6}
FULL_JACOBIAN = 10_000  # up to so many entries of at most FULL_INPUTS inputs all are checked
FULL_INPUTS = 500
# Where the derivative is 0 a method gives the step squared times the third derivative: errors are
# relative to no less than this.
LEAST = {"complex step": 1e-20, "differences": 1e-3}
SAMPLE = 100  # so many elements are searched for the place of a failure

Place = tuple[str, tuple[int, ...] | None]  # of an input: its name and the index in it


@dataclass(frozen=True)
class Failure:
    """One derivative that backward got wrong.

    `index` is the element of the input (None: a random direction through all of it) and `output`
    the element of the output (None: a random combination of them).
    """

    input: str
    index: tuple[int, ...] | None
    output: tuple[int, ...] | None
    computed: float
    expected: float
    error: float
    method: str

    def __str__(self) -> str:
        output = "random combination of outputs" if self.output is None else f"output{self.output}"
        along = "along a random direction" if self.index is None else f"at {self.index}"
        return (
            f"d({output})/d({self.input}) {along}: backward computed {self.computed:.12g}, "
            f"{self.method} {self.expected:.12g} (relative error {self.error:.2g})"
        )


@dataclass
class GradcheckReport:
    """What `gradcheck` found. True if no derivative was wrong."""

    failures: list[Failure] = field(default_factory=list)
    kinks: list[Place] = field(default_factory=list)
    worst_error: float = 0.0
    derivatives: int = 0
    methods: set[str] = field(default_factory=set)

    def add(self, other: GradcheckReport) -> None:
        """Take in what was found of another input."""
        self.failures += other.failures
        self.kinks += other.kinks
        self.worst_error = max(self.worst_error, other.worst_error)
        self.derivatives += other.derivatives
        self.methods |= other.methods

    @property
    def ok(self) -> bool:
        """Whether no derivative was wrong."""
        return not self.failures

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        verdict = "passed" if self.ok else "FAILED"
        methods = " and ".join(sorted(self.methods)) or "no method"
        lines = [
            f"gradcheck {verdict}: {self.derivatives} derivatives by {methods}, "
            f"worst error {self.worst_error:.2g}"
        ]
        lines += [f"  {failure}" for failure in self.failures[:5]]
        lines += [f"  ... and {len(self.failures) - 5} more"] * (len(self.failures) > 5)
        if self.kinks:
            places = [f"{n}{'' if i is None else f' at {i}'}" for n, i in self.kinks[:5]]
            more = f" and {len(self.kinks) - 5} more" * (len(self.kinks) > 5)
            lines.append(f"  not differentiable here, left out: {', '.join(places)}{more}")
        return "\n".join(lines)


def gradcheck(
    fn: Callable[..., Tensor] | Module,
    inputs: Any,
    *,
    loss: Callable[[Tensor], Tensor] | None = None,
    method: str = "auto",
    seed: int = 0,
    raise_exception: bool = True,
) -> GradcheckReport:
    """Compare the gradients of a function, or of a network of your own, with its derivatives.

    Every floating-point input is checked, and every parameter of a `Module` that is trained; both
    are converted to float64 (copies: the model is left as it is). A small Jacobian is checked
    entry by entry, a large one by v·(Jᵀg) = (Jv)·g for random g and, for each input, random v.

    Args:
        fn: a function of tensors that returns one tensor, or a module.
        inputs: one array or tensor, or a list of them; integer ones are passed on.
        loss: applied to the output of `fn`.
        method: "complex" step (exact to rounding, for analytic code), central "difference"s, or
            "auto": complex step, and where that does not work or does not agree, differences.
        seed: of the random g and v.
        raise_exception: raise if a gradient is wrong, as PyTorch's gradcheck does.

    Returns:
        A report, true if all is well. Errors are relative: to the derivative or, where that is
        nearly zero, to the size of output over input. Kinks (ReLU at 0, ties in pooling) are
        listed in it; they are not failures.

    Raises:
        GradcheckError: naming the input, the index, both values and the error.
        ValueError: if there is nothing to check, if the output is not finite, or if
            `method="complex"` and the function cannot take complex numbers.

    Examples:
        >>> import numpy as np
        >>> from tinygrad_fm import gradcheck, nn
        >>> x, t = np.random.default_rng(0).standard_normal((8, 4)), np.arange(8) % 3
        >>> model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
        >>> bool(gradcheck(model, x, loss=lambda y: nn.functional.cross_entropy(y, t)))
        True
    """
    if method not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}; got {method!r}")
    inputs = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    check = _Check(Subject(fn, inputs, loss), method, np.random.default_rng(seed))
    for name in check.subject.variables:
        check.examine(name)
    if raise_exception and not check.report.ok:
        raise GradcheckError(check.report)
    return check.report


Directions = Iterable[tuple[tuple[int, ...] | None, np.ndarray]]


class _Check:
    """One run of `gradcheck`: the gradients by backward, to be compared with slopes."""

    def __init__(self, subject: Subject, method: str, generator: np.random.Generator) -> None:
        self.subject, self.method, self.generator = subject, method, generator
        self.report = GradcheckReport()
        centre = subject.output({})
        if not np.isfinite(centre).all():
            raise ValueError("gradcheck needs a point where the output is finite, got NaN or ∞")
        self.shape, self.centre = centre.shape, centre.ravel()
        elements = sum(x.size for x in subject.point.values())
        self.full = elements <= FULL_INPUTS and elements * centre.size <= FULL_JACOBIAN
        upstreams = [generator.standard_normal(self.shape)]
        if self.full:  # a unit vector for each output as well: the Jacobian row by row
            upstreams += list(np.eye(centre.size).reshape(-1, *self.shape))
        self.upstreams = np.stack([u.ravel() for u in upstreams])  # (U, outputs)
        self.gradients = subject.gradients(upstreams)

    def examine(self, name: str) -> None:
        """Check one variable: element by element, or in a random direction first."""
        x = self.subject.point[name]
        if x.size == 0 or self.centre.size == 0:
            return
        if self.full:
            self.report.add(self.compare(name, unit_vectors(x.shape, range(x.size))))
            return
        direction = self.generator.standard_normal(x.shape)
        found = self.compare(name, [(None, direction / np.linalg.norm(direction))])
        if found.failures or found.kinks:  # single elements tell which of the two it is, and where
            sample = self.generator.permutation(x.size)[:SAMPLE].tolist()
            closer = self.compare(name, unit_vectors(x.shape, sample))
            found = closer if closer.failures or closer.kinks else found
        self.report.add(found)

    def compare(self, name: str, directions: Directions) -> GradcheckReport:
        """Compare (Jᵀg)·v with g·(Jv) for every upstream g and every direction v."""
        gradients = np.stack([g[name].ravel() for g in self.gradients])  # (U, elements)
        report = GradcheckReport()
        for index, direction in directions:
            moved = np.flatnonzero(direction)  # an infinite slope elsewhere does not matter
            computed = gradients[:, moved] @ direction.ravel()[moved]
            method, expected, error, smooth = self.judge(name, direction, computed)
            report.methods.add(method)
            report.derivatives += int(smooth.sum())
            report.worst_error = max(report.worst_error, float(error.max()))
            if not smooth.all():
                report.kinks.append((name, index))
            wrong = np.flatnonzero(error > TOLERANCE[method])
            # The random combination of outputs, the first upstream, only if no single output is.
            for u in wrong[wrong > 0] if (wrong > 0).any() else wrong:
                output = None if u == 0 else _index(u - 1, self.shape)
                found = float(computed[u]), float(expected[u]), float(error[u])
                report.failures.append(Failure(name, index, output, *found, method))
        return report

    def judge(
        self, name: str, direction: np.ndarray, computed: np.ndarray
    ) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
        """The first method that confirms the derivatives, or the last one, and its findings.

        Returns:
            The method, and for each upstream the expected derivative, the error of the computed
            one (0 at kinks), and whether the function is smooth.
        """
        x = self.subject.point[name]
        typical = float(np.abs(self.centre).max()) / max(1.0, float(np.abs(x).max()))
        for method, slope in self.slopes(name, direction, typical):
            expected = self.upstreams @ slope.value
            smooth = ~((self.upstreams != 0) & slope.kink).any(axis=1)
            if slope.kink.any():  # 0·∞, where the slope of another output is infinite
                smooth &= np.isfinite(computed)
            size = np.maximum(np.abs(expected), np.abs(computed))
            # Nearly zero derivatives are rounding noise of the larger numbers around them.
            floor = max(1e-3 * typical, 1e-3 * float(size.max()), LEAST[method])
            with np.errstate(invalid="ignore"):  # of infinite gradients
                error = np.abs(computed - expected) / np.maximum(size, floor)
            error[np.isnan(error)] = np.inf
            error[~smooth] = 0.0
            if error.max() <= TOLERANCE[method]:
                break
        return method, expected, error, smooth

    def slopes(self, name: str, direction: np.ndarray, typical: float) -> list[tuple[str, Slope]]:
        """The derivative along `direction` by each method that can be used, most exact first."""
        where = self.subject, name, direction, self.centre.reshape(self.shape)
        if self.method == "difference":
            return [("differences", by_differences(*where))]
        exact = by_complex_step(*where)
        if self.method == "complex":
            if exact is None:
                raise ValueError(
                    "the function cannot take complex numbers, or lost their imaginary part; "
                    'use method="difference"'
                )
            return [("complex step", exact)]
        rough = by_differences(*where)
        if exact is None:
            return [("differences", rough)]
        # Code that is not analytic, such as |x|, drops imaginary parts unnoticed; differences on
        # the other hand stumble over kinks nearby. Where the two do not agree, either may confirm.
        size = max(float(np.abs(rough.value).max()), 1e-3 * typical) or 1.0
        apart = float((np.abs(exact.value - rough.value) * ~rough.kink).max()) / size
        usable = [("complex step", exact)] if apart < 0.01 else []
        if apart > TOLERANCE["differences"] or rough.kink.any():
            usable.append(("differences", rough))
        return usable


def unit_vectors(shape: tuple[int, ...], elements: Iterable[int]) -> Directions:
    """For each element its index, and the direction that moves it alone."""
    for element in elements:
        direction = np.zeros(shape)
        direction.flat[element] = 1.0
        yield _index(element, shape), direction


def _index(element: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(element, shape))

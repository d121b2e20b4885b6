"""The table of cases: for every public operation, layer and loss, inputs and arguments to try.

Every check is generated from it: against complex step or differences, against PyTorch, and the
invariants of the test suite. An operation without a case fails the tests.
"""

from tinygrad_fm.checking.cases.case import Case
from tinygrad_fm.checking.cases.elementwise import ACTIVATIONS, ARITHMETIC
from tinygrad_fm.checking.cases.layers import LAYERS
from tinygrad_fm.checking.cases.losses import LOSSES
from tinygrad_fm.checking.cases.products import PRODUCTS
from tinygrad_fm.checking.cases.reductions import REDUCTIONS
from tinygrad_fm.checking.cases.shapes import SHAPES

CASES: tuple[Case, ...] = (
    *ARITHMETIC, *ACTIVATIONS, *REDUCTIONS, *SHAPES, *PRODUCTS, *LAYERS, *LOSSES,
)  # fmt: skip

__all__ = ["CASES", "Case"]

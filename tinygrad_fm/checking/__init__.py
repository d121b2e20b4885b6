"""Proof that gradients are right: against mathematics here, against PyTorch in `reference`."""

from tinygrad_fm.checking.check import GradcheckReport, gradcheck
from tinygrad_fm.checking.second import gradgradcheck
from tinygrad_fm.errors import GradcheckError

__all__ = ["GradcheckError", "GradcheckReport", "gradcheck", "gradgradcheck"]

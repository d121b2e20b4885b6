"""Proof that gradients are right: against mathematics here, against PyTorch in `reference`."""

from tinygrad_fm.checking.check import GradcheckError, GradcheckReport, gradcheck
from tinygrad_fm.checking.second import gradgradcheck

__all__ = ["GradcheckError", "GradcheckReport", "gradcheck", "gradgradcheck"]

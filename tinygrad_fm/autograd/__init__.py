"""Recording what is computed, and differentiating it: PyTorch's `torch.autograd`."""

from typing import TYPE_CHECKING, Any

from tinygrad_fm.autograd import functional
from tinygrad_fm.autograd.anomaly import detect_anomaly
from tinygrad_fm.autograd.custom import Function, once_differentiable
from tinygrad_fm.autograd.engine import backward, grad
from tinygrad_fm.autograd.mode import enable_grad, is_grad_enabled, mode, no_grad, running
from tinygrad_fm.errors import AnomalyError

if TYPE_CHECKING:
    from tinygrad_fm.checking import gradcheck, gradgradcheck

__all__ = [
    "AnomalyError", "Function", "backward", "detect_anomaly", "enable_grad", "functional", "grad",
    "gradcheck", "gradgradcheck", "is_grad_enabled", "no_grad", "once_differentiable",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """The two checks, which are built on layers, and those on this."""
    if name not in ("gradcheck", "gradgradcheck"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tinygrad_fm import checking

    return getattr(checking, name)

"""A function of tensors planned once: traced, fused, laid out in memory, and then replayed."""

from tinygrad_fm.plan.compiled import compile

__all__ = ["compile"]

"""torchvision for the tests, also where only its Python half loads."""

from tinygrad_fm.reference.torchvision import import_torchvision

__all__ = ["import_torchvision"]

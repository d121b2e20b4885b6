"""The PyTorch twins: the only room that imports torch or torchvision."""

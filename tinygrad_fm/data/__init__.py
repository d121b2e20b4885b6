"""Data sets, transforms of whole batches, and the loader that feeds a training loop."""

from tinygrad_fm.data.catalog import MNIST, FashionMNIST, load
from tinygrad_fm.data.dataset import ArrayDataset, Dataset
from tinygrad_fm.data.garments import Garments
from tinygrad_fm.data.idx import read_idx
from tinygrad_fm.data.loader import DataLoader
from tinygrad_fm.data.picture import as_input, read_picture
from tinygrad_fm.data.sources import locate
from tinygrad_fm.data.split import train_validation_split
from tinygrad_fm.data.transforms import (
    Compose,
    Normalize,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomRotation,
    ToFloat,
    Transform,
)
from tinygrad_fm.errors import DataUnavailable, IDXError, PictureError

__all__ = [
    "MNIST",
    "ArrayDataset",
    "Compose",
    "DataLoader",
    "DataUnavailable",
    "Dataset",
    "FashionMNIST",
    "Garments",
    "IDXError",
    "Normalize",
    "PictureError",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomRotation",
    "ToFloat",
    "Transform",
    "as_input",
    "load",
    "locate",
    "read_idx",
    "read_picture",
    "train_validation_split",
]

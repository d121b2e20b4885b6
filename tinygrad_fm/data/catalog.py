"""The data sets by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinygrad_fm.data.dataset import ArrayDataset
from tinygrad_fm.data.garments import Garments
from tinygrad_fm.data.idx import read_idx
from tinygrad_fm.data.sources import idx_file, locate

DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def MNIST(train: bool = True, data_dir: str | Path | None = None) -> ArrayDataset:
    """Handwritten digits: 60,000 training or 10,000 test images of 28x28 gray pixels.

    Source: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/.

    Raises:
        DataUnavailable: not found and not downloadable; see `tinygrad_fm.data.locate`.
        IDXError: a damaged file.
    """
    return _read(locate("mnist", data_dir), train, DIGITS, "MNIST")


def FashionMNIST(train: bool = True, data_dir: str | Path | None = None) -> ArrayDataset:
    """Pictures of clothes: 60,000 training or 10,000 test images of 28x28 gray pixels.

    Source: Xiao, Rasul and Vollgraf (2017), https://arxiv.org/abs/1708.07747.

    Raises:
        DataUnavailable: not found and not downloadable; see `tinygrad_fm.data.locate`.
        IDXError: a damaged file.
    """
    return _read(locate("fashion-mnist", data_dir), train, CLOTHES, "Fashion-MNIST")


def load(name: str, data_dir: str | Path | None = None) -> tuple[ArrayDataset, ArrayDataset]:
    """Return the training and the test set of "mnist", "fashion-mnist" or "garments".

    The built-in garments are drawn, not read: `data_dir` does not matter for them.

    Raises:
        ValueError: unknown name.
        DataUnavailable: not found and not downloadable; never another data set in its place.
    """
    if name == "garments":
        return Garments(train=True), Garments(train=False)
    readers = {"mnist": MNIST, "fashion-mnist": FashionMNIST}
    if name not in readers:
        raise ValueError(f"unknown data set {name!r}; choose from {[*readers, 'garments']}")
    return readers[name](True, data_dir), readers[name](False, data_dir)


def _read(folder: Path, train: bool, classes: tuple[str, ...], name: str) -> ArrayDataset:
    prefix = "train" if train else "t10k"
    images = read_idx(idx_file(folder, f"{prefix}-images-idx3-ubyte"))
    labels = read_idx(idx_file(folder, f"{prefix}-labels-idx1-ubyte"))
    return ArrayDataset(images[:, np.newaxis], labels.astype(np.int64), classes, name)

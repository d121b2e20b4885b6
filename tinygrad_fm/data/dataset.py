"""`ArrayDataset`: labelled pictures, all in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np


class Dataset(Protocol):
    """What a `DataLoader` needs: inputs (N, ...) and labels (N,)."""

    @property
    def images(self) -> np.ndarray: ...
    @property
    def labels(self) -> np.ndarray: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False, repr=False)
class ArrayDataset:
    """Images and their labels.

    Attributes:
        images: uint8, (N, C, H, W); (N, 1, 28, 28) in every data set of this package.
        labels: int64, (N,), each an index into `classes`.
        classes: the classes' names.
        name: what tables and pictures call the data set.

    Raises:
        TypeError: wrong dtypes.
        ValueError: wrong shapes, counts that differ, labels out of range.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        for field, array, dtype in (
            ("images", self.images, np.uint8),
            ("labels", self.labels, np.int64),
        ):
            if array.dtype != dtype:
                raise TypeError(
                    f"{self.name}: expected {dtype.__name__} {field}, got {array.dtype}; "
                    f"convert with {field}.astype(np.{dtype.__name__})"
                )
        if self.images.ndim != 4:
            raise ValueError(
                f"{self.name}: expected images of shape (N, C, H, W), got {self.images.shape}; "
                "reshape them, gray images have C = 1"
            )
        if self.labels.shape != (len(self.images),):
            raise ValueError(
                f"{self.name}: {len(self.images)} images need labels of shape "
                f"({len(self.images)},), got {self.labels.shape}; images and labels may come "
                "from different files"
            )
        wrong = self.labels[(self.labels < 0) | (self.labels >= len(self.classes))]
        if wrong.size:
            raise ValueError(
                f"{self.name}: expected labels 0 to {len(self.classes) - 1} "
                f"({len(self.classes)} classes), got {wrong[0]} among {wrong.size} out of range"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Return one image (C, H, W) and its label."""
        return self.images[index], int(self.labels[index])

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.images.shape[1:]))
        return f"ArrayDataset({self.name}: {len(self)} images {shape}, {len(self.classes)} classes)"

    def subset(self, indices: Sequence[int] | np.ndarray) -> ArrayDataset:
        """Return the data set of the images at these integer indices, in their order.

        Raises:
            TypeError: indices that are not integers.
        """
        indices = np.asarray(indices)
        if indices.size == 0:
            indices = indices.astype(np.intp)
        if not np.issubdtype(indices.dtype, np.integer):
            raise TypeError(
                f"subset expected integer indices, got {indices.dtype}; "
                "turn a boolean mask into indices with np.flatnonzero(mask)"
            )
        return replace(self, images=self.images[indices], labels=self.labels[indices])

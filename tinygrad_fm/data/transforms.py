"""Transforms of whole batches: torchvision's names and meanings, drawn anew for each image.

Every transform is called as `transform(images, generator)` with images of shape (B, C, H, W) and
returns a new array. A random transform draws its parameters from the generator, then hands them
to a plain function (`crop`, `hflip`, `rotate`, `erase`) that knows nothing of chance. Only
`ToFloat` changes the dtype; crop, flip and rotation take the data set's uint8 pixels as well.

Source: https://docs.pytorch.org/vision/stable/transforms.html (torchvision.transforms.v2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Interpolation = Literal["nearest", "bilinear"]
ROTATION_CHUNK = 32  # images rotated at once: few enough for the processor's cache


@dataclass(frozen=True)
class Compose:
    """Apply transforms one after the other, all drawing from the same generator."""

    transforms: Sequence[Transform]

    def __call__(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        for transform in self.transforms:
            images = transform(images, generator)
        return images


@dataclass(frozen=True)
class ToFloat:
    """uint8 pixels 0 to 255 -> float32 0 to 1 (torchvision's `ToDtype(torch.float32, scale=True)`).

    Raises:
        TypeError: images that are not uint8.
    """

    def __call__(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        if images.dtype != np.uint8:
            raise TypeError(f"ToFloat expected uint8 images, got {images.dtype}; apply it once")
        return np.divide(images, 255, dtype=np.float32)


@dataclass(frozen=True)
class Normalize:
    """(images - mean) / std, with one number for all channels or one for each.

    Raises:
        TypeError: images that are not floating point.
        ValueError: a standard deviation that is not positive.
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]

    def __post_init__(self) -> None:
        if not np.all(np.asarray(self.std) > 0):
            raise ValueError(f"Normalize expected std > 0, got {self.std}")

    def __call__(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        _check_floats(images, "Normalize")
        mean, std = (
            np.reshape(number, (-1, 1, 1)).astype(images.dtype) for number in (self.mean, self.std)
        )
        images = images - mean  # (B, C, H, W) - (C, 1, 1)
        images /= std
        return images


@dataclass(frozen=True)
class RandomCrop:
    """Cut a window of `size` from a random place of each image, after padding it with zeros.

    Args:
        size: height and width of the window, or one number for both.
        padding: zeros added on all four sides first.

    Raises:
        ValueError: a window larger than the padded images.
    """

    size: int | tuple[int, int]
    padding: int = 0

    def __call__(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        size = (self.size, self.size) if isinstance(self.size, int) else self.size
        images = _pad(images, self.padding)
        batch, _, height, width = images.shape
        if height < size[0] or width < size[1]:
            raise ValueError(
                f"RandomCrop expected images of at least {size} pixels, got {(height, width)} "
                f"with padding {self.padding}; crop less or pad more"
            )
        tops = generator.integers(0, height - size[0] + 1, batch)
        lefts = generator.integers(0, width - size[1] + 1, batch)
        return crop(images, tops, lefts, size)


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirror each image, left to right, with probability p.

    Raises:
        ValueError: a p that is not between 0 and 1.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_probability(self.p, "RandomHorizontalFlip")

    def __call__(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return hflip(images, generator.random(len(images)) < self.p)


@dataclass(frozen=True)
class RandomRotation:
    """Turn each image by a random angle about its centre; what comes in from outside is 0.

    Args:
        degrees: (min, max), or one number d for (-d, d); positive is counter-clockwise.
        interpolation: "nearest" or "bilinear".

    Raises:
        ValueError: another interpolation, when it is called.
    """

    degrees: float | tuple[float, float]
    interpolation: Interpolation = "nearest"

    def __call__(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        degrees = self.degrees
        low, high = (-degrees, degrees) if isinstance(degrees, (int, float)) else degrees
        return rotate(images, generator.uniform(low, high, len(images)), self.interpolation)


@dataclass(frozen=True)
class RandomErasing:
    """Overwrite a random rectangle of each image, with probability p.

    Zhong et al. (2017), Random Erasing Data Augmentation, https://arxiv.org/abs/1708.04896.

    Args:
        scale: range of the rectangle's share of the image area, drawn uniformly.
        ratio: range of height / width, drawn uniformly in the logarithm.
        value: the number to write, or "random" for standard normal noise.

    Raises:
        TypeError: images that are not floating point.
        ValueError: an unknown value, a p that is not between 0 and 1, or a range that is not
            ascending and positive.
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: float | Literal["random"] = 0.0

    def __post_init__(self) -> None:
        _check_probability(self.p, "RandomErasing")
        if isinstance(self.value, str) and self.value != "random":
            raise ValueError(f'RandomErasing expected a number or "random", got {self.value!r}')
        if not (0 <= self.scale[0] <= self.scale[1] <= 1 and 0 < self.ratio[0] <= self.ratio[1]):
            raise ValueError(
                "RandomErasing expected 0 <= min <= max <= 1 for scale and 0 < min <= max for "
                f"ratio, got scale {self.scale} and ratio {self.ratio}"
            )

    def __call__(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        _check_floats(images, "RandomErasing")
        batch, channels, height, width = images.shape
        heights, widths = self._draw_sizes(batch, height, width, generator)
        kept = generator.random(batch) >= self.p
        heights[kept] = 0
        tops = generator.integers(0, height - heights + 1)
        lefts = generator.integers(0, width - widths + 1)
        if self.value != "random":
            return erase(images, tops, lefts, heights, widths, self.value)
        noise = generator.standard_normal(channels * int(heights @ widths), np.float32)
        return erase(images, tops, lefts, heights, widths, noise)

    def _draw_sizes(
        self, batch: int, height: int, width: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        # As torchvision: the first of ten tries that is smaller than the image, or else nothing.
        shape = (batch, 10)
        area = height * width * generator.uniform(*self.scale, shape)
        low, high = self.ratio
        aspect = np.exp(generator.uniform(math.log(low), math.log(high), shape))
        heights = np.rint(np.sqrt(area * aspect)).astype(np.int64)
        widths = np.rint(np.sqrt(area / aspect)).astype(np.int64)
        fits = (heights < height) & (widths < width)
        chosen = np.arange(batch), fits.argmax(axis=1)
        return heights[chosen] * fits[chosen], widths[chosen] * fits[chosen]


def crop(
    images: np.ndarray, tops: np.ndarray, lefts: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Cut a window (height, width) from each image: (B, C, H, W) -> (B, C, height, width)."""
    # All windows as a view, (B, C, tops, lefts, height, width); then one of them for each image.
    windows = sliding_window_view(images, size, axis=(2, 3))
    return windows[np.arange(len(images)), :, tops, lefts]


def hflip(images: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Mirror, left to right, the images (B, C, H, W) whose flag (B,) is set."""
    flipped = images.copy()
    flipped[flags] = images[flags, ..., ::-1]
    return flipped


def rotate(
    images: np.ndarray, angles: np.ndarray, interpolation: Interpolation = "nearest"
) -> np.ndarray:
    """Turn each image (B, C, H, W) counter-clockwise by its angle (B,) in degrees.

    The pixel (x, y), measured from the centre with y pointing down, takes its value from
    (x cos a - y sin a, x sin a + y cos a); everything outside the image counts as 0.

    Raises:
        ValueError: an interpolation that is not "nearest" or "bilinear".
    """
    if interpolation not in ("nearest", "bilinear"):
        raise ValueError(f'rotate expected "nearest" or "bilinear", got {interpolation!r}')
    sample = _nearest if interpolation == "nearest" else _bilinear
    height, width = images.shape[2:]
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    precision = np.result_type(images.dtype, np.float32)
    y, x = np.indices((height, width), precision).reshape(2, -1)  # (H·W,)
    y, x = y - middle_y, x - middle_x
    radians = np.deg2rad(angles)[:, None]
    sin, cos = np.sin(radians).astype(precision), np.cos(radians).astype(precision)

    rotated = np.empty_like(images)
    for start in range(0, len(images), ROTATION_CHUNK):
        part = slice(start, start + ROTATION_CHUNK)
        rows = sin[part] * x + cos[part] * y + middle_y  # (B, 1) * (H·W,) -> (B, H·W)
        columns = cos[part] * x - sin[part] * y + middle_x
        values = sample(images[part], rows, columns)
        if np.issubdtype(images.dtype, np.integer):
            values = np.rint(values)
        rotated[part] = values.reshape(rotated[part].shape)
    return rotated


def erase(
    images: np.ndarray,
    tops: np.ndarray,
    lefts: np.ndarray,
    heights: np.ndarray,
    widths: np.ndarray,
    value: float | np.ndarray,
) -> np.ndarray:
    """Overwrite one rectangle of each image (B, C, H, W).

    Args:
        tops, lefts, heights, widths: of the rectangles, (B,); a height of 0 erases nothing.
        value: a number, or one for each erased pixel of the batch, in the order of memory.
    """
    y, x = np.arange(images.shape[2]), np.arange(images.shape[3])
    rows = (y >= tops[:, None]) & (y < (tops + heights)[:, None])  # (B, H)
    columns = (x >= lefts[:, None]) & (x < (lefts + widths)[:, None])  # (B, W)
    inside = rows[:, None, :, None] & columns[:, None, None, :]  # (B, 1, H, W)
    erased = images.copy()
    erased[np.broadcast_to(inside, images.shape)] = value
    return erased


def _check_floats(images: np.ndarray, transform: str) -> None:
    if not np.issubdtype(images.dtype, np.floating):
        raise TypeError(f"{transform} expected floats, got {images.dtype}; put ToFloat() before it")


def _check_probability(p: float, transform: str) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"{transform} expected a probability p from 0 to 1, got {p}")


def _pad(images: np.ndarray, padding: int) -> np.ndarray:
    batch, channels, height, width = images.shape
    shape = (batch, channels, height + 2 * padding, width + 2 * padding)
    padded = np.zeros(shape, images.dtype)
    padded[:, :, padding : padding + height, padding : padding + width] = images
    return padded


def _nearest(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values of the pixels nearest to points (B, H·W): -> (B, C, H·W)."""
    return _gather(images, np.rint(rows), np.rint(columns))


def _bilinear(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values at points (B, H·W), mixed from the four pixels around them: -> (B, C, H·W)."""
    top, left = np.floor(rows), np.floor(columns)
    down, right = (rows - top)[:, None], (columns - left)[:, None]  # (B, 1, H·W), in [0, 1)
    pixel = partial(_gather, images)
    upper = (1 - right) * pixel(top, left) + right * pixel(top, left + 1)
    lower = (1 - right) * pixel(top + 1, left) + right * pixel(top + 1, left + 1)
    return (1 - down) * upper + down * lower


def _gather(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Pixels at integral rows and columns (B, H·W); outside they are 0: -> (B, C, H·W)."""
    batch, channels, height, width = images.shape
    padded = _pad(images, 1)  # a border of zeros stands for everything outside
    rows = rows.clip(-1, height).astype(np.intp) + 1
    columns = columns.clip(-1, width).astype(np.intp) + 1
    index = (rows * (width + 2) + columns)[:, None]  # (B, 1, H·W)
    planes = np.arange(batch * channels).reshape(batch, channels, 1)
    # One flat index into all pixels: np.take_along_axis takes ten times as long.
    return padded.take(index + planes * (height + 2) * (width + 2))

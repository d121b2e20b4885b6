"""An ordinary picture (a photo, a scan, a drawing) as an input like those of a data set.

`fashion_input` follows Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, section 2,
https://arxiv.org/abs/1708.07747), `digit_input` follows MNIST (LeCun, Cortes and Burges,
http://yann.lecun.com/exdb/mnist/). Both start from a garment or digit that lies on a plain
background, lighter or darker than itself, and end with a light one on black, 28×28.
"""

from __future__ import annotations

import math
import os
import warnings
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_fm.errors import PictureError, extra
from tinygrad_fm.files import open_regular

if TYPE_CHECKING:
    from PIL import Image

SIDE = 28
DIGIT_SIDE = 20  # MNIST's digits fit a box of 20×20, centred by their mass in 28×28
MAX_PIXELS = 50_000_000  # a large camera's; 200 MB while it is decoded
MAX_STRETCH = 100  # a longer strip leaves nothing to see
WORKING_SIDE = 1024  # larger pictures are shrunk to this before anything is computed
NEAR = 0.05  # of the largest possible distance of two colours: still background


def read_picture(path: str | os.PathLike[str]) -> Image.Image:
    """Read a PNG or JPEG as RGB, upright, at most 1024 pixels a side, transparency on white.

    Raises:
        PictureError: no PNG or JPEG, damaged, of absurd size or proportions.
        OSError: the file cannot be opened, or is a pipe or device.
        MissingPackageError: Pillow is not installed.
    """
    with extra("data"):
        from PIL import Image, ImageOps, UnidentifiedImageError
    with open_regular(path) as file:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd metadata; sizes are checked below
                image = Image.open(file, formats=("PNG", "JPEG"))
                _check_size(image.size, path)
                # A JPEG can be decoded at half, a quarter or an eighth of its size.
                image.draft(None, (WORKING_SIDE, WORKING_SIDE))
                upright = _on_white(ImageOps.exif_transpose(image))
        except PictureError:
            raise
        except Image.DecompressionBombError as error:
            raise PictureError(f"{path} is too large to be decoded: {error}") from error
        except MemoryError as error:
            raise PictureError(f"{path} is too large for the memory; make it smaller") from error
        except UnidentifiedImageError as error:
            raise PictureError(f"{path} is no PNG or JPEG; convert it to one") from error
        except Exception as error:  # decoders stumble over damaged files in any way there is
            raise PictureError(
                f"{path} is a damaged PNG or JPEG ({error}); save it again"
            ) from error
    upright.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BOX)
    return upright


def as_input(image: Image.Image, dataset: str) -> np.ndarray:
    """The picture as the data set's own pictures were made, uint8 (28, 28).

    Args:
        image: RGB.
        dataset: "mnist" for digits, "fashion-mnist" or "garments" for clothes.

    Raises:
        PictureError: the picture shows nothing but background.
    """
    return digit_input(image) if dataset == "mnist" else fashion_input(image)


def fashion_input(image: Image.Image) -> np.ndarray:
    """Trim, resize the longest edge to 28, centre on black, uint8 (28, 28).

    Two steps differ from the paper's: pixels are averaged where the paper skips rows and columns,
    so that a noisy photo does not become a noisier input, which makes its sharpening needless;
    and only what is darker than its background is negated (in the paper all is, on white).
    """
    small = _resize(_trim(image), SIDE)
    height, width = small.shape
    # An odd margin has its larger half above and on the left, as in the data set.
    return _place(small, (SIDE - height + 1) // 2, (SIDE - width + 1) // 2)


def digit_input(image: Image.Image) -> np.ndarray:
    """Trim, resize the longest edge to 20, put the centre of mass in the middle, uint8 (28, 28).

    The darkest ink becomes 255, as in MNIST: a thin line would fade when it is shrunk.
    """
    small = _resize(_trim(image), DIGIT_SIDE)
    small *= 255 / small.max()
    height, width = small.shape
    mass = small.sum()
    y = (np.arange(height) + 0.5) @ small.sum(axis=1) / mass
    x = (np.arange(width) + 0.5) @ small.sum(axis=0) / mass
    # In every image of MNIST the centre of mass lies from 14.0 to 15.0, counted from the edge.
    top = np.clip(math.ceil(SIDE / 2 - y), 0, SIDE - height)
    left = np.clip(math.ceil(SIDE / 2 - x), 0, SIDE - width)
    return _place(small, int(top), int(left))


# ------------------------------------------------------------------------------------- reading


def _check_size(size: tuple[int, int], path: str | os.PathLike[str]) -> None:
    """Before anything is decoded: the header alone says how much memory that would take."""
    width, height = size
    if not 0 < width * height <= MAX_PIXELS:
        raise PictureError(
            f"{path} declares {width:,} × {height:,} pixels, wanted at most {MAX_PIXELS:,} "
            "altogether; make it smaller"
        )
    if max(size) > MAX_STRETCH * min(size):
        raise PictureError(
            f"{path} is {width:,} × {height:,} pixels: a strip shows no garment and no digit; "
            "cut the picture out of it"
        )


def _on_white(image: Image.Image) -> Image.Image:
    """Any mode of Pillow's as RGB."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):  # 16 bits, which `convert` would clip at 255
        grey: np.ndarray = np.asarray(image, np.float32)
        clear = image.info.get("transparency")  # of such a PNG one shade
        if clear is not None:
            grey = np.where(grey == clear, 65535, grey)
        grey = grey / 257
        return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


# ------------------------------------------------------------------------------------- making


def _trim(image: Image.Image) -> np.ndarray:
    """What lies on the background, cut out: grey 0 (background) to 255, float32 (H, W).

    Background is what comes close to the colour of the corners; it becomes 0 exactly, however
    grey the paper or the wall. What is darker than that is negated, unless more of it is lighter.
    """
    colours = np.asarray(image, np.float32)  # (H, W, 3)
    background = _corner_colour(colours)
    distance = np.sqrt(np.square(colours - background).sum(axis=2))  # (H, W, 3) -> (H, W)
    shown = distance > NEAR * 255 * np.sqrt(3)
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    grey, paper = luminance(colours), float(luminance(background))
    darker = np.where(shown, np.maximum(paper - grey, 0), 0)
    lighter = np.where(shown, np.maximum(grey - paper, 0), 0)
    light = darker * (255 / max(paper, 1))
    if lighter.sum() > darker.sum():
        light = lighter * (255 / max(255 - paper, 1))
    if light.max() < 1:
        raise PictureError(
            "the picture shows nothing but background; wanted a garment or a digit that is "
            "darker or lighter than what it lies on"
        )
    return light[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def luminance(colours: np.ndarray) -> np.ndarray:
    """Grey of RGB (…, 3) → (…), by ITU-R BT.601 as everybody's converters do."""
    return colours @ np.array([0.299, 0.587, 0.114], np.float32)


def _corner_colour(colours: np.ndarray) -> np.ndarray:
    """The median colour of the four corners, (3,)."""
    size = max(1, min(colours.shape[:2]) // 32)
    ends = np.r_[:size, -size:0]
    height, width = colours.shape[:2]
    corners = colours[np.ix_(ends % height, ends % width)]
    return np.median(corners.reshape(-1, 3), axis=0)


def _resize(light: np.ndarray, side: int) -> np.ndarray:
    """The longest edge becomes `side`, the other follows, float32."""
    from PIL import Image

    height, width = light.shape
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # A float picture goes through Pillow's resampling as it is.
    resized = Image.fromarray(light.astype(np.float32)).resize(size, Image.Resampling.LANCZOS)
    return np.clip(np.asarray(resized), 0, 255)


def _place(small: np.ndarray, top: int, left: int) -> np.ndarray:
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    height, width = small.shape
    canvas[top : top + height, left : left + width] = np.rint(small).astype(np.uint8)
    return canvas

"""Strict reader of IDX files, the format of MNIST and Fashion-MNIST.

An IDX file is a big-endian header (a magic number, then one size for each dimension) followed by
the bytes of the array: http://yann.lecun.com/exdb/mnist/ ("FILE FORMATS").
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from tinygrad_fm.errors import IDXError
from tinygrad_fm.files import open_regular

DIMENSIONS = {2049: 1, 2051: 3}  # magic number -> labels (N,) or images (N, rows, columns)
MAX_BYTES = 1 << 30  # twenty times MNIST; a header that declares more is damaged
PIECE = 1 << 20  # bytes read at once
GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | Path) -> np.ndarray:
    """Read an IDX file, gzip or raw (told apart by content, not by name).

    Returns:
        uint8 labels of shape (N,) or images of shape (N, rows, columns).

    Raises:
        IDXError: damaged gzip, wrong magic number, absurd sizes, too few or too many bytes.
        OSError: no such file, or a pipe or device.
    """
    path = Path(path)
    with open_regular(path) as file:
        zipped = file.read(2) == GZIP_MAGIC
        file.seek(0)
        # A GzipFile reads like any binary file, but is not typed as one.
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if zipped else file
        try:
            return _read_payload(stream, _read_shape(stream, path), path)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise IDXError(
                f"{path} is truncated or corrupt gzip ({error}); delete it and fetch it again"
            ) from error


def _read_shape(stream: BinaryIO, path: Path) -> tuple[int, ...]:
    magic = int.from_bytes(_read_exactly(stream, 4, path), "big")
    if magic not in DIMENSIONS:
        raise IDXError(
            f"{path} starts with magic number {magic}; expected 2049 (labels) or 2051 (images), "
            "so this is no IDX file of bytes"
        )
    ndim = DIMENSIONS[magic]
    shape = struct.unpack(f">{ndim}I", _read_exactly(stream, 4 * ndim, path))
    # The sizes are Python integers: their product cannot overflow.
    if not 0 < math.prod(shape) <= MAX_BYTES:
        raise IDXError(
            f"{path} declares the shape {shape}, which is {math.prod(shape):,} bytes; "
            f"expected 1 to {MAX_BYTES:,}, so its header is damaged"
        )
    return shape


def _read_exactly(stream: BinaryIO, size: int, path: Path) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise IDXError(f"{path} ends inside its header; fetch it again")
    return data


def _read_payload(stream: BinaryIO, shape: tuple[int, ...], path: Path) -> np.ndarray:
    # One byte more than declared shows a longer file, whatever a gzip bomb would expand to; it also
    # makes gzip reach its end, where it verifies its own checksum. In pieces, since `read(size)`
    # takes the memory that a forged header declares before it looks at the file.
    size = math.prod(shape)
    data = bytearray()
    while len(data) <= size and (piece := stream.read(min(PIECE, size + 1 - len(data)))):
        data += piece
    if len(data) != size:
        got = f"only {len(data):,} bytes" if len(data) < size else "more bytes than that"
        raise IDXError(
            f"{path} declares the shape {shape}, {size:,} bytes, but holds {got}; fetch it again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)

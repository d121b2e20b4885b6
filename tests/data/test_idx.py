from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from torchvision_import import import_torchvision

from tinygrad_fm.data import IDXError, read_idx

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], dtype=np.uint8)


def encode(array: np.ndarray) -> bytes:
    magic = {1: 2049, 3: 2051}[array.ndim]
    return struct.pack(f">{array.ndim + 1}I", magic, *array.shape) + array.tobytes()


def write(folder: Path, content: bytes) -> Path:
    path = folder / "some-idx-ubyte"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
@pytest.mark.parametrize(
    "array", [IMAGES, LABELS, LABELS[:1]], ids=["images", "labels", "one label"]
)
def test_reads_what_was_written_raw_or_gzip_whatever_the_name(tmp_path, array, pack):
    got = read_idx(write(tmp_path, pack(encode(array))))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, array)
    got[0] = 0  # writable, as any array that one has just read


def test_reads_as_torchvision_does(tmp_path):
    mnist = import_torchvision().datasets.mnist
    images = write(tmp_path, encode(IMAGES))
    np.testing.assert_array_equal(read_idx(images), mnist.read_image_file(str(images)).numpy())
    labels = write(tmp_path, encode(LABELS))
    np.testing.assert_array_equal(read_idx(labels), mnist.read_label_file(str(labels)).numpy())


def test_truncated_gzip_is_refused_wherever_it_ends(tmp_path):
    whole = gzip.compress(encode(LABELS))
    for kept in range(2, len(whole)):
        path = write(tmp_path, whole[:kept])
        with pytest.raises(IDXError, match="some-idx-ubyte is truncated or corrupt gzip"):
            read_idx(path)


def test_one_damaged_byte_in_a_gzip_is_noticed(tmp_path):
    content = bytearray(gzip.compress(encode(IMAGES)))
    content[len(content) // 2] ^= 1
    with pytest.raises(IDXError, match="some-idx-ubyte"):
        read_idx(write(tmp_path, bytes(content)))


def test_bytes_after_a_gzip_are_refused(tmp_path):
    path = write(tmp_path, gzip.compress(encode(LABELS)) + b"garbage")
    with pytest.raises(IDXError, match="corrupt gzip"):
        read_idx(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html>", r"magic number 1008813135; expected 2049 \(labels\) or 2051"),
        (struct.pack(">2I", 2050, 1) + b"0", "magic number 2050"),
        (struct.pack("<2I", 2049, 1) + b"0", "magic number 17301504"),  # little-endian
        (b"", "ends inside its header"),
        (encode(IMAGES)[:11], "ends inside its header"),
        (encode(IMAGES)[:-1], r"declares the shape \(5, 4, 3\), 60 bytes, but holds only 59"),
        (encode(IMAGES) + b"0", r"60 bytes, but holds more"),
        (struct.pack(">2I", 2049, 0), "which is 0 bytes"),
        (struct.pack(">4I", 2051, 2**32 - 1, 2**32 - 1, 2**32 - 1), "header is damaged"),
        (struct.pack(">2I", 2049, 2**31), "which is 2,147,483,648 bytes"),
    ],
)
def test_bad_content_is_refused_with_the_reason(tmp_path, content, message, pack):
    with pytest.raises(IDXError, match=message) as error:
        read_idx(write(tmp_path, pack(content)))
    assert "some-idx-ubyte" in str(error.value)


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    bomb = gzip.compress(encode(LABELS) + bytes(100 << 20))
    path = write(tmp_path, bomb)
    tracemalloc.start()
    try:
        with pytest.raises(IDXError, match="5 bytes, but holds more"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_missing_file_is_reported_as_such(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")

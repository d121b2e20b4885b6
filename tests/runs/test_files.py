"""Files are whole or not there, and what is read is bounded and checked."""

from __future__ import annotations

import errno
import os
import resource

import pytest

from tinygrad_fm.runs.files import (
    RunError,
    read_bounded,
    read_json,
    replacing,
    write_atomically,
    write_json,
)


def test_replaces_the_content_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "notes.txt"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_half_way_changes_nothing(tmp_path, error):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"old")

    def write_half():
        with replacing(path) as partial:
            partial.write_bytes(b"ne")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_disk_that_takes_no_more_changes_nothing(tmp_path):
    """The limit on file sizes stands for the full disk: the kernel refuses in mid-file."""
    path = tmp_path / "notes.txt"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            write_atomically(path, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_an_error_names_the_file_that_was_wanted(tmp_path):
    path = tmp_path / "nowhere" / "notes.txt"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(path, b"")
    assert caught.value.filename == str(path)


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe", b"[1]", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"config\.json"):
        read_json(path)


def test_names_of_files_that_are_no_text_come_back(tmp_path):
    name = os.fsdecode(b"caf\xe9 \xc3\xa9")
    write_json(tmp_path / "config.json", {"command": name})
    assert read_json(tmp_path / "config.json") == {"command": name}


def test_reading_is_bounded(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(bytes(101))
    assert len(read_bounded(path, 101)) == 101
    with pytest.raises(RunError, match="more than 100 bytes"):
        read_bounded(path, 100)
    with pytest.raises(RunError, match="cannot be read: No such file"):
        read_bounded(tmp_path / "nothing", 100)
    with pytest.raises(RunError, match="cannot be read: Is a directory"):
        read_bounded(tmp_path, 100)

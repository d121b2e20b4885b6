"""What is read is bounded and checked."""

from __future__ import annotations

import os

import pytest

from tinygrad_fm.runs.files import (
    RunError,
    read_bounded,
    read_json,
    write_json,
)


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
    with pytest.raises(RunError, match="cannot be read: It has more than 100 bytes"):
        read_bounded(path, 100)
    with pytest.raises(RunError, match="cannot be read: No such file"):
        read_bounded(tmp_path / "nothing", 100)
    with pytest.raises(RunError, match="cannot be read: Is a directory"):
        read_bounded(tmp_path, 100)

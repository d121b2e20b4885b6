"""Files are whole or not there, whatever lies in their folder; what is no file is not read."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import resource
import threading
from pathlib import Path

import pytest
from special_files import SPECIAL, within_seconds

import tinygrad_fm
from tinygrad_fm.files import open_regular, read_regular, write_atomically

TOKEN = "0123456789abcdef"


@pytest.fixture
def path(tmp_path):
    """Where a file shall be, in a folder of its own."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "notes.txt"


# ---------------------------------------------------------------------------- writing


def test_replaces_the_content_and_leaves_nothing_beside_it(path):
    write_atomically(path, b"old")
    write_atomically(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["notes.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()], ids=type)
def test_what_fails_half_way_changes_nothing(path, monkeypatch, error):
    path.write_bytes(b"old")

    def fsync(descriptor):
        raise error

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["notes.txt"]


def test_a_disk_that_takes_no_more_changes_nothing(path):
    """The limit on file sizes stands for the full disk: the kernel refuses in mid-file."""
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            write_atomically(path, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["notes.txt"]


def test_an_error_names_the_file_that_was_wanted(path):
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(path / "nowhere" / "notes.txt", b"")
    assert caught.value.filename == str(path / "nowhere" / "notes.txt")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(path, umask):
    before = os.umask(umask)
    try:
        write_atomically(path, b"")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("target", ["victim", "dangling"])
def test_a_link_is_replaced_and_not_followed(path, target):
    victim = path.parent.parent / "victim"
    victim.write_bytes(b"precious")
    path.symlink_to(path.parent.parent / target)
    write_atomically(path, b"new")
    assert not path.is_symlink()
    assert path.read_bytes() == b"new"
    assert victim.read_bytes() == b"precious"
    assert not (path.parent.parent / "dangling").exists()


def test_a_hard_link_is_replaced_and_not_written_through(path):
    victim = path.parent.parent / "victim"
    victim.write_bytes(b"precious")
    os.link(victim, path)
    write_atomically(path, b"new")
    assert (path.read_bytes(), victim.read_bytes()) == (b"new", b"precious")


def test_a_link_in_place_of_the_partial_file_is_not_followed(path, monkeypatch):
    """Nobody can foresee its name; if somebody could, it would be an error."""
    victim = path.parent.parent / "victim"
    monkeypatch.setattr("secrets.token_hex", lambda size: TOKEN)
    path.with_name(f"notes.txt.{TOKEN}.partial").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_atomically(path, b"new")
    assert not victim.exists()


def test_no_two_partial_files_have_the_same_name(path, monkeypatch):
    names = set()
    usual = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (names.add(a), usual(a, b)))
    for _ in range(20):
        write_atomically(path, b"")
    assert len(names) == 20


@pytest.mark.parametrize("name", ["n" * 255, "\N{GRINNING FACE}" * 63, "[a-z]*?.txt", "-"])
def test_any_name_that_a_file_can_have_is_written(path, name):
    place = path.with_name(name)
    place.with_name(f"{name[:40]}.{TOKEN}.partial").write_bytes(b"half")
    write_atomically(place, b"new")
    assert place.read_bytes() == b"new"
    assert os.listdir(path.parent) == [name]


def test_partial_files_that_were_abandoned_do_not_pile_up(path):
    """A writer who is killed leaves one; the next who writes into the folder removes it."""
    for i in range(3):
        path.with_name(f"notes.txt.{i:016x}.partial").write_bytes(b"half")
    path.with_name("notes.txt.mine.partial").write_bytes(b"somebody's own")
    path.with_name(f"other.txt.{TOKEN}.partial").write_bytes(b"half")
    write_atomically(path, b"new")
    assert set(os.listdir(path.parent)) == {"notes.txt", "notes.txt.mine.partial"}


def test_a_partial_file_in_use_is_left_alone(path):
    partial = path.with_name(f"notes.txt.{TOKEN}.partial")
    with partial.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_atomically(path, b"new")
        assert partial.exists()


def test_writers_of_the_same_file_do_not_disturb_each_other(path):
    errors = []

    def write(content):
        try:
            for _ in range(100):
                write_atomically(path, content)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(bytes([i]) * 5000,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(set(path.read_bytes())) == 1
    assert os.listdir(path.parent) == ["notes.txt"]


# ---------------------------------------------------------------------------- reading


@pytest.mark.parametrize("kind", ["pipe", "socket", "zeros", "terminal"])
def test_what_may_block_or_never_end_is_not_opened(path, kind):
    SPECIAL[kind](path)
    with within_seconds(20), pytest.raises(OSError, match="Not a file but a pipe") as caught:
        open_regular(path)
    assert caught.value.filename == str(path)


def test_folders_and_missing_files_are_told_as_usual(path):
    with pytest.raises(IsADirectoryError):
        open_regular(path.parent)
    with pytest.raises(FileNotFoundError):
        open_regular(path)


def test_a_file_is_read_within_its_limit(path):
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_regular(path, 4)


# ---------------------------------------------------------------------------- all of the package

WRITES = re.compile(
    r"write_text|write_bytes|savefig\(|np\.save|tofile\(|mkstemp|NamedTemporary|O_(CREAT|WRONLY|RDWR)"
    r"""|open\([^)]*"[rb+]*[wax][b+]*\""""
)
# Each with its reason.
OTHER_WRITERS = {
    "files.py": "this is the way",
    "runs/lock.py": "the lock is no content, and refuses links itself",
    "cli/__init__.py": "/dev/null, for streams that are closed",
    "export/__init__.py": "/dev/null and its like, if the user names them",
    "report/style.py": "into memory",
}
READS = re.compile(
    r"read_text|read_bytes|(?<![\w.])open\(|\.open\(|np\.(load|fromfile)|pickle\.|eval\("
)
OTHER_READERS = {
    "files.py": "this is the way",
    "cli/__init__.py": "/dev/null",
    "data/picture.py": "Pillow, given a file that is open",
    "report/page.py": "a file of the package",
    "runs/lock.py": "see above",
}


@pytest.mark.parametrize(
    ("pattern", "known"),
    [(WRITES, OTHER_WRITERS), (READS, OTHER_READERS)],
    ids=["writing", "reading"],
)
def test_no_other_way_leads_to_a_file(pattern, known):
    """A new one is either `write_atomically` or `open_regular`, or stands above with its reason."""
    package = Path(tinygrad_fm.__file__).parent
    found = set()
    for path in package.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            code = line.split("#")[0]
            if pattern.search(code) and not re.search(r"def |>>>|\.eval\(", code):
                found.add(str(path.relative_to(package)))
    assert found <= known.keys()

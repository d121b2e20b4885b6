from __future__ import annotations

import gzip
import hashlib
import shutil
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tinygrad_fm.data import MNIST, DataUnavailable, locate
from tinygrad_fm.data.sources import SOURCES, STEMS, Source

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 2, 2), dtype=np.uint8)
LABELS = np.array([0, 9, 5], dtype=np.uint8)
UNREACHABLE = "http://127.0.0.1:9/"  # nothing listens on the "discard" port


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def official(tmp_path):
    """A folder with the four gzip files of a tiny data set."""
    folder = tmp_path / "official"
    folder.mkdir()
    images = struct.pack(">4I", 2051, *IMAGES.shape) + IMAGES.tobytes()
    labels = struct.pack(">2I", 2049, *LABELS.shape) + LABELS.tobytes()
    for stem in STEMS:
        content = images if "images" in stem else labels
        (folder / f"{stem}.gz").write_bytes(gzip.compress(content))
    return folder


@pytest.fixture
def serve():
    """A function that serves a folder on 127.0.0.1 and returns its URL."""
    servers = []

    def start(folder: Path) -> str:
        handler = partial(QuietHandler, directory=str(folder))
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        # The argument is how often, in seconds, it looks whether to shut down.
        threading.Thread(target=servers[-1].serve_forever, args=[0.01], daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def use_mirrors(tmp_path, monkeypatch, official):
    """A function that puts the tiny data set, offered by some mirrors, in MNIST's place."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("TINYGRAD_FM_DATA", raising=False)
    sums = {}
    for file in official.iterdir():
        sums[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
        sums[file.stem] = hashlib.sha256(gzip.decompress(file.read_bytes())).hexdigest()

    def use(*mirrors: str) -> None:
        monkeypatch.setitem(SOURCES, "mnist", Source("mnist", "MNIST/raw", sums, mirrors))

    use()
    return use


def damage(folder: Path) -> Path:
    """Make the test labels in a folder differ from the official ones, still valid gzip."""
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(b"something else"))
    return path


@pytest.mark.parametrize("layout", [".", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("raw", [False, True], ids=["gzip", "raw"])
def test_an_explicit_directory_in_every_layout(tmp_path, official, use_mirrors, layout, raw):
    folder = tmp_path / "data" / layout
    shutil.copytree(official, folder)
    if raw:
        for file in list(folder.iterdir()):
            (folder / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
            file.unlink()
    assert locate("mnist", tmp_path / "data").samefile(folder)
    dataset = MNIST(train=True, data_dir=tmp_path / "data")
    np.testing.assert_array_equal(dataset.images, IMAGES[:, None])
    np.testing.assert_array_equal(dataset.labels, LABELS)


def test_the_variable_is_used_but_an_explicit_directory_comes_first(
    tmp_path, official, use_mirrors, monkeypatch
):
    monkeypatch.setenv("TINYGRAD_FM_DATA", str(official))
    assert locate("mnist") == official
    with pytest.raises(DataUnavailable, match="empty"):
        locate("mnist", tmp_path / "empty")


@pytest.mark.parametrize("origin", ["data_dir", "TINYGRAD_FM_DATA"])
def test_a_named_directory_without_the_files_is_an_error_not_a_download(
    tmp_path, official, use_mirrors, serve, monkeypatch, origin
):
    use_mirrors(serve(official))
    (tmp_path / "mine").mkdir()
    shutil.copy(official / "train-images-idx3-ubyte.gz", tmp_path / "mine")
    if origin == "TINYGRAD_FM_DATA":
        monkeypatch.setenv(origin, str(tmp_path / "mine"))
    with pytest.raises(DataUnavailable) as error:
        locate("mnist", tmp_path / "mine" if origin == "data_dir" else None)
    message = str(error.value)
    for part in (
        origin,
        f"{tmp_path / 'mine'} lacks train-labels-idx1-ubyte, t10k",
        "nor in its folders mnist and MNIST/raw",
        "--dataset garments",
    ):
        assert part in message
    assert "\n" not in message
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("raw", [False, True], ids=["gzip", "raw"])
def test_a_local_file_of_another_data_set_is_refused(official, use_mirrors, raw):
    path = damage(official)
    if raw:
        path.unlink()
        path = path.with_suffix("")
        path.write_bytes(b"something else")
    with pytest.raises(DataUnavailable, match=f"{path} is not the published .* sha256 is"):
        locate("mnist", official)


def test_the_next_mirror_is_asked_if_one_fails_and_the_cache_the_next_time(
    tmp_path, official, use_mirrors, serve
):
    incomplete = tmp_path / "incomplete"
    shutil.copytree(official, incomplete)
    (incomplete / "t10k-images-idx3-ubyte.gz").unlink()
    wrong = tmp_path / "wrong"
    shutil.copytree(official, wrong)
    damage(wrong)
    use_mirrors(UNREACHABLE, serve(incomplete), serve(wrong), serve(official))
    folder = locate("mnist")
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == {
        f.name: f.read_bytes() for f in official.iterdir()
    }
    use_mirrors(UNREACHABLE)
    assert locate("mnist") == folder


def test_a_damaged_file_in_the_cache_is_fetched_again(official, use_mirrors, serve):
    use_mirrors(serve(official))
    path = damage(locate("mnist"))
    locate("mnist")
    assert path.read_bytes() == (official / path.name).read_bytes()


def test_when_all_mirrors_fail_the_error_names_each_and_the_way_out(
    tmp_path, official, use_mirrors, serve
):
    (tmp_path / "nothing").mkdir()
    wrong, nothing = serve(official), serve(tmp_path / "nothing")
    damaged = damage(official)
    use_mirrors(UNREACHABLE, nothing, wrong)
    with pytest.raises(DataUnavailable) as error:
        locate("mnist")
    message = str(error.value)
    assert f"{UNREACHABLE}: " in message
    assert f"{nothing}: 404 Client Error" in message
    assert f"{wrong}: SHA256 hash of downloaded file ({damaged.name})" in message
    assert "--dataset garments" in message
    # What was right is kept; the file with the wrong sum is not, under any name.
    cached = {file.name for file in (tmp_path / "cache" / "tinygrad_fm" / "mnist").iterdir()}
    assert cached == {f"{stem}.gz" for stem in STEMS} - {damaged.name}


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"unknown data set 'garment'.*fashion-mnist"):
        locate("garment")


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_the_published_sets_are_described_completely(source):
    assert set(source.sha256) == {*STEMS, *(f"{stem}.gz" for stem in STEMS)}
    assert all(len(bytes.fromhex(value)) == 32 for value in source.sha256.values())
    assert len(source.mirrors) >= 2
    assert all(mirror.endswith("/") for mirror in source.mirrors)

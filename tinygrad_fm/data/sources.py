"""Where the files of MNIST and Fashion-MNIST are: on this computer, or on the web.

Every file, found or downloaded, is compared with its published SHA-256 sum before it is used.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from tinygrad_fm.errors import DataUnavailable, extra
from tinygrad_fm.files import read_regular

DATA_DIR_VARIABLE = "TINYGRAD_FM_DATA"
STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
LARGEST = 1 << 27  # bytes of a file; the published ones have 47 million at most
OR_BUILT_IN = "or use the built-in data set: --dataset garments"


@dataclass(frozen=True)
class Source:
    """The files of one data set: their names and sums, and who offers them.

    Attributes:
        folder: the data set's folder in a data directory and in the cache.
        torchvision_folder: the folder where torchvision keeps the same files.
        sha256: sum by file name, for each stem both gzip (`<stem>.gz`) and raw (`<stem>`).
        mirrors: URLs to which a gzip file's name is appended, in the order they are tried.
    """

    folder: str
    torchvision_folder: str
    sha256: dict[str, str]
    mirrors: tuple[str, ...]


# As `sha256sum` prints them.
MNIST_SUMS = """\
440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609  train-images-idx3-ubyte.gz
3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c  train-labels-idx1-ubyte.gz
8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6  t10k-images-idx3-ubyte.gz
f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6  t10k-labels-idx1-ubyte.gz
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  t10k-labels-idx1-ubyte
"""
FASHION_MNIST_SUMS = """\
3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84  train-images-idx3-ubyte.gz
a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845  train-labels-idx1-ubyte.gz
346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073  t10k-images-idx3-ubyte.gz
67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5  t10k-labels-idx1-ubyte.gz
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888  train-images-idx3-ubyte
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9  train-labels-idx1-ubyte
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b  t10k-images-idx3-ubyte
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34  t10k-labels-idx1-ubyte
"""


def _parse(sums: str) -> dict[str, str]:
    return {name: sha256 for sha256, name in map(str.split, sums.splitlines())}


SOURCES = {
    "mnist": Source(
        folder="mnist",
        torchvision_folder="MNIST/raw",
        sha256=_parse(MNIST_SUMS),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
    "fashion-mnist": Source(
        folder="fashion-mnist",
        torchvision_folder="FashionMNIST/raw",
        sha256=_parse(FASHION_MNIST_SUMS),
        mirrors=(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
    ),
}


def locate(name: str, data_dir: str | Path | None = None) -> Path:
    """Return the folder that holds the four verified files of a data set, downloading if needed.

    Looked for in `data_dir`; without it, in `$TINYGRAD_FM_DATA`; without both, in the user's
    cache, into which they are downloaded. A directory that was named is never passed over: if it
    lacks the files, that is an error.

    Args:
        name: "mnist" or "fashion-mnist".
        data_dir: a folder with the files, or one with `<name>/` or torchvision's `<Name>/raw/`
            in it. The files may be gzip or raw.

    Raises:
        ValueError: unknown name.
        DataUnavailable: files missing, wrong checksums, or no mirror could deliver.
        MissingPackageError: they would have to be downloaded, and pooch is not installed.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; expected one of {sorted(SOURCES)}")
    source = SOURCES[name]
    if data_dir is not None:
        return _find(source, Path(data_dir), "data_dir")
    if directory := os.environ.get(DATA_DIR_VARIABLE):
        return _find(source, Path(directory), f"${DATA_DIR_VARIABLE}")
    with extra("data"):
        import pooch
    return _download(source, Path(pooch.os_cache("tinygrad_fm")) / source.folder)


def idx_file(folder: Path, stem: str) -> Path:
    """Return the gzip file `<stem>.gz` in a folder, or the raw file `<stem>` if there is none."""
    zipped = folder / f"{stem}.gz"
    return zipped if zipped.exists() else folder / stem


def _find(source: Source, directory: Path, origin: str) -> Path:
    directory = directory.expanduser()
    candidates = (directory / source.folder, directory / source.torchvision_folder, directory)
    missing = {folder: _missing(folder) for folder in candidates}
    nearest = min(candidates, key=lambda folder: len(missing[folder]))
    if missing[nearest]:
        raise DataUnavailable(
            f"{source.folder} is not in {directory} ({origin}), nor in its folders {source.folder} "
            f"and {source.torchvision_folder}: {nearest} lacks {', '.join(missing[nearest])}; put "
            f"them there (raw, or gzip with .gz), drop {origin} to download them, {OR_BUILT_IN}"
        )
    _verify(source, [idx_file(nearest, stem) for stem in STEMS])
    return nearest


def _missing(folder: Path) -> list[str]:
    return [stem for stem in STEMS if not idx_file(folder, stem).is_file()]


def _verify(source: Source, files: list[Path]) -> None:
    for file in files:
        got = hashlib.sha256(read_regular(file, LARGEST)).hexdigest()
        expected = source.sha256[file.name]
        if got != expected:
            raise DataUnavailable(
                f"{file} is not the published {source.folder} file: its sha256 is {got}, "
                f"expected {expected}; delete it and fetch it again"
            )


def _download(source: Source, cache: Path) -> Path:
    failures = []
    for mirror in source.mirrors:
        failure = _fetch(source, mirror, cache)
        if failure is None:
            return cache
        failures.append(f"{mirror}: {failure}")
    raise DataUnavailable(
        f"{source.folder} is neither in the cache ({cache}) nor could it be downloaded: "
        f"{'; '.join(failures)}; name a folder with its files (data_dir, --data-dir or "
        f"${DATA_DIR_VARIABLE}), {OR_BUILT_IN}"
    )


def _fetch(source: Source, mirror: str, cache: Path) -> Exception | None:
    """Download from one mirror what the cache lacks; return what went wrong, if anything."""
    import pooch

    try:
        for name in (f"{stem}.gz" for stem in STEMS):
            # Keeps only a file with the right sum, and does nothing if it is there already.
            pooch.retrieve(
                mirror + name, source.sha256[name], fname=name, path=cache, progressbar=True
            )
    except (OSError, ValueError) as error:  # no answer, an HTTP error, or a wrong sum
        return error
    return None

"""The state of a training on the disk, so that it survives whatever ends the program.

    checkpoint/
        0011.safetensors   arrays; the rest of the state, as JSON, is in the file's metadata
        0011.json          the manifest: which training it is of, and the checksum of the other file
        0012.safetensors
        0012.json

One file holds the whole state, and its manifest is written after it: a state is there completely
or not at all. The two last are kept, in case the disk damages one.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_fm.files import write_atomically
from tinygrad_fm.recipes.weights import (
    MAX_WEIGHTS,
    WeightsError,
    checksum,
    load_arrays,
    save_arrays,
)
from tinygrad_fm.runs.files import (
    RunError,
    need_own_folder,
    parse_json,
    read_bounded,
    read_json,
    write_json,
)

FORMAT = "tinygrad_fm checkpoint 1"
ARRAY = "$array"  # {"$array": name} stands for the array of that name


class CheckpointWarning(UserWarning):
    """A checkpoint that cannot be used; the one before it was taken."""


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: where they are, or will be.
        facts: which training they are of, for JSON; those of another one are refused.

    Raises:
        RunError: the folder is a link.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        need_own_folder(folder)
        self.folder = folder
        self.facts = dict(facts)
        self._last: int | None = None  # the number of the one that was written or read last

    def save(self, state: Mapping[str, Any]) -> None:
        """Write nested dicts and lists of arrays, numbers and strings, and drop what is older.

        Raises:
            OSError: it cannot be written; the checkpoints before it are still there.
        """
        self.folder.mkdir(exist_ok=True)
        number = max(self._numbers(), default=0) + 1
        arrays: dict[str, np.ndarray] = {}
        rest = json.dumps(_take_out(state, "", arrays))
        content = save_arrays(arrays, {"state": rest})
        write_atomically(self._file(number), content)
        write_json(
            self._manifest(number),
            {"format": FORMAT, "sha256": checksum(content), **self.facts},
        )
        for old in self._numbers() - {number, self._last}:
            self._manifest(old).unlink(missing_ok=True)
            self._file(old).unlink(missing_ok=True)
        self._last = number

    def load(self) -> dict[str, Any] | None:
        """The newest state that is whole, or None if none was ever written.

        Warns of each newer one that is torn or of another training.

        Raises:
            RunError: there are checkpoints, but none of them can be used.
        """
        problems = []
        for number in sorted(self._numbers(), reverse=True):
            if not self._manifest(number).exists():  # the program ended before it was complete
                continue
            try:
                state = self._read(number)
            except RunError as error:
                problems.append(str(error))
                continue
            self._last = number
            for problem in problems:
                warnings.warn(
                    f"{problem}; the checkpoint before it is used", CheckpointWarning, stacklevel=2
                )
            return state
        if problems:
            raise RunError(
                f"{'; '.join(problems)}: no checkpoint is left; to train from the beginning, "
                f"delete {self.folder}"
            )
        return None

    def _read(self, number: int) -> dict[str, Any]:
        path = self._manifest(number)
        manifest = read_json(path)
        if manifest.get("format") != FORMAT:
            raise RunError(f"{path} is not the manifest of a checkpoint of ours")
        for fact, value in self.facts.items():
            if manifest.get(fact) != value:
                raise RunError(
                    f"{path} is of another training: {fact} {_short(manifest.get(fact))}, wanted "
                    f"{_short(value)}"
                )
        path = self._file(number)
        content = read_bounded(path, MAX_WEIGHTS)
        if checksum(content) != manifest.get("sha256"):
            raise RunError(f"{path} is torn: its checksum is not the one in its manifest")
        try:
            arrays, metadata = load_arrays(content, str(path))
            return _put_back(parse_json(metadata.get("state", ""), str(path)), arrays)
        except WeightsError as error:
            raise RunError(str(error)) from error
        except (KeyError, TypeError) as error:
            raise RunError(f"{path} has no array {error}") from error

    def _numbers(self) -> set[int]:
        """Those of all files, with a manifest or not."""
        stems = {path.stem for path in self.folder.glob("*.*")}
        return {int(stem) for stem in stems if stem.isdecimal() and stem.isascii()}

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:04}.safetensors"

    def _manifest(self, number: int) -> Path:
        return self.folder / f"{number:04}.json"


def _take_out(tree: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    """The tree with a reference in place of each array, which goes into `arrays`."""
    if isinstance(tree, np.ndarray):
        arrays[place] = tree
        return {ARRAY: place}
    if isinstance(tree, Mapping):
        return {str(key): _take_out(value, f"{place}/{key}", arrays) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_take_out(value, f"{place}/{i}", arrays) for i, value in enumerate(tree)]
    return tree


def _put_back(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The opposite of `_take_out`."""
    if isinstance(tree, dict):
        if tree.keys() == {ARRAY}:
            return arrays[tree[ARRAY]]
        return {key: _put_back(value, arrays) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_put_back(value, arrays) for value in tree]
    return tree


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"

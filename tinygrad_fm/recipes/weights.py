"""A model's weights in a safetensors file, with their checksum; what damages them is noticed.

Source of the format: https://huggingface.co/docs/safetensors/index
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinygrad_fm.errors import WeightsError, extra
from tinygrad_fm.files import write_atomically
from tinygrad_fm.nn import Module

SUM = "weights_sha256"  # among the facts of a file: the checksum of its weights
MAX_WEIGHTS = 1 << 32  # bytes; beyond any model that this framework trains
SHOWN = 3  # problems that an error spells out


# ---------------------------------------------------------------------------- arrays


def checksum(*contents: bytes | np.ndarray) -> str:
    """The SHA-256 sum of bytes, or of arrays' elements in their order, one after the other."""
    digest = hashlib.sha256()
    for content in contents:
        ordered = content if isinstance(content, bytes) else np.asarray(content, order="C").data
        digest.update(ordered)
    return digest.hexdigest()


def save_arrays(arrays: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> bytes:
    """A safetensors file of arrays, and of facts about them: equal ones are equal to the bit.

    The library writes the facts in another order each time, so they are sorted afterwards.
    """
    with extra("train"):
        from safetensors.numpy import save
    # It writes memory as it lies there, so that has to be in order. (Not ascontiguousarray: it
    # gives a scalar a dimension.)
    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = save(ordered, dict(facts))
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(facts.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the arrays begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def load_arrays(content: bytes, origin: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file, and the facts about them: what `save_arrays` wrote.

    Raises:
        WeightsError: the content is torn, or something else; it is called `origin`.
    """
    with extra("train"):
        from safetensors import SafetensorError
        from safetensors.numpy import load
    try:
        arrays = load(content)
        size = int.from_bytes(content[:8], "little")
        facts = json.loads(content[8 : 8 + size]).get("__metadata__") or {}
    except KeyError as error:
        raise WeightsError(
            f"{origin} has numbers of the type {error}, which NumPy does not know; save it with "
            "float32"
        ) from error
    except (SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise WeightsError(f"{origin} is torn or no safetensors file: {error}") from error
    return arrays, facts


# ---------------------------------------------------------------------------- weights


def weights_file(model: Module, facts: Mapping[str, str]) -> bytes:
    """The state dict as a safetensors file, with the facts of its training and its sum."""
    weights = model.state_dict()
    return save_arrays(weights, {**facts, SUM: _sum(weights)})


def save_weights(model: Module, path: Path, facts: Mapping[str, str]) -> None:
    """Write a `weights_file`."""
    write_atomically(path, weights_file(model, facts))


def put_weights(
    model: Module,
    weights: Mapping[str, np.ndarray],
    facts: Mapping[str, str],
    origin: str,
    *,
    sum_needed: bool = False,
) -> Module:
    """The model with the weights of a file, which `load_arrays` read, once nothing is wrong.

    Half and double precision become the model's single precision.

    Args:
        sum_needed: weights without a checksum are refused; otherwise it is verified if it is there.

    Raises:
        WeightsError: the weights are not those that were written, or have names, shapes, types or
            numbers that the model cannot have.
    """
    if sum_needed and SUM not in facts:
        raise WeightsError(
            f"{origin} does not say the checksum of its weights: it is damaged, or not one of "
            "ours; put back a copy of it"
        )
    if SUM in facts and facts[SUM] != _sum(weights):
        raise WeightsError(
            f"{origin} is damaged: its weights do not have the checksum it says; put back a copy"
        )
    problems = _problems(weights, model.state_dict())
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise WeightsError(
            f"{origin}: these weights do not fit {type(model).__name__}: "
            f"{'; '.join(problems[:SHOWN])}{more}"
        )
    model.load_state_dict(weights)
    return model


def _sum(weights: Mapping[str, np.ndarray]) -> str:
    """The checksum of names, types, shapes and numbers."""
    names = sorted(weights)
    form = [(name, weights[name].dtype.str, weights[name].shape) for name in names]
    return checksum(json.dumps(form).encode(), *(weights[name] for name in names))


def _problems(given: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> list[str]:
    """What is wrong with arrays by name, each in a few words."""
    problems = [f"{name} {wanted[name].shape} is missing" for name in wanted.keys() - given.keys()]
    problems += [f"{name[:80]} is unknown" for name in given.keys() - wanted.keys()]
    problems += [_problem(n, given[n], wanted[n]) for n in wanted.keys() & given.keys()]
    return sorted(filter(None, problems))


def _problem(name: str, got: np.ndarray, want: np.ndarray) -> str:
    """What is wrong with one array, or nothing."""
    if got.shape != want.shape:
        return f"{name} has the shape {got.shape}, wanted {want.shape}"
    if got.dtype.kind != want.dtype.kind:
        return f"{name} has the type {got.dtype}, wanted {want.dtype}"
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        numbers = got.astype(want.dtype)
    if not np.isfinite(numbers).all():
        return f"{name} has numbers that are not finite in {want.dtype}"
    if name.endswith("running_var") and (numbers < 0).any():
        return f"{name} has variances below 0"
    return ""

"""Weights come back to the bit, and what is damaged or does not fit is refused."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from tinygrad_fm import manual_seed, nn
from tinygrad_fm.recipes.weights import (
    SUM,
    WeightsError,
    checksum,
    load_arrays,
    put_weights,
    save_arrays,
    save_weights,
)


def test_the_checksum_is_that_of_the_elements_in_order():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = hashlib.sha256(array.tobytes() + b"x").hexdigest()
    assert checksum(array, b"x") == expected
    assert checksum(np.asfortranarray(array), b"x") == expected


def test_arrays_come_back_with_shape_type_and_order():
    arrays = {
        "scalar": np.array(7),
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "empty": np.zeros((0, 2)),
    }
    again, facts = load_arrays(save_arrays(arrays, {"recipe": "cnn"}), "it")
    assert facts == {"recipe": "cnn"}
    for name, array in arrays.items():
        assert again[name].shape == array.shape
        assert again[name].dtype == array.dtype
        np.testing.assert_array_equal(again[name], array)


def test_torn_arrays_are_named():
    content = save_arrays({"a": np.zeros(10)}, {})
    for torn in (b"", content[:5], content[:40], content[:-1], content + b"x", b"\xff" * 100):
        with pytest.raises(WeightsError, match="model is torn or no safetensors file"):
            load_arrays(torn, "model")


# ---------------------------------------------------------------------------- weights


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.fixture
def file(tmp_path):
    manual_seed(0)
    save_weights(small(), tmp_path / "model", {"recipe": "small"})
    return tmp_path / "model"


def put(content: bytes, **options: bool) -> nn.Module:
    return put_weights(small(), *load_arrays(content, "it"), "it", **options)


def with_header(content: bytes, change) -> bytes:
    """The file with another header, of which `change` is told the parsed one."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def test_weights_come_back_to_the_bit_and_their_facts_too(file):
    manual_seed(0)
    expected = small().state_dict()
    for name, array in put(file.read_bytes(), sum_needed=True).state_dict().items():
        np.testing.assert_array_equal(array, expected[name])
    assert load_arrays(file.read_bytes(), "it")[1]["recipe"] == "small"


def test_any_bit_of_the_weights_is_noticed(file):
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for byte in range(start, len(content), 7):
        damaged = bytearray(content)
        damaged[byte] ^= 1 << byte % 8
        with pytest.raises(WeightsError, match="is damaged: its weights do not have the checksum"):
            put(bytes(damaged))


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["0.bias"].update(dtype="I32"),
        lambda h: h["0.weight"].update(shape=[2, 6]),
        lambda h: h.update({"0.bias": h["1.bias"], "1.bias": h["0.bias"]}),
        lambda h: h.update({"other": h.pop("0.bias")}),
        lambda h: h["__metadata__"].update({SUM: "0" * 64}),
        lambda h: h["__metadata__"].update({SUM: ""}),
    ],
    ids=["type", "shape", "swapped", "renamed", "other sum", "no sum"],
)
def test_damage_to_the_header_is_noticed(file, change):
    with pytest.raises(WeightsError, match="is damaged: its weights do not have the checksum"):
        put(with_header(file.read_bytes(), change))


def test_weights_without_a_checksum_are_taken_unless_it_is_needed(file):
    """PyTorch writes none, nor did we in former times."""
    old = with_header(file.read_bytes(), lambda h: h["__metadata__"].pop(SUM))
    put(old)
    with pytest.raises(WeightsError, match="it does not say the checksum of its weights: it is"):
        put(old, sum_needed=True)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("0.bias", np.zeros(4, np.int32), r"0\.bias has the type int32, wanted float32"),
        ("0.bias", np.zeros(4, bool), r"0\.bias has the type bool, wanted float32"),
        (
            "0.bias",
            np.array([1, 2, np.nan, 4], np.float32),
            r"0\.bias has numbers that are not fin",
        ),
        (
            "0.bias",
            np.array([1, 2, 1e39, 4]),
            r"0\.bias has numbers that are not finite in float32",
        ),
        ("1.running_var", -np.ones(4, np.float32), r"1\.running_var has variances below 0"),
        ("1.num_batches_tracked", np.array(0.0), r"1\.num_batches_tracked has the type"),
        ("0.bias", np.zeros(5, np.float32), r"0\.bias has the shape \(5,\), wanted \(4,\)"),
        ("0.colour", np.zeros(5, np.float32), r"0\.colour is unknown"),
    ],
)
def test_without_a_checksum_what_cannot_be_weights_is_refused(name, value, message):
    content = save_arrays(small().state_dict() | {name: value}, {})
    with pytest.raises(WeightsError, match=f"it: these weights do not fit Sequential: {message}"):
        put(content)


def test_other_precisions_become_the_models(file):
    for dtype in (np.float16, np.float64):
        state = {
            name: array.astype(dtype) if array.dtype.kind == "f" else array
            for name, array in small().state_dict().items()
        }
        assert put(save_arrays(state, {})).state_dict()["0.bias"].dtype == np.float32

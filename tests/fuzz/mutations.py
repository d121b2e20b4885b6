"""Damage: to bytes, to JSON, and to files whose checksums would give it away."""

from __future__ import annotations

import copy
import gzip
import json
import struct
import zlib
from typing import Any

import numpy as np

BOUNDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
ODD_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        2**63,
        10**30,
        -0.0,
        1e308,
        float("nan"),
        float("inf"),
        "",
        "\0",
        "ä" * 99,
    ),
    *("../../x", [], {}, [[[]]], {"": {}}, [1e9] * 3, "F64", "BF16", "garments", "cnn"),
)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes: bits, bytes, numbers, pieces lost, doubled, moved or made up."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        # Most of what can be misunderstood stands at the beginning.
        reach = len(data) if rng.random() < 0.5 else min(len(data), 200)
        at = int(rng.integers(0, reach + 1))
        size = int(rng.integers(1, 64))
        kind = rng.integers(0, 8)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            del data[at : at + size]
        elif kind == 2:
            data[at:at] = data[at : at + size]
        elif kind == 3:
            data[at:at] = rng.bytes(size)
        elif kind == 4:
            data[at : at + size] = rng.bytes(len(data[at : at + size]))
        elif kind == 5:
            width = int(rng.choice([1, 2, 4, 8]))
            order = str(rng.choice(["big", "little"]))
            number = BOUNDS[rng.integers(len(BOUNDS))] % 256**width
            data[at : at + width] = number.to_bytes(width, order)  # type: ignore[arg-type]
        elif at < len(data):
            data[at] ^= 1 << int(rng.integers(0, 8))
    return bytes(data)


def damaged_json(value: Any, rng: np.random.Generator) -> Any:
    """The value with one thing in it removed, renamed or exchanged for an odd one."""
    value = copy.deepcopy(value)
    place = value
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return ODD_VALUES[rng.integers(len(ODD_VALUES))]
        key = keys[rng.integers(len(keys))]
        if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.7:
            place = place[key]
            continue
        kind = rng.integers(0, 5)
        if kind == 0:
            del place[key]
        elif kind == 1 and isinstance(place, dict):
            place["other"] = place.pop(key)
        else:
            place[key] = ODD_VALUES[rng.integers(len(ODD_VALUES))]
        return value


# ------------------------------------------------------------------------------- by format


def damaged_json_file(content: bytes, rng: np.random.Generator) -> bytes:
    """Half of the time still JSON."""
    if rng.random() < 0.5:
        return damaged(content, rng)
    return json.dumps(damaged_json(json.loads(content), rng)).encode()


def damaged_safetensors(content: bytes, rng: np.random.Generator) -> bytes:
    """Half of the time with a header that is JSON of the right length."""
    if rng.random() < 0.5:
        return damaged(content, rng)
    size = int.from_bytes(content[:8], "little")
    parsed = json.loads(content[8 : 8 + size])
    state = parsed.get("__metadata__", {}).get("state")
    if state is not None and rng.random() < 0.7:  # JSON within JSON
        parsed["__metadata__"]["state"] = json.dumps(damaged_json(json.loads(state), rng))
    else:
        parsed = damaged_json(parsed, rng)
    header = json.dumps(parsed).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


SAME_WIDTH = {"F32": ("I32", "U32"), "I64": ("F64", "U64")}


def damaged_weights(content: bytes, rng: np.random.Generator) -> bytes:
    """Bits of the numbers, or the type that the header gives to an array, or as above."""
    start = 8 + int.from_bytes(content[:8], "little")
    kind = rng.integers(0, 3)
    if kind == 0:
        data = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(start, len(data))] ^= 1 << int(rng.integers(0, 8))
        return bytes(data)
    if kind == 1:
        header = json.loads(content[8:start])
        arrays = [entry for entry in header.values() if entry.get("dtype") in SAME_WIDTH]
        chosen = arrays[rng.integers(len(arrays))]
        chosen["dtype"] = str(rng.choice(SAME_WIDTH[chosen["dtype"]]))
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + content[start:]
    return damaged_safetensors(content, rng)


def damaged_table(content: bytes, rng: np.random.Generator) -> bytes:
    """Rows lost, doubled or swapped, a cell exchanged, or bytes damaged."""
    header, *rows = content.decode().splitlines()
    kind, i, j = rng.integers(0, 6), *rng.integers(0, len(rows), 2)
    if kind == 0:
        del rows[i]
    elif kind == 1:
        rows.insert(j, rows[i])
    elif kind == 2:
        rows[i], rows[j] = rows[j], rows[i]
    elif kind == 3:
        cells = rows[i].split(",")
        odd = ("nan", "inf", "-inf", "-1", "1" + "0" * 30, "1e400", "0.5", "", cells[0])
        cells[rng.integers(len(cells))] = str(rng.choice(odd))
        rows[i] = ",".join(cells)
    else:
        return damaged(content, rng)
    return "\n".join([header, *rows, ""]).encode()


def damaged_gzip(content: bytes, rng: np.random.Generator) -> bytes:
    """Half of the time the damage is inside, under a checksum that is right."""
    if rng.random() < 0.5:
        return damaged(content, rng)
    return gzip.compress(damaged(gzip.decompress(content), rng), 1)


def damaged_png(content: bytes, rng: np.random.Generator) -> bytes:
    """Half of the time with one chunk damaged and its checksum right, or its pixels."""
    if rng.random() < 0.5:
        return damaged(content, rng)
    chunks, at = [], 8
    while at < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    chosen = int(rng.integers(len(chunks)))
    kind, body = chunks[chosen]
    if kind == b"IDAT" and rng.random() < 0.5:
        chunks[chosen] = kind, zlib.compress(damaged(zlib.decompress(body), rng))
    else:
        chunks[chosen] = kind, damaged(body, rng)
    made = b"".join(
        struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks
    )
    return content[:8] + made

"""Mutate an artefact. The digests in the manifest are corrected afterwards, so that readers go on to the content.

A mutation is determined by its number.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

from forebay.models.artefacts.backend_files import BACKENDS
from tests.fuzz.onnx_mutation import mutate_graph

MANIFEST, GOLDEN = "manifest.json", "golden.safetensors"
# Most mutations are of the files that a backend parses. The others are of what all backends share.
MANIFEST_RATE, GOLDEN_RATE = 0.04, 0.02
VALUES: list[Any] = [
    None, True, 0, -1, 1, 2, 7, 2**31, 2**53 + 1, 10**400, 0.5, 1e308, "", "x", "float32", "F32", "F64", "I64",
    "torch", "mlp", "../x", "/etc/passwd", "weights.safetensors", "0" * 64, [], {}, [0], [[0]], {"a": 1},
]  # fmt: skip
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]
FLOATS = [float("nan"), float("inf"), -float("inf"), 1e38, -1e38, 1e308, 1e-320, 0.0]


# The types of elements in a safetensors file that can be exchanged for each other, with their formats of struct.
ELEMENTS = [{"F64": "d", "I64": "q", "U64": "Q"}, {"F32": "f", "I32": "i", "U32": "I"}, {"F16": "e", "BF16": "H", "I16": "h"},
            {"I8": "b", "U8": "B", "BOOL": "B"}]  # fmt: skip


def mutate_version(version: Path, number: int, files: Sequence[str] = ()) -> str:
    """Mutate one file of a version in place; return the file's name. `mutated` says how."""
    contents = {file.name: file.read_bytes() for file in version.iterdir()}
    changed = mutated(contents, number, files)
    for name, content in changed.items():
        (version / name).write_bytes(content)
    return next(iter(changed))


def mutated(contents: Mapping[str, bytes], number: int, files: Sequence[str] = ()) -> dict[str, bytes]:
    """Return the mutated file of a version, and the manifest with its digest.

    contents: the version's files.
    files: the backend's files to mutate; all if empty.
    """
    rng = random.Random(number)
    draw = rng.random()
    manifest = json.loads(contents[MANIFEST])
    backend = manifest["backend"]
    if draw < MANIFEST_RATE and not files:  # trusted code may do anything with the parameters in the manifest
        name = MANIFEST
    elif draw < MANIFEST_RATE + GOLDEN_RATE:
        name = GOLDEN
    else:
        name = rng.choice(sorted(files or BACKENDS[backend].max_bytes))
    content = contents[name]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        content = _mutate(name, content, rng)
    if name == MANIFEST:
        return {name: content}
    manifest["files"][name] = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    return {name: content, MANIFEST: json.dumps(manifest).encode()}


def _mutate(name: str, content: bytes, rng: random.Random) -> bytes:
    if name.endswith(".json") and rng.random() < 0.8:
        return _mutate_json(content, rng)
    if name.endswith(".safetensors") and rng.random() < 0.8:
        return _mutate_tensors(content, rng)
    if name.endswith(".onnx") and rng.random() < 0.7:
        return mutate_graph(content, rng) or _mutate_bytes(content, rng)
    return _mutate_bytes(content, rng)


def _mutate_tensors(content: bytes, rng: random.Random) -> bytes:
    """Change the header of a safetensors file, or a few numbers in a tensor."""
    end = 8 + int.from_bytes(content[:8], "little")
    header, data = content[8:end], content[end:]
    try:
        document = json.loads(header)
        tensors = [document[name] for name in document if name != "__metadata__"]
        if rng.random() < 0.3:
            header = _mutate_json(header, rng)
        elif rng.random() < 0.4:
            _change_tensor(rng.choice(tensors), tensors, rng)
            header = json.dumps(document).encode()
        else:
            data = _with_other_numbers(rng.choice(tensors), data, rng)
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration):  # an earlier mutation
        return _mutate_bytes(content, rng)
    return len(header).to_bytes(8, "little") + header + data


def _change_tensor(tensor: dict[str, Any], tensors: Sequence[dict[str, Any]], rng: random.Random) -> None:
    """Change the description of a tensor so that it still fits the file's data."""
    size = prod(tensor["shape"])
    match rng.randrange(3):
        case 0:
            other = rng.choice([other for other in tensors if len(other["shape"]) == len(tensor["shape"])])
            copy = dict(tensor)
            tensor.update(other)
            other.update(copy)
        case 1:
            tensor["dtype"] = rng.choice(next(list(group) for group in ELEMENTS if tensor["dtype"] in group))
        case _:
            tensor["shape"] = rng.choice([[size], [1, size], [size, 1], [1, 1, size], [size // 2, 2]])


def _with_other_numbers(tensor: dict[str, Any], data: bytes, rng: random.Random) -> bytes:
    """Overwrite numbers of a tensor with notable ones, or with others of the tensor."""
    letter = next(group[tensor["dtype"]] for group in ELEMENTS if tensor["dtype"] in group)
    width = struct.calcsize(letter)
    first, last = tensor["data_offsets"]
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 3])):
        at, other = (first + width * rng.randrange((last - first) // width) for _ in range(2))
        if letter in "fde" and rng.random() < 0.5:
            changed[at : at + width] = _packed(letter, rng.choice(FLOATS))
        elif rng.random() < 0.3:
            changed[at : at + width] = data[other : other + width]
        else:
            number = int.from_bytes(data[at : at + width], "little") + rng.choice([-1, 1, *NUMBERS])
            changed[at : at + width] = (number % 256**width).to_bytes(width, "little")
    return bytes(changed)


def _mutate_json(content: bytes, rng: random.Random) -> bytes:
    try:
        document = json.loads(content)
    except ValueError:  # an earlier mutation
        return _mutate_bytes(content, rng)
    paths = [path for path in _places(document) if path]
    if not paths:
        return _mutate_bytes(content, rng)
    *parents, key = rng.choice(paths)
    parent = document
    for part in parents:
        parent = parent[part]
    match rng.randrange(4):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[rng.choice(["x", "", "dtype", "shape", "format"])] = rng.choice(VALUES)
        case 2:
            value = document
            for part in rng.choice(paths):
                value = value[part]
            parent[key] = json.loads(json.dumps(value))
        case _:
            parent[key] = rng.choice(VALUES)
    return json.dumps(document).encode()


def _mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Overwrite, remove, insert or repeat a few bytes, write a notable number, or cut the end off."""
    changed = bytearray(content)
    at = rng.randrange(len(changed) + 1)
    match rng.randrange(9):
        case 0 | 1:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        case 2:
            if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
        case 3:
            del changed[at : at + rng.choice([1, 1, 2, 4, 8, 64])]
        case 4:
            changed[at:at] = rng.randbytes(rng.choice([1, 1, 2, 4, 8, 64]))
        case 5:
            changed[at : at + 8] = rng.choice(NUMBERS).to_bytes(8, rng.choice(["little", "big"]))
        case 6:
            start = rng.randrange(len(changed) + 1)
            changed[at:at] = changed[start : start + rng.choice([1, 4, 16, 256])]
        case 7:
            width = rng.choice("fd")
            changed[at : at + struct.calcsize(width)] = _packed(width, rng.choice(FLOATS))
        case _:
            if rng.random() < 0.2:
                del changed[at:]
    return bytes(changed)


def _packed(width: str, value: float) -> bytes:
    try:
        return struct.pack("<" + width, value)
    except OverflowError:
        return struct.pack("<" + width, float("inf"))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from _places(value[key], (*path, key))

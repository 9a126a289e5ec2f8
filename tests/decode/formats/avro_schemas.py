"""Random Avro schemas, values of them, and later versions of them, for property tests."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import numpy as np
from hypothesis import strategies as st

from forebay.stream.decode.formats.payload import Column, Path

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = {"s": timedelta(seconds=1), "ms": timedelta(milliseconds=1), "us": timedelta(microseconds=1)}

SCALARS: Sequence[Any] = (
    "null",
    "boolean",
    "int",
    "long",
    "float",
    "double",
    "bytes",
    "string",
    {"type": "int", "logicalType": "date"},
    {"type": "int", "logicalType": "time-millis"},
    {"type": "long", "logicalType": "time-micros"},
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "long", "logicalType": "timestamp-micros"},
    {"type": "long", "logicalType": "timestamp-nanos"},
    {"type": "long", "logicalType": "local-timestamp-millis"},
    {"type": "string", "logicalType": "uuid"},
    {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3},
)
PROMOTED = {"int": ["long", "float", "double"], "long": ["float", "double"], "float": ["double"], "string": ["bytes"]}


class _Names:
    """Numbers the named types of one schema."""

    def __init__(self) -> None:
        self.count = 0

    def next(self) -> str:
        self.count += 1
        return f"N{self.count}"


@st.composite
def schemas(draw: st.DrawFn, max_depth: int = 3) -> dict[str, Any]:
    """Return a record, which may contain itself."""
    names = _Names()
    record = _record(draw, names, max_depth)
    if draw(st.booleans()):
        record["fields"].append({"name": "again", "type": draw(st.permutations(["null", record["name"]]))})
    return record


def _record(draw: st.DrawFn, names: _Names, depth: int) -> dict[str, Any]:
    fields = [{"name": f"f{i}", "type": _type(draw, names, depth)} for i in range(draw(st.integers(1, 5)))]
    return {"type": "record", "name": names.next(), "namespace": "test", "fields": fields}


def _type(draw: st.DrawFn, names: _Names, depth: int) -> Any:
    kinds = ["scalar", "scalar", "nullable", "enum", "fixed", "decimal"]
    if depth:
        kinds += ["record", "nullable", "array", "numbers", "map", "union"]
    match draw(st.sampled_from(kinds)):
        case "enum":
            return {
                "type": "enum",
                "name": names.next(),
                "symbols": ["RED", "GREEN", "BLUE"][: draw(st.integers(1, 3))],
            }
        case "fixed":
            return {"type": "fixed", "name": names.next(), "size": draw(st.sampled_from([0, 1, 3, 40]))}
        case "decimal":
            decimal = {"logicalType": "decimal", "precision": 6, "scale": 2}
            return {"type": "fixed", "name": names.next(), "size": 5, **decimal}
        case "record":
            return _record(draw, names, depth - 1)
        case "nullable":
            inner = _type(draw, names, depth - 1 if depth else 0)
            if isinstance(inner, list) or inner == "null":
                return inner
            return draw(st.permutations(["null", inner]))
        case "array":
            return {"type": "array", "items": _type(draw, names, depth - 1)}
        case "numbers":
            return {"type": "array", "items": draw(st.sampled_from(["float", "double", "int", "long"]))}
        case "map":
            return {"type": "map", "values": _type(draw, names, depth - 1)}
        case "union":
            return draw(st.permutations(["null", "string", "double", "boolean"]))[: draw(st.integers(1, 4))]
    return draw(st.sampled_from(SCALARS))


_LIMITS = {
    "date": (-719_162, 2_932_896),
    "time-millis": (0, 86_399_999),
    "time-micros": (0, 86_399_999_999),
    "timestamp-millis": (-62_135_596_800_000, 253_402_300_799_999),
    "local-timestamp-millis": (-62_135_596_800_000, 253_402_300_799_999),
    "timestamp-micros": (-62_135_596_800_000_000, 253_402_300_799_999_999),
}


def value(draw: st.DrawFn, schema: Any, records: Mapping[str, Any], depth: int = 0) -> Any:
    """Return a value of a type, as plain as its encoding: logical types as what they are based on."""
    if isinstance(schema, list):
        branch = "null" if depth > 5 and "null" in schema else draw(st.sampled_from(schema))
        return value(draw, branch, records, depth)
    kind = schema if isinstance(schema, str) else schema["type"]
    limits = None if isinstance(schema, str) else _LIMITS.get(schema.get("logicalType", ""))
    match kind:
        case "null":
            return None
        case "boolean":
            return draw(st.booleans())
        case "int":
            return draw(st.integers(*(limits or (-(1 << 31), (1 << 31) - 1))))
        case "long":
            return draw(st.integers(*(limits or (-(1 << 63), (1 << 63) - 1))))
        case "float":
            return draw(st.floats(width=32))
        case "double":
            return draw(st.floats())
        case "bytes" if isinstance(schema, dict) and schema.get("logicalType") == "decimal":
            return draw(st.integers(-(10**9) + 1, 10**9 - 1)).to_bytes(5, "big", signed=True)
        case "fixed" if schema.get("logicalType") == "decimal":
            return draw(st.integers(-(10**6) + 1, 10**6 - 1)).to_bytes(5, "big", signed=True)
        case "bytes":
            return draw(st.binary(max_size=20))
        case "string":
            return draw(st.text(max_size=80))
        case "fixed":
            return draw(st.binary(min_size=schema["size"], max_size=schema["size"]))
        case "enum":
            return draw(st.sampled_from(schema["symbols"]))
        case "array":
            return [
                value(draw, schema["items"], records, depth + 1) for _ in range(draw(st.sampled_from([3, 3, 0, 1, 5])))
            ]
        case "map":
            names = [f"k{i}" for i in range(draw(st.sampled_from([2, 2, 0, 3])))]
            names = draw(st.permutations(names)) if draw(st.sampled_from([False, False, True])) else names
            return {name: value(draw, schema["values"], records, depth + 1) for name in names}
        case "record":
            records = {**records, schema["name"]: schema}
            return {f["name"]: value(draw, f["type"], records, depth + 1) for f in schema["fields"]}
    return value(draw, records[kind], records, depth + 1)


def without_logical_types(schema: Any) -> Any:
    """Return a copy whose values are as plain as their encoding."""
    if isinstance(schema, list):
        return [without_logical_types(part) for part in schema]
    if isinstance(schema, dict):
        return {key: without_logical_types(part) for key, part in schema.items() if key != "logicalType"}
    return schema


@st.composite
def payloads(draw: st.DrawFn, schema: Any, max_size: int = 6) -> list[bytes]:
    """Return the payloads of a poll."""
    plain = fastavro.parse_schema(without_logical_types(schema))
    encoded = []
    for _ in range(draw(st.integers(1, max_size))):
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, plain, value(draw, schema, {}))
        encoded.append(buffer.getvalue())
    return encoded


@st.composite
def evolved(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a reader's schema: fields are added with defaults, removed, renamed with aliases, promoted, made nullable."""
    reader = copy.deepcopy(schema)
    _evolve(draw, reader)
    return reader


def _evolve(draw: st.DrawFn, record: dict[str, Any]) -> None:
    kept = []
    for number, member in enumerate(record["fields"]):
        kind = member["type"]
        match draw(st.sampled_from(["same", "same", "removed", "renamed", "promoted", "nullable", "required"])):
            case "removed" if member["name"] != "again" and not _defines_names(kind):
                continue
            case "renamed":
                member["aliases"], member["name"] = [member["name"]], f"renamed{number}"
            case "promoted" if isinstance(kind, str) and kind in PROMOTED:
                member["type"] = draw(st.sampled_from(PROMOTED[kind]))
            case "nullable" if not isinstance(kind, list) and kind != "null":
                member["type"] = ["null", kind]
            case "required" if isinstance(kind, list) and len(kind) == 2 and "null" in kind:
                member["type"] = next(branch for branch in kind if branch != "null")
        kind = member["type"]
        for part in kind if isinstance(kind, list) else [kind]:
            if isinstance(part, dict) and part["type"] == "record":
                _evolve(draw, part)
            if isinstance(part, dict) and part["type"] == "enum" and draw(st.booleans()):
                part["symbols"] = part["symbols"][1:] or ["OTHER"]
                if draw(st.booleans()):
                    part["default"] = part["symbols"][0]
        kept.append(member)
    if draw(st.booleans()):
        added = draw(st.sampled_from(ADDED))
        kept.append({"name": "added", **copy.deepcopy(added)})
    record["fields"] = kept


ADDED: Sequence[dict[str, Any]] = (
    {"type": "double", "default": 1.5},
    {"type": "double", "default": 3},
    {"type": "long", "default": 7},
    {"type": "string", "default": "none"},
    {"type": "bytes", "default": "\u00ff"},
    {"type": ["null", "int"], "default": None},
    {"type": {"type": "long", "logicalType": "timestamp-millis"}, "default": 1_000},
    {"type": {"type": "array", "items": "int"}, "default": [1]},
)


def _defines_names(kind: Any) -> bool:
    return '"name"' in json.dumps(kind)


def paths(schema: Any, above: Path = (), records: tuple[str, ...] = ()) -> list[Path]:
    """Return the paths of all fields, and some that do not exist."""
    found: list[Path] = []
    for member in schema["fields"]:
        path = (*above, member["name"])
        found += [path, (*path, "absent"), (*path, "1"), (*path, "k0"), (*path, "k1")]
        kind = member["type"]
        for part in kind if isinstance(kind, list) else [kind]:
            if isinstance(part, dict) and part["type"] == "record":
                found += paths(part, path)
    return found


def at_path(document: object, path: Path) -> object:
    """Return what a document has at a path; None for null and absent values."""
    for name in path:
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document


def from_column(column: Column, row: int) -> object:
    """Return a value of a column as a document would have it."""
    if column.missing_B is not None and column.missing_B[row]:
        return None
    found = column.values[row]
    if column.unit is not None:
        assert isinstance(found, np.int64)
        return EPOCH + int(found) * UNITS[column.unit]
    return found.tolist() if isinstance(found, (np.ndarray, np.generic)) else found


def same(column: object, document: object) -> bool:
    """Return whether a value of a column is a document's, by type and by value. NaN is equal to itself."""
    if isinstance(document, list) and isinstance(column, list):
        return len(column) == len(document) and all(map(same, column, document))
    if isinstance(document, float) and document != document:
        return isinstance(column, float) and column != column
    return type(column) is type(document) and column == document

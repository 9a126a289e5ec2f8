"""Avro without a schema registry: single objects, files with one object, and payloads of one configured schema."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.avro import AvroFormat
from forebay.stream.decode.formats.avro_container import MAGIC, read_container
from forebay.stream.decode.formats.payload import Column, FieldRoles, InvalidPayload, ParsedColumns, Path
from forebay.stream.schema_registry.schema import SchemaRef
from forebay.stream.schema_registry.store import SchemaStore

SINGLE_OBJECT: Final = b"\xc3\x01"
PREFIX_BYTES: Final = 10
MAX_FILE_SCHEMAS: Final = 64
"""Limit of the schemas of files that are kept."""


class UnframedAvroFormat:
    """Values that name their schema by its fingerprint, that contain it, or that have the only configured one.

    A single object begins with the bytes C3 01 and the fingerprint of its schema (CRC-64-AVRO), which is a configured one or
    one that is known from the registry. A file begins with `Obj` and byte 1. All other values have no prefix.

    texts: the configured schemas. reader: the text of the schema to read all of them as. store: the schemas of the registry.
    Raises InvalidPayload if a configured schema cannot be used.
    """

    name: Final = "avro"
    has_schema: Final = True

    def __init__(self, texts: Iterable[str] = (), reader: str | None = None, store: SchemaStore | None = None) -> None:
        self._reader = reader
        self._store = store
        self._lock = threading.Lock()
        self._seen: set[SchemaRef] = set()
        self._by_fingerprint: dict[bytes, AvroFormat] = {}
        self._of_files: dict[bytes, AvroFormat | InvalidPayload] = {}
        features: dict[str, Path] = {}
        roles: dict[str, Path] = {}
        configured = [AvroFormat(text, reader) for text in texts]
        for known in configured:
            self._by_fingerprint[known.writer.fingerprint()] = known
            features = {**known.roles.features, **features}
            roles = {**known.roles.roles, **roles}
        self._plain = configured[0] if len(configured) == 1 else None
        self.roles: FieldRoles = FieldRoles(features, roles)

    def document(self, payload: bytes) -> dict[str, object]:
        """Return the payload as nested Python values. Raises only InvalidPayload."""
        if payload.startswith(MAGIC):
            contained = read_container(payload)
            return self._of_file(contained.schema).document(contained.payload)
        known, start = self._choose(payload)
        return known.document(payload[start:])

    def columns(self, values: Sequence[bytes], paths: Sequence[Path], *, start: int) -> ParsedColumns | None:
        """Return the columns of a poll; None if there is no columnar path. Never raises for data."""
        groups: dict[bytes, list[int]] = {}
        for row, value in enumerate(values):
            groups.setdefault(_prefix(value, start), []).append(row)
        parsed: list[tuple[list[int], ParsedColumns]] = []
        for prefix, rows in groups.items():
            try:
                known, skipped = self._choose(prefix)
            except InvalidPayload:
                continue
            part = values if len(groups) == 1 else [values[row] for row in rows]
            columns = known.columns(part, paths, start=start + skipped)
            if columns is not None:
                if len(groups) == 1:
                    return columns
                parsed.append((rows, columns))
        return merged(parsed, len(values)) if parsed else None

    def _choose(self, payload: bytes) -> tuple[AvroFormat, int]:
        """Return the format of a value that is not a file, and where its payload begins. Raises InvalidPayload."""
        if payload[: len(SINGLE_OBJECT)] == SINGLE_OBJECT and len(payload) >= PREFIX_BYTES:
            known = self._with_fingerprint(payload[len(SINGLE_OBJECT) : PREFIX_BYTES])
            if known is not None:
                return known, PREFIX_BYTES
            if self._plain is None:
                shown = payload[len(SINGLE_OBJECT) : PREFIX_BYTES].hex()
                raise InvalidPayload(
                    FailureKind.UNKNOWN_SCHEMA,
                    f"no schema with the fingerprint {shown} is known: add its file to input.avro_schemas",
                )
        if self._plain is None or payload[: len(MAGIC)] == MAGIC:
            raise InvalidPayload(
                FailureKind.INVALID_PAYLOAD,
                "the value names no schema: it has neither the prefix of a schema registry's serializer nor that of a single "
                "object (C3 01), and input.avro_schemas does not name exactly one file",
            )
        return self._plain, 0

    def _with_fingerprint(self, fingerprint: bytes) -> AvroFormat | None:
        known = self._by_fingerprint.get(fingerprint)
        if known is not None or self._store is None:
            return known
        with self._lock:  # another thread may be building the format of this very schema
            for schema in self._store:
                if schema.field_keys:
                    continue  # only records that begin with the schema's id are decrypted
                if schema.type == "AVRO" and schema.ref not in self._seen:
                    self._seen.add(schema.ref)
                    try:
                        other = AvroFormat(schema, self._reader)
                    except InvalidPayload:
                        continue
                    self._by_fingerprint.setdefault(other.writer.fingerprint(), other)
            return self._by_fingerprint.get(fingerprint)

    def _of_file(self, text: str) -> AvroFormat:
        key = hashlib.sha256(text.encode()).digest()
        known = self._of_files.get(key)
        if known is None:
            try:
                known = AvroFormat(text, self._reader)
            except InvalidPayload as fault:
                known = fault
            with self._lock:
                if len(self._of_files) >= MAX_FILE_SCHEMAS:
                    del self._of_files[next(iter(self._of_files))]
                self._of_files[key] = known
        if isinstance(known, InvalidPayload):
            raise InvalidPayload(known.kind, known.message)
        return known


def merged(parts: Sequence[tuple[Sequence[int], ParsedColumns]], size: int) -> ParsedColumns:
    """Return the columns of several parts of a poll of this size, by their rows; at least one part.

    Rows in no part, and those whose columns have another type than those of the largest part, are suspects.
    """
    parts = sorted(parts, key=lambda part: len(part[0]), reverse=True)
    suspects_B = np.ones(size, dtype=np.bool_)
    largest = parts[0][1].columns
    columns = {
        path: Column(_empty(column, size), np.zeros(size, dtype=np.bool_), column.unit)
        for path, column in largest.items()
    }
    for rows, parsed in parts:
        if not all(_is_like(column, largest[path]) for path, column in parsed.columns.items()):
            continue
        index = np.array(rows)
        suspects_B[index] = parsed.suspects_B
        for path, column in parsed.columns.items():
            columns[path].values[index] = column.values
            if column.missing_B is not None:
                missing_B = columns[path].missing_B
                assert missing_B is not None
                missing_B[index] = column.missing_B
    return ParsedColumns(columns, suspects_B)


def _empty(column: Column, size: int) -> Any:
    return np.zeros((size, *column.values.shape[1:]), dtype=column.values.dtype)


def _is_like(column: Column, other: Column) -> bool:
    first, second = column.values, other.values
    return first.dtype == second.dtype and first.shape[1:] == second.shape[1:] and column.unit == other.unit


def _prefix(value: bytes, start: int) -> bytes:
    """Return what decides about the schema of a value, at least of one that is not a file."""
    first = value[start : start + len(SINGLE_OBJECT)]
    if first == SINGLE_OBJECT:
        return value[start : start + PREFIX_BYTES]
    return MAGIC if first == MAGIC[:2] and value[start : start + len(MAGIC)] == MAGIC else b""

"""The routing keys of records, by which they are allocated to the versions of a model. Pure.

The key of a record must not depend on the version that decodes it: a record that one version rejects and another accepts has
the same key in both cases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from forebay.schemas import headers as names
from forebay.stream.core.record_columns import keys_of
from forebay.stream.core.records import Chunk, Record, Unreadable
from forebay.stream.core.rows import RowRecord
from forebay.stream.decode.validator import RAW_F32, media_type_and_model

RoutingKeys = Callable[[Chunk], list[bytes | None]]
"""Returns the routing key of each record of a chunk, None for those without one."""


class _Identity(msgspec.Struct, gc=False):
    """The fields of an event that may be its routing key."""

    id: str | int | None = None
    key: str | None = None


_parse_identity = msgspec.json.Decoder(_Identity).decode


def usual_keys(chunk: Chunk) -> list[bytes | None]:
    """Return the record key, else the event's field `key`, else its id."""
    keys = keys_of(chunk.records)
    if None in keys:
        own, ids = chunk.keys, chunk.ids
        keys = [
            key if key is not None else own[row] if row in own else ids[row].encode("utf-8", "surrogatepass")
            for row, key in enumerate(keys)
        ]
    return _with_rejected(chunk, keys, _key_of_rejected) if chunk.rejections else keys


def keys_by_field(name: str) -> RoutingKeys:
    """Return a function that returns the field `name` of each event: a text or an integer; the usual key without one."""
    event_type = msgspec.defstruct(
        "RoutedEvent", [("field", str | int | None, msgspec.field(default=None, name=name))], gc=False
    )
    parse: Callable[[bytes], Any] = msgspec.json.Decoder(event_type).decode

    def key_of(record: Record) -> bytes | None:
        if isinstance(record, Unreadable) or (record.headers and _is_raw(record)):
            return None
        if isinstance(record, RowRecord):
            return _key_in_row(record, name)
        try:
            field = parse(record.value or b"").field
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return field.encode("utf-8", "surrogatepass") if type(field) is str else _as_key(field)

    def keys(chunk: Chunk) -> list[bytes | None]:
        own = [key_of(record) for record in chunk.records]
        if chunk.rejections:
            own = _with_rejected(chunk, own, key_of)
        if None in own:
            own = [usual if key is None else key for key, usual in zip(own, usual_keys(chunk), strict=True)]
        return own

    return keys


def _with_rejected(
    chunk: Chunk, keys: list[bytes | None], key_of: Callable[[Record], bytes | None]
) -> list[bytes | None]:
    """Return the keys of all records in order, given those of the valid ones."""
    valid = iter(keys)
    rejected = {rejection.index: key_of(rejection.record) for rejection in chunk.rejections}
    return [rejected[index] if index in rejected else next(valid) for index in range(chunk.num_records)]


def _key_of_rejected(record: Record) -> bytes | None:
    if record.key is not None:
        return record.key
    if isinstance(record, Unreadable):
        return None
    if isinstance(record, RowRecord):
        return _key_in_row(record, "id")
    if _is_raw(record):
        ids = [value for name, value in record.headers if name.lower() == names.ID]
        return ids[-1] if ids else None
    try:
        event = _parse_identity(record.value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _as_key(event.id if event.key is None else event.key)


def _key_in_row(record: RowRecord, name: str) -> bytes | None:
    value = record.source.document_of(record.row).get(name)
    return _as_key(value) if isinstance(value, str) or type(value) is int else None


def _is_raw(record: Record) -> bool:
    return bool(record.headers) and media_type_and_model(record.headers)[0] == RAW_F32


def _as_key(value: str | int | None) -> bytes | None:
    return None if value is None else str(value).encode("utf-8", "surrogatepass")

"""Decode the JSON records of rollouts. Anything unexpected is a DataError that names the place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from forebay.schemas.errors import DataError

NEWER_FORMAT: Final = "newer_format"
"""The kind of the DataError for a record in a later format, which this release cannot skip without serving wrong versions."""

MAX_RECORD_BYTES: Final = 1_048_576

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """A record that is not what its topic holds. All readers ignore it."""

    offset: int
    timestamp_ms: int
    reason: str


class _Envelope(msgspec.Struct):
    format: int


def decode_key(key: bytes | None, record: str) -> str:
    """Return a record's key as text. record: what it is, for the message."""
    if not key:
        raise DataError(f"{record}: it has no key; expected the name of a model")
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{record}: its key is not UTF-8: {error.reason} at byte {error.start}") from None


def require_format(value: bytes | None, known: int, record: str) -> bytes:
    """Return the value if it is in the known format. Raises DataError, with kind NEWER_FORMAT for a later one."""
    if value is None:
        raise DataError(f"{record}: it has no value (a tombstone); records of this topic are never deleted")
    if len(value) > MAX_RECORD_BYTES:
        raise DataError(f"{record}: it has {len(value)} bytes; at most {MAX_RECORD_BYTES} are allowed")
    found = decode_json(value, _Envelope, record).format
    if found > known:
        raise DataError(
            f"{record}: it has format {found}, and this release reads formats up to {known}",
            kind=NEWER_FORMAT,
            remedy="update this worker or command to the release that wrote the record; if it was written by mistake, see "
            "docs/rollouts.md, A record of a later format",
        )
    if found < 1:
        raise DataError(f"{record}: format: {found} is not a whole number from 1")
    return value


def decode_json(value: bytes, into: type[T], record: str) -> T:
    """Decode JSON into a type. Raises DataError with the path of the wrong field."""
    try:
        decoded: Any = msgspec.json.decode(value, type=into)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"{record}: {error}") from None
    except RecursionError:
        raise DataError(f"{record}: its values are nested too deeply") from None
    return decoded  # type: ignore[no-any-return]

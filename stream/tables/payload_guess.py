"""Guess in which format payloads are that are not JSON and name no format. Pure."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from forebay.stream.decode.formats.msgpack import MessagePackFormat
from forebay.stream.decode.formats.payload import InvalidPayload

_IMAGES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
_MAX_VALUES: Final = 50
_MAX_BYTES: Final = 1 << 20


class PayloadGuess(NamedTuple):
    """What payloads may be.

    format: the value of `input.format` that reads them; None if a worker does not read them.
    what: in words. remedy: what to do.
    """

    format: str | None
    what: str
    remedy: str


_REGISTRY: Final = PayloadGuess(
    None,
    "values with the prefix of a schema registry (byte 0 and an id)",
    "name the registry: --set schema_registry.urls=http://HOST:8081, or FOREBAY_SCHEMA_REGISTRY__URLS",
)
_AVRO: Final = PayloadGuess(
    None,
    "Avro single objects (bytes C3 01 and a fingerprint)",
    "give the schemas: --set input.format=avro --set input.avro_schemas=schema.avsc",
)
_CSV: Final = PayloadGuess(
    None,
    "CSV lines",
    "a worker reads no CSV: let the producer send JSON, or send files with `forebay publish FILE`, which converts them",
)
_XML: Final = PayloadGuess(None, "XML", "a worker reads no XML: let the producer send JSON, Avro or Protobuf")
_UNKNOWN: Final = PayloadGuess(
    None,
    "in no format that is known here",
    "name it: --set input.format=protobuf (or msgpack, arrow, f32, image), with the schema registry where there is one; "
    "docs/formats.md lists the formats",
)


def guess_payloads(values: Sequence[bytes]) -> PayloadGuess:
    """Return what most of some payloads may be that are not JSON. values: at least one."""
    looked_at = [value for value in values if value][:_MAX_VALUES]
    counts = Counter(map(_guess, looked_at))
    if not counts:
        return _UNKNOWN
    guess, _ = counts.most_common(1)[0]
    lengths = {len(value) for value in looked_at}
    if guess is _UNKNOWN and len(lengths) == 1 and len(looked_at) > 1 and (length := lengths.pop()) % 4 == 0:
        return PayloadGuess(
            None,
            f"{length} bytes each, which may be {length // 4} raw float32 values",
            "if they are, choose --set input.format=f32; a model needs the order of the values from you",
        )
    return guess


def _guess(value: bytes) -> PayloadGuess:
    if value[:1] == b"\0" and len(value) > 5:
        return _REGISTRY
    if value[:2] == b"\xc3\x01":
        return _AVRO
    if value[:4] == b"Obj\x01":
        return PayloadGuess("avro", "Avro object containers", "")
    if value[:4] == b"\xff\xff\xff\xff" or value[:6] == b"ARROW1":
        return PayloadGuess("arrow", "Arrow IPC", "")
    if value.startswith(_IMAGES):
        return PayloadGuess(
            None, "images", "an image has no fields to map: choose --set input.format=image, docs/formats.md"
        )
    if value.lstrip()[:1] == b"<":
        return _XML
    if _is_msgpack_map(value):
        return PayloadGuess("msgpack", "MessagePack", "")
    return _CSV if _is_csv(value) else _UNKNOWN


def _is_msgpack_map(value: bytes) -> bool:
    if not (0x80 <= value[0] <= 0x8F or value[0] in (0xDE, 0xDF)) or len(value) > _MAX_BYTES:
        return False
    try:
        MessagePackFormat().document(value)
    except InvalidPayload:
        return False
    return True


def _is_csv(value: bytes) -> bool:
    try:
        text = value[:4096].decode()
    except UnicodeDecodeError:
        return False
    line = text.splitlines()[0] if text.strip() else ""
    try:
        return line.replace("\t", "").isprintable() and any(
            len(next(csv.reader([line], delimiter=mark), [])) > 1 for mark in ",;|\t"
        )
    except csv.Error:
        return False

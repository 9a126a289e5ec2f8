"""The formats that media types name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from forebay.schemas import headers as names

ARROW_STREAM: Final = b"application/vnd.apache.arrow.stream"
ARROW_FILE: Final = b"application/vnd.apache.arrow.file"

FORMATS_BY_MEDIA_TYPE: Final[Mapping[bytes, str]] = MappingProxyType(
    {
        names.JSON_CONTENT_TYPE.encode(): "json",
        b"text/json": "json",
        names.F32_CONTENT_TYPE.encode(): "f32",
        b"application/msgpack": "msgpack",
        b"application/x-msgpack": "msgpack",
        b"application/vnd.msgpack": "msgpack",
        b"application/cloudevents+json": "cloudevents",
        b"application/schema+json": "json-schema",
        b"application/avro": "avro",
        b"application/x-avro": "avro",
        b"avro/binary": "avro",
        b"application/vnd.apache.avro+binary": "avro",
        b"application/protobuf": "protobuf",
        b"application/x-protobuf": "protobuf",
        b"application/vnd.google.protobuf": "protobuf",
        ARROW_STREAM: "arrow",
        ARROW_FILE: "arrow",
        b"image/png": "image",
        b"image/jpeg": "image",
        b"image/jpg": "image",
        b"image/webp": "image",
    }
)
"""Formats by media type, in lower case and without parameters."""

FRAMED_FORMATS: Final = frozenset({"avro", "protobuf", "json-schema"})
"""The formats whose schema the framing names."""


def media_type_of(content: bytes | None) -> bytes:
    """Return the media type in a header, in lower case and without parameters."""
    return (content or b"").split(b";")[0].strip().lower()

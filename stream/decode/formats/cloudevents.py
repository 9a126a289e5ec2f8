"""CloudEvents 1.0 in structured mode (`application/cloudevents+json`): the attributes and the data in one JSON object.

In binary mode, the value is the data, and the headers `ce_*` are the attributes: see `choice.py`.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Sequence
from typing import Final

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.features import describe
from forebay.stream.decode.formats.document_columns import columns_one_by_one
from forebay.stream.decode.formats.json_documents import json_object
from forebay.stream.decode.formats.media_types import FORMATS_BY_MEDIA_TYPE
from forebay.stream.decode.formats.payload import NO_ROLES, FieldRoles, Format, InvalidPayload, ParsedColumns, Path

DATA: Final = "data"
_DATA_BASE64: Final = "data_base64"
_CONTENT_TYPE: Final = "datacontenttype"

DataFormat = Callable[[bytes, bytes], tuple[Format | None, int]]
"""Returns the format of data of a media type, None for raw float32, and where its payload begins. Raises InvalidPayload."""


class CloudEventsFormat:
    """Structured CloudEvents. The document is the event, with its data parsed: an object, or one with the field `features`."""

    name = "cloudevents"
    has_schema = False

    def __init__(self, data_format: DataFormat) -> None:
        self._data_format = data_format

    @property
    def roles(self) -> FieldRoles:
        return NO_ROLES

    def document(self, payload: bytes) -> dict[str, object]:
        """Return the event. Raises InvalidPayload."""
        event = json_object(payload)
        version = event.get("specversion")
        if version != "1.0":
            found = "missing" if version is None else repr(version)[:40]
            raise InvalidPayload(FailureKind.INVALID_PAYLOAD, f"specversion is {found}; CloudEvents 1.0 are read")
        event[DATA] = self._data(event)
        return event

    def columns(self, values: Sequence[bytes], paths: Sequence[Path], *, start: int) -> ParsedColumns | None:
        """Return the columns of a poll, from whole documents."""
        return columns_one_by_one(self.document, values, paths, start=start)

    def _data(self, event: dict[str, object]) -> object:
        media_type, content = _content(event)
        if content is None:
            return event.get(DATA)
        data_format, begin = self._data_format(media_type, content)
        if data_format is None:
            return {"features": content}
        return data_format.document(content[begin:] if begin else content)


def encoded_data(payload: bytes) -> tuple[bytes, bytes | None]:
    """Return the media type of an event's data, and its bytes; None for data that is JSON. Raises InvalidPayload."""
    return _content(json_object(payload))


def _content(event: dict[str, object]) -> tuple[bytes, bytes | None]:
    media_type = event.get(_CONTENT_TYPE, "application/json")
    if not isinstance(media_type, str):
        raise InvalidPayload(FailureKind.INVALID_PAYLOAD, f"{_CONTENT_TYPE} is {describe(media_type)}")
    media = media_type.split(";")[0].strip().lower().encode("utf-8", "replace")
    encoded = event.get(_DATA_BASE64)
    if isinstance(encoded, str):
        try:
            return media, binascii.a2b_base64(encoded, strict_mode=True)
        except (ValueError, binascii.Error) as error:
            raise InvalidPayload(FailureKind.INVALID_PAYLOAD, f"{_DATA_BASE64} is not base64: {error}") from None
    if encoded is not None:
        raise InvalidPayload(FailureKind.INVALID_PAYLOAD, f"{_DATA_BASE64} is {describe(encoded)}")
    data = event.get(DATA)
    if not isinstance(data, str) or FORMATS_BY_MEDIA_TYPE.get(media) == "json" or media.endswith(b"+json"):
        return media, None
    return media, data.encode()

"""MessagePack: an object with text keys, as JSON has it. Timestamps of the extension type are times.

Shapes: B payloads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.document_columns import columns_of_documents
from forebay.stream.decode.formats.payload import (
    MAX_DEPTH,
    NO_ROLES,
    FieldRoles,
    InvalidPayload,
    ParsedColumns,
    Path,
    invalid_payload,
)

_CONTAINERS: Final = frozenset({dict, list})
_NOT_A_MAP: Final = re.compile(r"Expected `object`, got `(\w+)`")
_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "None": "null",
        "null": "null",
        "int": "a number",
        "float": "a number",
        "str": "a string",
        "bool": "a boolean",
        "array": "an array",
        "bytes": "bytes",
        "ext": "an extension type",
    }
)
"""What the library calls the types, and how they are called in the terms of JSON."""


class MessagePackFormat:
    """MessagePack. Extension types other than timestamps are invalid, and so are keys that are not text."""

    name = "msgpack"
    has_schema = False

    def __init__(self) -> None:
        self._decode = msgspec.msgpack.Decoder(dict[str, Any], ext_hook=_refuse_extension).decode

    @property
    def roles(self) -> FieldRoles:
        return NO_ROLES

    def document(self, payload: bytes) -> dict[str, object]:
        """Return the object. Raises InvalidPayload."""
        try:
            document: dict[str, object] = self._decode(payload)
        except msgspec.ValidationError as error:
            raise _type_fault(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, OverflowError, TypeError) as error:
            raise InvalidPayload(FailureKind.INVALID_PAYLOAD, f"not MessagePack: {str(error)[:200]}") from None
        check_depth(document)
        return document

    def columns(self, values: Sequence[bytes], paths: Sequence[Path], *, start: int) -> ParsedColumns | None:
        """Return the columns of a poll."""
        decode = self._decode
        documents: list[dict[str, Any]] = []
        suspects_B = np.zeros(len(values), dtype=np.bool_)
        for index, value in enumerate(values):
            try:
                document = decode(value[start:] if start else value)
                check_depth(document)
            except Exception:  # the exact path finds the reason
                suspects_B[index] = True
                document = {}
            documents.append(document)
        return ParsedColumns(columns_of_documents(documents, paths), suspects_B)


def _refuse_extension(code: int, data: memoryview) -> object:
    raise ValueError(f"the extension type {code} with {len(data)} bytes is not supported")


def _type_fault(message: str) -> InvalidPayload:
    """Return the fault that an error of types says: the value is not a map, or a key is not text."""
    found = _NOT_A_MAP.match(message)
    if found is None:
        return invalid_payload(f"MessagePack: {message[:200]}")
    name = _TYPES.get(found[1], found[1])
    return InvalidPayload(FailureKind.NOT_AN_OBJECT, f"the value is {name}; an object is expected")


def check_depth(document: object) -> None:
    """Raise InvalidPayload if a document is nested more deeply than MAX_DEPTH."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for part in level:
            children = part.values() if type(part) is dict else part
            if not _CONTAINERS.isdisjoint(map(type, children)):
                inner += [child for child in children if type(child) in _CONTAINERS]
        if not inner:
            return
        level = inner
    raise InvalidPayload(FailureKind.INVALID_PAYLOAD, f"the document is nested more deeply than {MAX_DEPTH}")

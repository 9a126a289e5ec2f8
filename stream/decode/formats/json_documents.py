"""JSON with any fields, for events that do not have Forebay's own ones.

Shapes: B payloads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.features import describe
from forebay.stream.decode.formats.document_columns import columns_of_documents
from forebay.stream.decode.formats.payload import NO_ROLES, FieldRoles, InvalidPayload, ParsedColumns, Path


class JsonFormat:
    """JSON objects. Of a key that occurs twice, the last one counts."""

    name = "json"
    has_schema = False

    @property
    def roles(self) -> FieldRoles:
        return NO_ROLES

    def document(self, payload: bytes) -> dict[str, object]:
        """Return the object. Raises InvalidPayload."""
        return json_object(payload)

    def columns(self, values: Sequence[bytes], paths: Sequence[Path], *, start: int) -> ParsedColumns | None:
        """Return the columns of a poll, from whole documents: a parser that skips fields would not validate them."""
        loads = orjson.loads
        documents: list[dict[str, Any]] = []
        suspects_B = np.zeros(len(values), dtype=np.bool_)
        for index, value in enumerate(values):
            try:
                document = loads(value[start:] if start else value)
            except ValueError:
                document = None
            if type(document) is not dict:
                suspects_B[index] = True
                document = {}
            documents.append(document)
        return ParsedColumns(columns_of_documents(documents, paths), suspects_B)


def json_object(payload: bytes) -> dict[str, object]:
    """Return the JSON object in a payload. Raises InvalidPayload."""
    try:
        document = orjson.loads(payload)
    except ValueError as error:
        message = str(error)[:200]
        # The parser refuses 1e400 like invalid syntax, although it is valid JSON.
        kind = FailureKind.OUT_OF_RANGE if message.startswith("number is infinity") else FailureKind.NOT_JSON
        raise InvalidPayload(kind, message) from None
    if not isinstance(document, dict):
        raise InvalidPayload(FailureKind.NOT_AN_OBJECT, f"the value is {describe(document)}; an object is expected")
    return document

"""Reads the values of records as documents, in any format, for people and for tools. The worker itself reads by columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from forebay.schemas.errors import ForebayError
from forebay.stream.config.sections import InputSection
from forebay.stream.core.records import Record, Unreadable
from forebay.stream.decode.formats.avro_options import load_avro_options
from forebay.stream.decode.formats.choice import FormatChoice, FormatSettings
from forebay.stream.decode.formats.factories import check_libraries
from forebay.stream.decode.formats.payload import InvalidPayload
from forebay.stream.decode.json_values import to_json
from forebay.stream.schema_registry.client import SchemaRegistryClient
from forebay.stream.schema_registry.errors import RegistryError
from forebay.stream.schema_registry.schema import SchemaRef
from forebay.stream.schema_registry.store import SchemaStore

JSON: Final = "json"
F32: Final = "f32"
NOT_JSON: Final = "not JSON"
MAX_SHOWN_ROWS: Final = 20
"""The number of rows of a record in Arrow that are shown."""


class InvalidRawFloats(ValueError):
    """The length of a value is not that of floats."""


class ReadValue(NamedTuple):
    """What a value says.

    document: None if there is no value, or it cannot be read.
    format: in which it is, as far as that is known.
    schema: the schema that it names.
    reason: why it cannot be read; None if it can.
    """

    document: object
    format: str = JSON
    schema: SchemaRef | None = None
    reason: str | None = None

    def about(self) -> dict[str, object]:
        """Return what is not said by the document, for JSON: the format if it is not JSON, the schema and the reason."""
        found: dict[str, object] = {}
        if self.format not in (JSON, F32):
            found["format"] = self.format
        if self.schema is not None:
            found["schema"] = str(self.schema)
        if self.reason is not None and not self.reason.startswith(NOT_JSON):
            found["unread"] = self.reason
        return found


@dataclass(frozen=True, slots=True)
class DecodedRecord:
    """A record whose value is the JSON of what the original value says."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def value_formats(section: InputSection, *, prefix: str) -> FormatSettings:
    """Return the formats of the input topics; what other topics have is said by headers and framing. Raises ConfigError.

    prefix: of the names of topics.
    """
    formats = {f"{prefix}{topic}": section.formats.get(topic, section.format) for topic in section.topics}
    if not section.avro_schemas:
        return FormatSettings("auto", formats)
    check_libraries(["avro"])
    return FormatSettings("auto", formats, avro=load_avro_options(section.avro_schemas, {}, prefix=prefix))


class ValueReader:
    """Reads values.

    settings: the formats of topics, for records that do not name theirs (see `value_formats`).
    client: of the registry; None if there is none.
    """

    def __init__(self, settings: FormatSettings, client: SchemaRegistryClient | None) -> None:
        self._client = client
        self._choice = FormatChoice(settings, None if client is None else client.store)
        self._failures: dict[SchemaRef, str] = {}

    @property
    def schemas(self) -> SchemaStore | None:
        """The schemas that were looked up; None without a registry."""
        return None if self._client is None else self._client.store

    async def resolve(self, topic: str, records: Sequence[Record]) -> None:
        """Ask the registry for the schemas that records of a topic name. What fails is reported by `read`."""
        if self._client is None:
            return
        for ref in {self._choice.schema_ref(record, topic) for record in records} - {None}:
            assert ref is not None
            try:
                await self._client.get(ref)
                self._failures.pop(ref, None)
            except RegistryError as error:
                self._failures[ref] = error.description

    def read(self, topic: str, record: Record) -> ReadValue:
        """Return what the value of a record of a topic says. Never raises for data. Call `resolve` before."""
        if isinstance(record, Unreadable):
            return ReadValue(None, reason=record.description)
        value = record.value
        if value is None:
            return ReadValue(None)
        ref = self._choice.schema_ref(record, topic)
        if ref is not None and ref in self._failures:
            return ReadValue(None, schema=ref, reason=self._failures[ref])
        try:
            choice = self._choice.choose(record, topic)
            if choice.is_raw:
                return ReadValue(_floats(value), F32)
            if choice.format is None:
                return ReadValue(orjson.loads(value))
            return ReadValue(_document(choice.format, value[choice.start :]), choice.format.name, ref)
        except InvalidPayload as fault:
            return ReadValue(None, schema=ref, reason=fault.message)
        except ForebayError as error:  # a library that is not installed
            return ReadValue(None, schema=ref, reason=f"{error.message}; {error.remedy}")
        except InvalidRawFloats as error:
            return ReadValue(None, F32, reason=str(error))
        except ValueError as error:
            if value[:1] == b"\0" and self._client is None:
                return ReadValue(None, reason="byte 0 may begin a schema id, and schema_registry.urls is not set")
            return ReadValue(None, reason=f"{NOT_JSON}: {error}")

    def decoded(self, topic: str, record: Record) -> tuple[Record, ReadValue]:
        """Return the record with the JSON of its value, and what was read; the record itself if it is JSON or not readable."""
        read = self.read(topic, record)
        if read.reason is not None or record.value is None or read.format in (JSON, F32):
            return record, read
        value = to_json(read.document)
        return DecodedRecord(record.offset, record.timestamp, record.key, value=value, headers=record.headers), read


def _document(payload_format: Any, payload: bytes) -> object:
    """Return the document; of rows in Arrow a list, with the first of them."""
    if payload_format.name != "arrow":
        return payload_format.document(payload)
    num_rows, rows = payload_format.first_documents(payload, MAX_SHOWN_ROWS)
    return rows[0] if num_rows == 1 else {"num_rows": num_rows, "rows": rows}


def _floats(value: bytes) -> list[float]:
    if len(value) % 4:
        raise InvalidRawFloats(f"{len(value)} bytes are not a whole number of float32")
    numbers: list[float] = np.frombuffer(value, "<f4").tolist()
    return numbers

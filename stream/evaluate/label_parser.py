"""Parses records of the labels' topic into columns. Never raises for what a record contains."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from forebay.schemas.failures import FailureKind
from forebay.schemas.labels import MAX_LABEL_TEXT_CHARS
from forebay.schemas.rollouts import MODEL_NAME
from forebay.schemas.shapes import MAX_TIMESTAMP_MS
from forebay.stream.core.records import Record, Unreadable
from forebay.stream.decode.features import InvalidFeatures
from forebay.stream.decode.formats.payload import InvalidPayload
from forebay.stream.evaluate.columns import LabelColumns, LabelValue
from forebay.stream.evaluate.join_hash import hashes_of, key_and_time_bytes, position_bytes
from forebay.stream.evaluate.label_documents import LabelDocuments
from forebay.stream.evaluate.refusals import Reason, Refusal
from forebay.stream.evaluate.slice_values import SliceValues

_MODEL_NAME: Final = re.compile(MODEL_NAME)
_MALFORMED: Final = (LookupError, TypeError, ValueError, AttributeError, OverflowError)


class ParsedLabels(NamedTuple):
    """Labels of one partition in one poll, in offset order."""

    columns: LabelColumns
    refused: list[Refusal]


class _Row(NamedTuple):
    name: bytes
    offset: int
    time_ms: int
    value: LabelValue
    model: str | None
    slices: tuple[str, ...]


class LabelParser:
    """Parses labels.

    join_by: see evaluate.join_by.
    slices: the slices to read from the fields of labels; None if none are configured.
    max_future_ms: a label whose timestamp is further than this ahead of its record's is refused.
    documents: reads labels of other formats, or with a mapping; None for JSON with Forebay's fields.
    """

    def __init__(
        self,
        join_by: str,
        *,
        slices: SliceValues | None,
        max_future_ms: int,
        documents: LabelDocuments | None = None,
    ) -> None:
        self._documents = documents
        self._join_by = join_by
        self._slices = slices
        self._max_future_ms = max_future_ms

    def parse(self, records: Sequence[Record]) -> ParsedLabels:
        """Parse the records of one partition, in offset order."""
        rows: list[_Row] = []
        refused: list[Refusal] = []
        for record in records:
            row = self._row(record)
            if isinstance(row, Refusal):
                refused.append(row)
            else:
                rows.append(row)
        count = len(rows)
        models = [row.model for row in rows]
        columns = LabelColumns(
            hashes_B=hashes_of([row.name for row in rows], count),
            offsets_B=np.fromiter((row.offset for row in rows), np.int64, count),
            times_B=np.fromiter((row.time_ms for row in rows), np.int64, count),
            values=[row.value for row in rows],
            models=models if any(models) else None,
            slices=[row.slices for row in rows] if self._slices is not None else None,
        )
        return ParsedLabels(columns, refused)

    def _row(self, record: Record) -> _Row | Refusal:
        if isinstance(record, Unreadable):
            return Refusal(record.offset, record.timestamp, Reason.UNREADABLE, record.description, count=record.count)
        if record.value is None:
            return _refusal(
                record, Reason.TOMBSTONE, "the record has no value; a label cannot be deleted, only corrected"
            )
        try:
            value = orjson.loads(record.value) if self._documents is None else self._documents.document(record)
        except (InvalidPayload, InvalidFeatures) as fault:
            is_json = fault.kind is not FailureKind.NOT_JSON
            return _refusal(record, Reason.MALFORMED if is_json else Reason.NOT_JSON, fault.message)
        except ValueError:
            return _refusal(record, Reason.NOT_JSON, "the value is not JSON")
        if not isinstance(value, dict):
            return _refusal(record, Reason.MALFORMED, "the value is not a JSON object")
        try:
            return self._checked(record, value)
        except _MALFORMED as error:
            return _refusal(record, Reason.MALFORMED, f"not a label: {type(error).__name__} {error}")

    def _checked(self, record: Record, value: Mapping[str, Any]) -> _Row | Refusal:
        label, time_ms, model = value.get("label"), value.get("timestamp"), value.get("model")
        if not isinstance(label, str | int | float):
            return _refusal(record, Reason.VALUE, "label must be a number, a text, true or false")
        if isinstance(label, str) and not 0 < len(label) <= MAX_LABEL_TEXT_CHARS:
            return _refusal(record, Reason.VALUE, f"label must have 1 to {MAX_LABEL_TEXT_CHARS} characters")
        if type(time_ms) is not int or not 0 <= time_ms <= MAX_TIMESTAMP_MS:
            return _refusal(record, Reason.TIMESTAMP, "timestamp must be in milliseconds since the Unix epoch")
        if time_ms > record.timestamp + self._max_future_ms:
            return _refusal(
                record, Reason.FUTURE, "timestamp is after that of the record by more than evaluate.max_future_s"
            )
        if model is not None and not (isinstance(model, str) and _MODEL_NAME.fullmatch(model)):
            return _refusal(record, Reason.MODEL, "model must be the name of a model")
        name = self._name(record, value, time_ms)
        if isinstance(name, Refusal):
            return name
        slices = () if self._slices is None else self._slices.texts(value.get("fields"))
        return _Row(name, record.offset, time_ms, value=label, model=model, slices=slices)

    def _name(self, record: Record, value: Mapping[str, Any], time_ms: int) -> bytes | Refusal:
        """Return what is hashed."""
        if self._join_by == "id":
            label_id = value.get("id")
            if isinstance(label_id, int) and not isinstance(label_id, bool):
                return str(label_id).encode()
            if not isinstance(label_id, str) or not label_id:
                return _refusal(record, Reason.NO_KEY, "id must be the id of an event (evaluate.join_by is id)")
            return label_id.encode()
        source = value.get("source")
        if self._join_by == "position":
            if isinstance(source, dict):
                topic, partition, offset, row = map(source.get, ("topic", "partition", "offset", "row"))
                is_row = row is None or type(row) is int
                if isinstance(topic, str) and type(partition) is int and type(offset) is int and is_row:
                    return position_bytes(topic, partition, offset, row)
            return _refusal(
                record, Reason.NO_KEY, "source must have topic, partition and offset (evaluate.join_by is position)"
            )
        key = record.key if "key" not in value else str(value["key"]).encode("utf-8", "surrogatepass")
        if key is None:
            return _refusal(
                record, Reason.NO_KEY, "the record must have a key, or key be set (evaluate.join_by is key_and_time)"
            )
        if isinstance(source, dict) and type(source.get("timestamp")) is int:
            time_ms = source["timestamp"]
        return key_and_time_bytes(key, time_ms)


def _refusal(record: Record, reason: Reason, detail: str) -> Refusal:
    return Refusal(record.offset, record.timestamp, reason, detail[:200])

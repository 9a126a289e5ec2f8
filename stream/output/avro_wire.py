"""Predictions in Avro's binary encoding, as schemas/avro/prediction.avsc says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from forebay.stream.core.records import TopicPartition
from forebay.stream.output.varints import Integers, row_bytes, varint, varint_matrix, varints, zigzag, zigzags
from forebay.stream.output.wire import ABSTAIN, EncodableWindow

NULL: Final = b"\0"
"""The first branch of a union, in which all optional fields are null."""
PRESENT: Final = b"\2"
"""The second branch."""
END: Final = b"\0"
"""The block without items that ends an array or a map."""


class AvroWire:
    """Writes the parts of a prediction in Avro."""

    message_path = b""
    scores_end = END
    confidence_mark = PRESENT
    no_confidence = NULL

    def before_id(self, length: int) -> bytes:
        return _long(length)

    def before_scores(self, model: str, version: int, num_scores: int) -> bytes:
        return _string(model) + _long(version) + _long(num_scores)

    def class_and_label(self, index: int | None, label: str | None) -> bytes:
        return (NULL if index is None else PRESENT + _long(index)) + _optional_string(label)

    def sources(
        self, partition: TopicPartition, offsets_B: Integers, timestamps_B: Integers, rows_B: Integers | None = None
    ) -> list[bytes]:
        head = _string(partition.topic) + _long(partition.partition)
        offsets, timestamps = zigzags(offsets_B), zigzags(timestamps_B)
        offsets_BN, timestamps_BN = varint_matrix(offsets), varint_matrix(timestamps)
        if offsets_BN is not None and timestamps_BN is not None and rows_B is None:
            return row_bytes((head, offsets_BN, timestamps_BN, NULL), len(offsets))
        rows = [NULL] * len(offsets) if rows_B is None else list(map(_optional_row, rows_B.tolist()))
        parts = zip(varints(offsets), varints(timestamps), rows, strict=True)
        return [head + offset + timestamp + row for offset, timestamp, row in parts]

    def window(self, window: EncodableWindow | None) -> bytes:
        if window is None:
            return NULL
        numbers = (window.start, window.end, window.num_events, window.dropped)
        return PRESENT + _string(window.key) + b"".join(map(_long, numbers))

    def slices(self, values: Mapping[str, str] | None) -> bytes:
        if values is None:
            return NULL
        entries = [_string(name) + _string(value) for name, value in values.items()]
        return PRESENT + (_long(len(entries)) + b"".join(entries) if entries else b"") + END

    def abstention(self, reason: str | None) -> bytes:
        return _optional_string(None if reason is None else ABSTAIN) + _optional_string(reason)


def _long(value: int) -> bytes:
    return varint(zigzag(value))


def _optional_row(row: int) -> bytes:
    return NULL if row < 0 else PRESENT + _long(row)


def _string(text: str) -> bytes:
    encoded = text.encode()
    return _long(len(encoded)) + encoded


def _optional_string(text: str | None) -> bytes:
    return NULL if text is None else PRESENT + _string(text)

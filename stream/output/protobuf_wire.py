"""Predictions in Protobuf's encoding, as schemas/proto/prediction.proto says, whose field numbers stand here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from forebay.stream.core.records import TopicPartition
from forebay.stream.output.varints import Integers, row_bytes, varint, varint_matrix, varints
from forebay.stream.output.wire import ABSTAIN, EncodableWindow

FIRST_MESSAGE: Final = b"\0"
"""The path of the first message of a file, as Confluent's framing has it."""
_VARINT, _BYTES, _FIXED32 = 0, 2, 5


def _tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


_ID: Final = _tag(1, _BYTES)
_SCORES: Final = _tag(4, _BYTES)
_SOURCE: Final = _tag(8, _BYTES)
_SOURCE_OFFSET: Final = _tag(3, _VARINT)
_SOURCE_TIMESTAMP: Final = _tag(4, _VARINT)
_SOURCE_ROW: Final = 5


class ProtobufWire:
    """Writes the parts of a prediction in Protobuf."""

    message_path = FIRST_MESSAGE
    scores_end = b""
    confidence_mark = _tag(5, _FIXED32)
    no_confidence = b""

    def before_id(self, length: int) -> bytes:
        return _ID + varint(length)

    def before_scores(self, model: str, version: int, num_scores: int) -> bytes:
        return _text(2, model) + _integer(3, version) + _SCORES + varint(4 * num_scores)

    def class_and_label(self, index: int | None, label: str | None) -> bytes:
        return (b"" if index is None else _integer(6, index)) + (b"" if label is None else _text(7, label))

    def sources(
        self, partition: TopicPartition, offsets_B: Integers, timestamps_B: Integers, rows_B: Integers | None = None
    ) -> list[bytes]:
        head = _text(1, partition.topic) + _integer(2, partition.partition)
        offsets, timestamps = offsets_B.view("u8"), timestamps_B.view("u8")
        offsets_BN, timestamps_BN = varint_matrix(offsets), varint_matrix(timestamps)
        if offsets_BN is not None and timestamps_BN is not None and rows_B is None:
            length = len(head) + 2 + offsets_BN.shape[1] + timestamps_BN.shape[1]
            start = _SOURCE + varint(length) + head + _SOURCE_OFFSET
            return row_bytes((start, offsets_BN, _SOURCE_TIMESTAMP, timestamps_BN), len(offsets))
        rows = [b""] * len(offsets) if rows_B is None else list(map(_optional_row, rows_B.tolist()))
        parts = zip(varints(offsets), varints(timestamps), rows, strict=True)
        return [
            _message(8, head + _SOURCE_OFFSET + offset + _SOURCE_TIMESTAMP + timestamp + row)
            for offset, timestamp, row in parts
        ]

    def window(self, window: EncodableWindow | None) -> bytes:
        if window is None:
            return b""
        numbers = enumerate((window.start, window.end, window.num_events, window.dropped), start=2)
        return _message(9, _text(1, window.key) + b"".join(_integer(number, value) for number, value in numbers))

    def slices(self, values: Mapping[str, str] | None) -> bytes:
        return b"".join(_message(10, _text(1, name) + _text(2, value)) for name, value in (values or {}).items())

    def abstention(self, reason: str | None) -> bytes:
        return b"" if reason is None else _text(11, ABSTAIN) + _text(12, reason)


def _integer(number: int, value: int) -> bytes:
    # A negative number takes ten bytes: its two's complement in 64 bits.
    return _tag(number, _VARINT) + varint(value & (1 << 64) - 1)


def _optional_row(row: int) -> bytes:
    return b"" if row < 0 else _integer(_SOURCE_ROW, row)


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode())


def _message(number: int, content: bytes) -> bytes:
    return _tag(number, _BYTES) + varint(len(content)) + content

"""Encodes predictions in Avro or Protobuf, by columns: what is of equal width in all rows is built as one matrix of bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.stream.core.decisions import ABSTENTIONS
from forebay.stream.core.record_columns import offsets_of
from forebay.stream.core.records import BatchResult, Chunk, FloatMatrix, TopicPartition
from forebay.stream.core.rows import RowRecords, selected
from forebay.stream.output.slices import SliceColumn, SliceEncoder
from forebay.stream.output.varints import row_bytes
from forebay.stream.output.wire import EncodableWindow, Wire

MAX_KNOWN_LENGTH: Final = 1_024


class _Starts(dict[int, bytes]):
    """What precedes the id of an event, by the length of the id in bytes."""

    def __init__(self, wire: Wire, prefix: bytes) -> None:
        self._wire, self._prefix = wire, prefix

    def __missing__(self, length: int) -> bytes:
        start = self._prefix + self._wire.before_id(length)
        if length <= MAX_KNOWN_LENGTH:
            self[length] = start
        return start


class BinaryPredictionEncoder:
    """Encodes the predictions of one model version in a binary format. Has the methods of `PredictionEncoder`.

    wire: the format.
    framing: what precedes each prediction, which names its schema.
    labels, num_classes: as in the model's signature; num_classes is 0 for regression.
    slices: the features that predictions carry.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        framing: bytes,
        model: str,
        version: int,
        labels: Sequence[str],
        num_classes: int,
        slices: Sequence[SliceColumn] = (),
    ) -> None:
        self._wire = wire
        self._model, self._version = model, version
        self._starts = _Starts(wire, framing + wire.message_path)
        label_of_class = [*labels, *[None] * (num_classes - len(labels))]
        self._classes = [wire.class_and_label(index, label) for index, label in enumerate(label_of_class)]
        self._no_class = wire.class_and_label(None, None)
        self._no_window, self._no_slices = wire.window(None), wire.slices(None)
        self._no_abstention = wire.abstention(None)
        self._abstentions = {code: wire.abstention(reason) for code, reason in ABSTENTIONS.items()}
        self._slices = SliceEncoder(slices, self._encode_slices) if slices else None

    def encode(self, result: BatchResult, chunk: Chunk, first_row: int, rows: Sequence[int] | None) -> list[bytes]:
        """Return one record value per row of a chunk; see `PredictionEncoder.encode`."""
        ids, records, timestamps = chunk.ids, chunk.records, chunk.timestamps
        if rows is not None:
            ids, records, timestamps = selected(ids, rows), selected(records, rows), selected(timestamps, rows)
        if not len(ids):
            return []
        offsets_B, rows_B = offsets_of(records), records.row_B if isinstance(records, RowRecords) else None
        times_B = np.fromiter(timestamps, np.int64, len(timestamps))
        sources = self._wire.sources(chunk.partition, offsets_B, times_B, rows_B)
        numbers, classes = self._columns(result, first_row, len(chunk.records), rows)
        ends = self._ends(result, chunk, first_row, rows)
        starts, texts = self._starts, [event_id.encode() for event_id in ids]
        return [
            b"".join((starts[len(i)], i, n, c, s, e))
            for i, n, c, s, e in zip(texts, numbers, classes, sources, ends, strict=True)
        ]

    def encode_windows(
        self,
        result: BatchResult,
        partition: TopicPartition,
        first_row: int,
        windows: Sequence[EncodableWindow],
        rows: Sequence[int] | None,
    ) -> list[bytes]:
        """Return one record value per window; see `PredictionEncoder.encode_windows`."""
        chosen = windows if rows is None else [windows[row] for row in rows]
        if not chosen:
            return []
        offsets_B = np.array([window.first_offset for window in chosen], np.int64)
        starts_B = np.array([window.start for window in chosen], np.int64)
        sources = self._wire.sources(partition, offsets_B, starts_B)
        numbers, classes = self._columns(result, first_row, len(windows), rows)
        marks = self._marks(result, first_row, len(windows), rows) or [self._no_abstention] * len(chosen)
        texts = [window.id.encode() for window in chosen]
        return [
            b"".join((self._starts[len(i)], i, n, c, s, self._wire.window(w), self._no_slices, m))
            for i, n, c, s, w, m in zip(texts, numbers, classes, sources, chosen, marks, strict=True)
        ]

    def _columns(
        self, result: BatchResult, first_row: int, count: int, rows: Sequence[int] | None
    ) -> tuple[list[bytes], list[bytes]]:
        """Return what follows the id up to the confidence, and the class with its label, by row."""
        where = slice(first_row, first_row + count)
        values_BO, classes_B, confidences_B = result.values_BO[where], result.classes_B, result.confidences_B
        if rows is not None:
            values_BO = values_BO[rows]
        wire, (num_rows, num_scores) = self._wire, values_BO.shape
        head = wire.before_scores(self._model, self._version, num_scores)
        scores = (head, _float_bytes(values_BO), wire.scores_end)
        if confidences_B is None or classes_B is None:
            return row_bytes((*scores, wire.no_confidence), num_rows), [self._no_class] * num_rows
        part_B = confidences_B[where] if rows is None else confidences_B[where][rows]
        confidences = (wire.confidence_mark, _float_bytes(part_B[:, np.newaxis]))
        codes = (classes_B[where] if rows is None else classes_B[where][rows]).tolist()
        return row_bytes((*scores, *confidences), num_rows), [self._classes[code] for code in codes]

    def _ends(self, result: BatchResult, chunk: Chunk, first_row: int, rows: Sequence[int] | None) -> list[bytes]:
        """Return what follows the source, by row."""
        count = len(chunk.records)
        marks = self._marks(result, first_row, count, rows)
        if self._slices is None:
            before = self._no_window + self._no_slices
            if marks is None:
                return [before + self._no_abstention] * (count if rows is None else len(rows))
            return [before + mark for mark in marks]
        slices = self._slices.encode(chunk.x_BF if rows is None else chunk.x_BF[rows])
        if marks is None:
            return [text + self._no_abstention for text in slices]
        return [text + mark for text, mark in zip(slices, marks, strict=True)]

    def _encode_slices(self, values: Mapping[str, str]) -> bytes:
        return self._no_window + self._wire.slices(values)

    def _marks(self, result: BatchResult, first_row: int, count: int, rows: Sequence[int] | None) -> list[bytes] | None:
        """Return the decision and its reason by row; None if no row is an abstention."""
        if result.decisions_B is None:
            return None
        decisions_B = result.decisions_B[first_row : first_row + count]
        if rows is not None:
            decisions_B = decisions_B[rows]
        if not decisions_B.any():
            return None
        return [self._abstentions.get(code, self._no_abstention) for code in decisions_B.tolist()]


def _float_bytes(values_BN: FloatMatrix) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(values_BN, "<f4").view(np.uint8)

"""Encodes predictions and dead letters as record values and headers.

Predictions are encoded by columns, with one template: the score matrix is written as JSON once and split into rows. This is
several times faster than one JSON document per row, and gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple, Protocol

import orjson

from forebay.schemas import headers as names
from forebay.schemas.failures import FAILURES, FailureKind
from forebay.stream import native
from forebay.stream.core.decisions import ABSTENTIONS
from forebay.stream.core.outputs import Headers
from forebay.stream.core.record_columns import offsets_of
from forebay.stream.core.records import BatchResult, Chunk, Record, TopicPartition, Unreadable
from forebay.stream.core.rows import RowRecords, row_of, selected
from forebay.stream.output.slices import SliceColumn, SliceEncoder, json_slices
from forebay.stream.output.wire import EncodableWindow

NUMBER_BYTES: Final = 14
"""Size of a float32 in JSON, with its comma; few are longer."""
_OFFSET: Final = attrgetter("offset")
_NO_CLASS: Final = ',"class":null,"label":null,"source":'
DOCUMENT_BYTES: Final = 300
"""Size of a prediction without its outputs, for an id of usual length."""


def prediction_bytes(output_dim: int) -> int:
    """Estimate the size of one prediction with `output_dim` outputs, in bytes, without the id and key of its event."""
    return DOCUMENT_BYTES + NUMBER_BYTES * output_dim


def output_bytes(result: BatchResult) -> int:
    """Estimate the size of the outputs of a micro-batch in bytes: predictions, and dead letters with their events."""
    return result.batch.num_bytes + result.batch.num_rows * prediction_bytes(result.values_BO.shape[1])


class Encoder(Protocol):
    """Encodes the predictions of one model version as record values, in the format of the topic."""

    def encode(self, result: BatchResult, chunk: Chunk, first_row: int, rows: Sequence[int] | None) -> list[bytes]:
        """Return one record value per row of a chunk. See `PredictionEncoder.encode`."""

    def encode_windows(
        self,
        result: BatchResult,
        partition: TopicPartition,
        first_row: int,
        windows: Sequence[EncodableWindow],
        rows: Sequence[int] | None,
    ) -> list[bytes]:
        """Return one record value per window. See `PredictionEncoder.encode_windows`."""


class PredictionEncoder:
    """Encodes the predictions of one model version as JSON.

    labels, num_classes: as in its signature; num_classes is 0 for regression.
    slices: the features that predictions carry.
    """

    def __init__(
        self,
        *,
        model: str,
        version: int,
        labels: Sequence[str],
        num_classes: int,
        slices: Sequence[SliceColumn] = (),
    ) -> None:
        self._model = f'","model":{orjson.dumps(model).decode()},"version":{version},"prediction":['
        label_of_class = [*labels, *[None] * (num_classes - len(labels))]
        self._class_endings = [
            f',"class":{index},"label":{orjson.dumps(label).decode()},"source":'
            for index, label in enumerate(label_of_class)
        ]
        self._encoded_endings = [ending.encode() for ending in self._class_endings]
        self._slices = SliceEncoder(slices, json_slices) if slices else None

    def encode(self, result: BatchResult, chunk: Chunk, first_row: int, rows: Sequence[int] | None) -> list[bytes]:
        """Return one JSON document per row of a chunk.

        first_row: index of the chunk's first row in the micro-batch.
        rows: indices of the rows in the chunk; None for all.
        """
        ids, records, timestamps = chunk.ids, chunk.records, chunk.timestamps
        if rows is not None:
            ids, records, timestamps = selected(ids, rows), selected(records, rows), selected(timestamps, rows)
        if not len(ids):
            return []
        source = _source(chunk.partition)
        added = self._added(result, chunk, first_row, rows)
        numbers = _numbers(result, first_row, len(chunk.records), rows)
        if added is None and native.prediction_json is not None and not isinstance(records, RowRecords):
            after_confidence = [_NO_CLASS.encode()] if numbers.confidences is None else self._encoded_endings
            template = native.prediction_json.Template(self._model.encode(), after_confidence, source.encode())
            documents: list[bytes] | None = template.documents(
                list(ids), offsets_of(records).tolist(), list(timestamps), *numbers.with_classes(len(ids))
            )
            if documents is not None:
                return documents
        scores, confidences, endings = self._columns(numbers)
        model = self._model
        if isinstance(records, RowRecords):
            places, ends = _places_of_rows(records), added or [""] * len(ids)
            return [
                f'{{"id":"{i}{model}{s}],"confidence":{c}{e}{source}{p},"timestamp":{t}}}{a}}}'.encode()
                for i, s, c, e, p, t, a in zip(
                    _json_strings(ids), scores, confidences, endings, places, timestamps, ends, strict=True
                )
            ]
        offsets = offsets_of(records).tolist()
        if added is not None:
            return [
                f'{{"id":"{i}{model}{s}],"confidence":{c}{e}{source}{o},"timestamp":{t}}}{a}}}'.encode()
                for i, s, c, e, o, t, a in zip(
                    _json_strings(ids), scores, confidences, endings, offsets, timestamps, added, strict=True
                )
            ]
        return [
            f'{{"id":"{i}{model}{s}],"confidence":{c}{e}{source}{o},"timestamp":{t}}}}}'.encode()
            for i, s, c, e, o, t in zip(
                _json_strings(ids), scores, confidences, endings, offsets, timestamps, strict=True
            )
        ]

    def encode_windows(
        self,
        result: BatchResult,
        partition: TopicPartition,
        first_row: int,
        windows: Sequence[EncodableWindow],
        rows: Sequence[int] | None,
    ) -> list[bytes]:
        """Return one JSON document per window.

        first_row: index of the first window's row in the micro-batch.
        rows: indices in `windows`; None for all.
        """
        selected = windows if rows is None else [windows[row] for row in rows]
        if not selected:
            return []
        scores, confidences, endings = self._columns(_numbers(result, first_row, len(windows), rows))
        model, source = self._model, _source(partition)
        marks = _marks(result, first_row, len(windows), rows) or [""] * len(selected)
        return [
            f'{{"id":{_text(w.id)[:-1]}{model}{s}],"confidence":{c}{e}{source}{w.first_offset},"timestamp":{w.start}}}'
            f',"window":{{"key":{_text(w.key)},"start":{w.start},"end":{w.end},"events":{w.num_events},'
            f'"dropped":{w.dropped}}}{m}}}'.encode()
            for w, s, c, e, m in zip(selected, scores, confidences, endings, marks, strict=True)
        ]

    def _added(
        self, result: BatchResult, chunk: Chunk, first_row: int, rows: Sequence[int] | None
    ) -> Sequence[str] | None:
        """Return the JSON of the optional fields by row, each with the comma before it; None if no row has any."""
        marks = _marks(result, first_row, len(chunk.records), rows)
        if self._slices is None:
            return marks
        slices = self._slices.encode(chunk.x_BF if rows is None else chunk.x_BF[rows])
        return slices if marks is None else [mark + text for mark, text in zip(marks, slices, strict=True)]

    def _columns(self, numbers: _Numbers) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
        """Return the scores, the confidences and the JSON that follows them, by row."""
        scores = numbers.scores.decode()[2:-2].split("],[")
        if numbers.confidences is None:
            return scores, ["null"] * len(scores), [_NO_CLASS] * len(scores)
        confidences = numbers.confidences.decode()[1:-1].split(",")
        return scores, confidences, [self._class_endings[index] for index in numbers.classes]


class _Numbers(NamedTuple):
    """The outputs of some rows: scores and confidences as JSON, and indices of classes. None and empty if there are none."""

    scores: bytes
    confidences: bytes | None
    classes: list[int]

    def with_classes(self, num_rows: int) -> tuple[list[int], bytes, bytes | None]:
        """Return the classes, scores and confidences; the first class for all rows if there are none."""
        return self.classes if self.confidences is not None else [0] * num_rows, self.scores, self.confidences


def _numbers(result: BatchResult, first_row: int, count: int, rows: Sequence[int] | None) -> _Numbers:
    where = slice(first_row, first_row + count)
    values_BO, classes_B, confidences_B = result.values_BO[where], result.classes_B, result.confidences_B
    if rows is not None:
        values_BO = values_BO[rows]
    scores = orjson.dumps(_contiguous(values_BO), option=orjson.OPT_SERIALIZE_NUMPY)
    if confidences_B is None or classes_B is None:
        return _Numbers(scores, None, [])
    part = confidences_B[where] if rows is None else confidences_B[where][rows]
    confidences = orjson.dumps(_contiguous(part), option=orjson.OPT_SERIALIZE_NUMPY)
    return _Numbers(scores, confidences, (classes_B[where] if rows is None else classes_B[where][rows]).tolist())


_MARKS: Final = {
    code: f',"decision":"abstain","reason":{orjson.dumps(reason).decode()}' for code, reason in ABSTENTIONS.items()
}


def _marks(result: BatchResult, first_row: int, count: int, rows: Sequence[int] | None) -> list[str] | None:
    """Return the JSON that marks abstentions, by row; None if there are none."""
    if result.decisions_B is None:
        return None
    decisions_B = result.decisions_B[first_row : first_row + count]
    if rows is not None:
        decisions_B = decisions_B[rows]
    return [_MARKS.get(code, "") for code in decisions_B.tolist()] if decisions_B.any() else None


def _contiguous(array):  # type: ignore[no-untyped-def]
    return array if array.flags.c_contiguous else array.copy()


def _source(partition: TopicPartition) -> str:
    return f'{{"topic":{orjson.dumps(partition.topic).decode()},"partition":{partition.partition},"offset":'


def _places_of_rows(records: RowRecords) -> list[int | str]:
    """Return what follows `"offset":` in the source of each event: its offset, and its row if it has one."""
    starts = records.of_sources(_OFFSET)
    rows = records.row_B.tolist()
    return [start if row < 0 else f'{start},"row":{row}' for start, row in zip(starts, rows, strict=True)]


def _text(text: str) -> str:
    return orjson.dumps(text).decode()


def _json_strings(ids: Sequence[str]) -> Sequence[str]:
    """Return each id as the content of a JSON string, which is almost always the id itself."""
    ids = ids if type(ids) is list else list(ids)
    if b"\\" in orjson.dumps(ids):
        return [orjson.dumps(event_id).decode()[1:-1] for event_id in ids]
    return ids


def prediction_headers(headers: Sequence[tuple[str, bytes]]) -> Headers:
    """Return the headers of an event that its prediction carries: all but those that describe the format of the event."""
    return [
        (name, value)
        for name, value in headers
        if name.lower() != names.CONTENT_TYPE and not name.lower().startswith("forebay-")
    ]


def dead_letter(
    record: Record,
    partition: TopicPartition,
    kind: FailureKind,
    message: str,
    *,
    max_bytes: int,
    model: str | None = None,
    version: int | None = None,
    window: str | None = None,
) -> tuple[bytes | None, bytes | None, Headers]:
    """Return key, value and headers of a dead letter: those of the record, and headers with the reason.

    max_bytes: limit of the record's size. First the value is cut; if the headers alone are too large, those of the event are
    dropped, then the key. `forebay.error.truncated` then contains the size and digest of the value.
    window: start and end of the failed window, if it is one.
    """
    added: Headers = [
        (names.ERROR_STAGE, FAILURES[kind].stage.value.encode()),
        (names.ERROR_KIND, kind.value.encode()),
        (names.ERROR_MESSAGE, message.encode("utf-8", "replace")),
        (names.ERROR_TOPIC, partition.topic.encode()),
        (names.ERROR_PARTITION, b"%d" % partition.partition),
        (names.ERROR_OFFSET, b"%d" % (record.first_offset if isinstance(record, Unreadable) else record.offset)),
        (names.ERROR_TIMESTAMP, b"%d" % record.timestamp),
    ]
    if (row := row_of(record)) is not None:
        added.append((names.ERROR_ROW, b"%d" % row))
    if isinstance(record, Unreadable) and record.offset > record.first_offset:
        added.append((names.ERROR_LAST_OFFSET, b"%d" % record.offset))
        added.append((names.ERROR_COUNT, b"%d" % record.count))
    if model is not None:
        added.append((names.ERROR_MODEL, model.encode()))
        added.append((names.ERROR_VERSION, b"%d" % (version or 0)))
    if window is not None:
        added.append((names.ERROR_WINDOW, window.encode()))
    key, value = record.key, record.value
    # A replayed dead letter has the headers of its earlier failure, which do not belong to this one. A token would let readers
    # of dead letters act as its principal.
    original = [
        (name, value)
        for name, value in record.headers
        if not name.lower().startswith(names.ERROR_PREFIX) and name.lower() != names.PRINCIPAL
    ]
    if record_size(key, value, original + added) <= max_bytes:
        return key, value, original + added
    digest = hashlib.sha256(value or b"").hexdigest()
    added.append((names.ERROR_TRUNCATED, f"{len(value or b'')} sha256:{digest}".encode()))
    if record_size(key, None, original + added) > max_bytes:
        original = []
    if record_size(key, None, added) > max_bytes:
        key = None
    left = max(0, max_bytes - record_size(key, None, original + added))
    return key, None if value is None else value[:left], original + added


def record_size(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> int:
    """Return an upper bound of the size of a record in its own batch, in bytes, with batch header and varints."""
    size = 61 + 36 + len(key or b"") + len(value or b"")
    return size + sum(len(name.encode()) + len(value or b"") + 10 for name, value in headers)

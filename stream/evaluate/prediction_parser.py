"""Parses records of `predictions` into columns, one set for each version. Never raises for what a record contains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Record, Unreadable
from forebay.stream.evaluate.columns import Blocks, PredictionColumns, Scores
from forebay.stream.evaluate.join_hash import hashes_of, key_and_time_bytes, position_bytes
from forebay.stream.evaluate.prediction_documents import NotAPrediction, PredictionDocuments
from forebay.stream.evaluate.refusals import Reason, Refusal
from forebay.stream.evaluate.slice_values import SliceValues
from forebay.stream.quality.keys import Task

MAX_TIME_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999; event times are from minus this to this."""
MAX_CLASS_NAMES: Final = 1 << 16
# Errors of values that are not as a prediction has them.
_MALFORMED: Final = (LookupError, TypeError, ValueError, AttributeError, OverflowError)


class ParsedPredictions(NamedTuple):
    """Predictions of one partition in one poll. columns: one set for each version, each in offset order."""

    columns: list[PredictionColumns]
    refused: list[Refusal]


class _Group(NamedTuple):
    """Predictions with the same columns. has_class: False for regression."""

    model: str
    version: int
    num_scores: int
    has_class: bool


class _Rows:
    """The rows of a group, as lists."""

    __slots__ = ("class_names", "classes", "names", "offsets", "records", "routing_keys", "scores", "slices", "times")

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.offsets: list[int] = []
        self.times: list[int] = []
        self.scores: list[list[float]] = []
        self.classes: list[int] = []
        self.routing_keys: list[bytes] = []
        self.slices: list[tuple[str, ...]] = []
        self.class_names: dict[str, int] = {}
        self.records: list[Record] = []


class PredictionParser:
    """Parses predictions.

    join_by: see evaluate.join_by.
    slices: the slices to read from the field `slices`; None if none are configured.
    max_future_ms: a prediction whose event time is further than this ahead of its record's is refused.
    blocks: returns the block of each routing key.
    documents: reads values in other formats than JSON; None if there are none.
    """

    def __init__(
        self,
        join_by: str,
        *,
        slices: SliceValues | None,
        max_future_ms: int,
        blocks: Callable[[Sequence[bytes]], Blocks],
        documents: PredictionDocuments | None = None,
    ) -> None:
        self._documents = documents
        self._join_by = join_by
        self._slices = slices
        self._max_future_ms = max_future_ms
        self._blocks = blocks

    def parse(self, records: Sequence[Record]) -> ParsedPredictions:
        """Parse the records of one partition, in offset order."""
        groups: dict[_Group, _Rows] = {}
        refused: list[Refusal] = []
        for record in records:
            refusal = self._add(record, groups)
            if refusal is not None:
                refused.append(refusal)
        columns = []
        for group, rows in groups.items():
            if (parsed := self._columns(group, rows, refused)) is not None:
                columns.append(parsed)
        return ParsedPredictions(columns, refused)

    def _add(self, record: Record, groups: dict[_Group, _Rows]) -> Refusal | None:
        """Add a record to the rows of its version, or return why it is refused."""
        if isinstance(record, Unreadable):
            return Refusal(record.offset, record.timestamp, Reason.UNREADABLE, record.description, count=record.count)
        if record.value is None:
            return _refusal(record, Reason.TOMBSTONE, "the record has no value")
        try:
            value: Any = orjson.loads(record.value) if self._documents is None else self._documents.read(record)
        except NotAPrediction as error:
            return _refusal(record, Reason.NOT_JSON, str(error))
        except ValueError:
            return _refusal(record, Reason.NOT_JSON, "the value is not JSON")
        try:
            source, scores, index, event_id = value["source"], value["prediction"], value["class"], value["id"]
            time_ms, model, version = source["timestamp"], value["model"], value["version"]
            if not (type(model) is str and type(version) is int and type(event_id) is str and type(scores) is list):
                return _refusal(record, Reason.MALFORMED, "a field of the prediction has another type")
            if not scores or not 0 < version < 1 << 31:
                return _refusal(record, Reason.MALFORMED, "the prediction has no scores, or no version")
            if type(time_ms) is not int or not -MAX_TIME_MS <= time_ms <= MAX_TIME_MS:
                return _refusal(
                    record, Reason.TIMESTAMP, "source.timestamp is not in milliseconds since the Unix epoch"
                )
            if time_ms > record.timestamp + self._max_future_ms:
                return _refusal(record, Reason.FUTURE, "the event's timestamp is after that of the record")
            if index is not None and (type(index) is not int or not 0 <= index < max(2, len(scores))):
                return _refusal(record, Reason.MALFORMED, "class is not the index of a class")
            name = event_id.encode()
            if self._join_by == "position":
                name = position_bytes(source["topic"], source["partition"], source["offset"], source.get("row"))
            elif self._join_by == "key_and_time":
                if record.key is None:
                    return _refusal(record, Reason.NO_KEY, "the record has no key")
                name = key_and_time_bytes(record.key, time_ms)
            group = _Group(model, version, len(scores), index is not None)
        except _MALFORMED as error:
            return _refusal(record, Reason.MALFORMED, f"not a prediction: {type(error).__name__} {error}")
        rows = groups.get(group)
        if rows is None:
            rows = groups[group] = _Rows()
        rows.names.append(name)
        rows.offsets.append(record.offset)
        rows.times.append(time_ms)
        rows.scores.append(scores)
        rows.classes.append(-1 if index is None else index)
        label = value.get("label")
        if type(label) is str and index is not None and len(rows.class_names) < MAX_CLASS_NAMES:
            rows.class_names[label] = index
        rows.routing_keys.append(event_id.encode() if record.key is None else record.key)
        rows.records.append(record)
        if self._slices is not None:
            rows.slices.append(self._slices.texts(value.get("slices")))
        return None

    def _columns(self, group: _Group, rows: _Rows, refused: list[Refusal]) -> PredictionColumns | None:
        scores_BO = _score_matrix(rows.scores)
        if scores_BO is None:
            good = [index for index, scores in enumerate(rows.scores) if _score_matrix([scores]) is not None]
            kept = set(good)
            refused += [
                _refusal(record, Reason.MALFORMED, "prediction has a value that is not a number")
                for index, record in enumerate(rows.records)
                if index not in kept
            ]
            if not good:
                return None
            for name in ("names", "offsets", "times", "scores", "classes", "routing_keys"):
                setattr(rows, name, [getattr(rows, name)[index] for index in good])
            rows.slices = [rows.slices[index] for index in good] if rows.slices else []
            scores_BO = _score_matrix(rows.scores)
            assert scores_BO is not None
        # A model of two classes may give the score of each; the join takes that of class 1.
        task = Task.REGRESSION if not group.has_class else Task.BINARY if group.num_scores <= 2 else Task.CLASSES
        return PredictionColumns(
            ref=ModelRef(group.model, group.version),
            task=task,
            hashes_B=hashes_of(rows.names, len(rows.names)),
            offsets_B=np.array(rows.offsets, np.int64),
            times_B=np.array(rows.times, np.int64),
            scores_BO=scores_BO,
            classes_B=np.array(rows.classes, np.int32),
            blocks_B=self._blocks(rows.routing_keys),
            slices=rows.slices if self._slices is not None else None,
            class_names=rows.class_names,
        )


def _score_matrix(scores: Sequence[Sequence[object]]) -> Scores | None:
    """Return the scores as a matrix; None if a value is not a number."""
    try:
        matrix = np.array(scores)
    except (TypeError, ValueError):  # ValueError: lists of different lengths in a row
        return None
    if matrix.dtype.kind not in "fiu" or matrix.ndim != 2:
        return None
    with np.errstate(over="ignore"):  # a value beyond float32 is infinite, and counted as invalid
        return matrix.astype(np.float32)


def _refusal(record: Record, reason: Reason, detail: str) -> Refusal:
    return Refusal(record.offset, record.timestamp, reason, detail[:200])

"""Parses records of `shadow-predictions` into columns. Never raises for what a record contains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from forebay.schemas.errors import DataError
from forebay.stream.core.records import Record, Unreadable
from forebay.stream.evaluate.columns import Blocks, Scores, ShadowColumns, ShadowRef
from forebay.stream.evaluate.join_hash import hashes_of, key_and_time_bytes, position_bytes
from forebay.stream.evaluate.prediction_parser import MAX_TIME_MS
from forebay.stream.evaluate.refusals import Reason, Refusal
from forebay.stream.quality.keys import Task
from forebay.stream.rollouts.shadow_prediction import PredictedSide, ShadowPair, decode_pair


class ParsedShadows(NamedTuple):
    """Shadow pairs of one partition in one poll, each in offset order. Pairs with a side that failed are left out."""

    columns: list[ShadowColumns]
    refused: list[Refusal]


class _Row(NamedTuple):
    offset: int
    name: bytes
    routing_key: bytes
    pair: ShadowPair


class ShadowParser:
    """Parses shadow pairs. The arguments are those of `PredictionParser`."""

    def __init__(self, join_by: str, *, max_future_ms: int, blocks: Callable[[Sequence[bytes]], Blocks]) -> None:
        self._join_by = join_by
        self._max_future_ms = max_future_ms
        self._blocks = blocks

    def parse(self, records: Sequence[Record]) -> ParsedShadows:
        """Parse the records of one partition, in offset order."""
        groups: dict[tuple[ShadowRef, Task, int], list[_Row]] = {}
        refused: list[Refusal] = []
        for record in records:
            row = self._row(record)
            if isinstance(row, Refusal):
                refused.append(row)
                continue
            served, shadow = row.pair.primary, row.pair.shadow
            kind, other = _kind(served), _kind(shadow)
            if kind is not None and kind == other:
                ref = ShadowRef(row.pair.model, served.version, shadow.version)
                groups.setdefault((ref, *kind), []).append(row)
        return ParsedShadows([self._columns(ref, task, rows) for (ref, task, _), rows in groups.items()], refused)

    def _row(self, record: Record) -> _Row | Refusal:
        def refusal(reason: Reason, detail: str) -> Refusal:
            return Refusal(record.offset, record.timestamp, reason, detail[:200])

        if isinstance(record, Unreadable):
            return Refusal(record.offset, record.timestamp, Reason.UNREADABLE, record.description, count=record.count)
        if record.value is None:
            return refusal(Reason.TOMBSTONE, "the record has no value")
        try:
            pair = decode_pair(record.value)
        except DataError as error:
            return refusal(Reason.MALFORMED, error.message)
        time_ms = pair.source.timestamp
        if not -MAX_TIME_MS <= time_ms <= MAX_TIME_MS:
            return refusal(Reason.TIMESTAMP, "source.timestamp is not in milliseconds since the Unix epoch")
        if time_ms > record.timestamp + self._max_future_ms:
            return refusal(Reason.FUTURE, "the event's timestamp is after that of the record")
        if any(not 0 < side.version < 1 << 31 for side in (pair.primary, pair.shadow)):
            return refusal(Reason.MALFORMED, "a version is not a positive number")
        event_id = pair.id.encode("utf-8", "surrogatepass")
        name = event_id
        if self._join_by == "position":
            source = pair.source
            name = position_bytes(source.topic, source.partition, source.offset, source.row)
        elif self._join_by == "key_and_time":
            if record.key is None:
                return refusal(Reason.NO_KEY, "the record has no key")
            name = key_and_time_bytes(record.key, time_ms)
        return _Row(record.offset, name, event_id if record.key is None else record.key, pair)

    def _columns(self, ref: ShadowRef, task: Task, rows: Sequence[_Row]) -> ShadowColumns:
        served, shadow = [row.pair.primary for row in rows], [row.pair.shadow for row in rows]
        return ShadowColumns(
            ref=ref,
            task=task,
            hashes_B=hashes_of([row.name for row in rows], len(rows)),
            offsets_B=np.array([row.offset for row in rows], np.int64),
            times_B=np.array([row.pair.source.timestamp for row in rows], np.int64),
            blocks_B=self._blocks([row.routing_key for row in rows]),
            served_scores_BO=_scores(served),
            served_classes_B=_classes(served),
            shadow_scores_BO=_scores(shadow),
            shadow_classes_B=_classes(shadow),
        )


def _kind(side: PredictedSide) -> tuple[Task, int] | None:
    """Return the task and the number of scores; None if the side has no usable prediction."""
    if not side.prediction:
        return None
    count = len(side.prediction)
    if side.class_index is None:
        return Task.REGRESSION, count
    if not 0 <= side.class_index < max(2, count):
        return None
    return (Task.BINARY if count <= 2 else Task.CLASSES), count


def _scores(sides: Sequence[PredictedSide]) -> Scores:
    with np.errstate(over="ignore"):
        return np.array([side.prediction for side in sides], np.float64).astype(np.float32)


def _classes(sides: Sequence[PredictedSide]) -> Any:
    return np.array([-1 if side.class_index is None else side.class_index for side in sides], np.int32)

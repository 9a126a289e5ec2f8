"""A bucket: the counts of one minute and model version, and the offset up to which deltas are counted in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from forebay.schemas.aggregates import AGGREGATE_FORMAT, CHANGELOG_FORMAT, LATE, MAX_SAMPLES
from forebay.stream.aggregate.delta import CellKey, Delta, Exemplar


class BucketKey(NamedTuple):
    """The key of a bucket. window_start: ms since the Unix epoch, named as in the topics."""

    window_start: int
    version: int
    model: str


@dataclass(slots=True)
class Cell:
    """Sums of the deltas of one outcome, stage and kind. Times in ms since the Unix epoch."""

    count: int
    first_seen: int
    last_seen: int
    sample_ids: list[str]
    exemplar: Exemplar | None

    def add(self, delta: Delta) -> None:
        self.count += delta.count
        self.first_seen = min(self.first_seen, delta.first_seen)
        self.last_seen = max(self.last_seen, delta.last_seen)
        for sample in delta.sample_ids:
            if len(self.sample_ids) < MAX_SAMPLES and sample not in self.sample_ids:
                self.sample_ids.append(sample)
        # An exemplar with a stack trace replaces one without.
        if self.exemplar is None or (
            self.exemplar.stack is None and delta.exemplar is not None and delta.exemplar.stack is not None
        ):
            self.exemplar = delta.exemplar


@dataclass(slots=True)
class Bucket:
    """The counts of one minute and model version.

    window_end: end of the minute, ms since the Unix epoch, named as in the topics.
    applied: offset of the last delta that is counted in it.
    merged: number of deltas that are counted in it.

    Its contents depend only on the deltas up to `applied`, in order, and are the same in every process that has counted them.
    """

    window_end: int
    applied: int = -1
    merged: int = 0
    cells: dict[CellKey, Cell] = field(default_factory=dict)

    def add(self, offset: int, cell_key: CellKey, delta: Delta) -> bool:
        """Count a delta. Return False if it was counted before."""
        if offset <= self.applied:
            return False
        self.applied, self.merged = offset, self.merged + 1
        cell = self.cells.get(cell_key)
        if cell is None:
            samples = list(dict.fromkeys(delta.sample_ids))
            self.cells[cell_key] = Cell(
                count=delta.count,
                first_seen=delta.first_seen,
                last_seen=delta.last_seen,
                sample_ids=samples,
                exemplar=delta.exemplar,
            )
        else:
            cell.add(delta)
        return True

    @property
    def events(self) -> int:
        """The number of events of this bucket, whatever their outcome; late deltas are not counted."""
        return sum(cell.count for key, cell in self.cells.items() if key.outcome != LATE and not key.of_window)

    @property
    def event_windows(self) -> int:
        """The number of windows over event time that are counted in it."""
        return sum(cell.count for key, cell in self.cells.items() if key.of_window)

    def revision(self, *, final: bool) -> int:
        """Return the revision: it grows with each delta, is the same in every process, and is higher if final."""
        return 2 * self.merged + final


def encode_bucket(bucket: Bucket) -> bytes:
    """Encode a bucket as a changelog value."""
    cells = [_encode_cell(key, cell) for key, cell in bucket.cells.items()]
    return orjson.dumps(
        {
            "format": CHANGELOG_FORMAT,
            "window_end": bucket.window_end,
            "applied": bucket.applied,
            "merged": bucket.merged,
            "cells": cells,
        }
    )


def decode_bucket(value: bytes) -> Bucket:
    """Decode a changelog value. Raises ValueError, LookupError or TypeError if it is not a bucket."""
    document = orjson.loads(value)
    if document["format"] != CHANGELOG_FORMAT:
        raise ValueError(f"changelog format {document['format']}")
    cells = {CellKey(cell["outcome"], cell["stage"], cell["kind"]): _decode_cell(cell) for cell in document["cells"]}
    return Bucket(document["window_end"], document["applied"], document["merged"], cells)


def aggregates(partition: int, key: BucketKey, bucket: Bucket, *, final: bool) -> Iterator[tuple[bytes, bytes]]:
    """Yield the bucket's records for error-aggregates: the key and value of each."""
    revision = bucket.revision(final=final)
    for cell_key, cell in bucket.cells.items():
        events = bucket.event_windows if cell_key.of_window else bucket.events
        record_key = "|".join(
            map(
                str,
                (partition, key.window_start, cell_key.outcome, cell_key.stage, cell_key.kind, key.model, key.version),
            )
        )
        value = {
            "format": AGGREGATE_FORMAT,
            "partition": partition,
            "window_start": key.window_start,
            "window_end": bucket.window_end,
            "model": key.model,
            "version": key.version,
            **_encode_cell(cell_key, cell),
            "events": events,
            "rate": cell.count / events if events and cell_key.outcome != LATE else None,
            "revision": revision,
            "final": final,
        }
        yield record_key.encode(), orjson.dumps(value)


def _encode_cell(key: CellKey, cell: Cell) -> dict[str, Any]:
    exemplar = cell.exemplar
    return {
        "outcome": key.outcome,
        "stage": key.stage,
        "kind": key.kind,
        "count": cell.count,
        "first_seen": cell.first_seen,
        "last_seen": cell.last_seen,
        "sample_ids": cell.sample_ids,
        "exemplar": None
        if exemplar is None
        else {"message": exemplar.message, "stack_hash": exemplar.stack_hash, "stack": exemplar.stack},
    }


def _decode_cell(document: dict[str, Any]) -> Cell:
    exemplar = document["exemplar"]
    return Cell(
        count=document["count"],
        first_seen=document["first_seen"],
        last_seen=document["last_seen"],
        sample_ids=list(document["sample_ids"]),
        exemplar=None if exemplar is None else Exemplar(exemplar["message"], exemplar["stack_hash"], exemplar["stack"]),
    )

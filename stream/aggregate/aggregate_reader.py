"""Reading error-aggregates: records are upserts, and the highest revision of a key is valid."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from forebay.schemas.aggregates import AGGREGATE_FORMAT, LATE
from forebay.stream.aggregate.delta import CellKey


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One record of error-aggregates. Times in ms since the Unix epoch."""

    window_start: int
    window_end: int
    cell: CellKey
    model: str
    version: int
    count: int
    first_seen: int
    last_seen: int
    sample_ids: tuple[str, ...]
    exemplar: dict[str, Any] | None
    revision: int
    final: bool


@dataclass(frozen=True, slots=True)
class Measurement:
    """Failures in a span of time, and the total that they are part of: events or, if of_window, windows over event time."""

    count: int
    events: int
    of_window: bool = False

    @property
    def rate(self) -> float:
        return self.count / self.events if self.events else 0.0

    @property
    def unit(self) -> str:
        return "windows" if self.of_window else "events"


def parse_aggregate(value: bytes | None) -> Aggregate | None:
    """Parse a record's value; None if it is not an aggregate of the known format. Never raises."""
    try:
        document = orjson.loads(value or b"")
        if document["format"] != AGGREGATE_FORMAT:
            return None
        return Aggregate(
            window_start=document["window_start"],
            window_end=document["window_end"],
            cell=CellKey(document["outcome"], document["stage"], document["kind"]),
            model=document["model"],
            version=document["version"],
            count=document["count"],
            first_seen=document["first_seen"],
            last_seen=document["last_seen"],
            sample_ids=tuple(document["sample_ids"]),
            exemplar=document["exemplar"],
            revision=document["revision"],
            final=document["final"],
        )
    except (LookupError, TypeError, ValueError):
        return None


class AggregateView:
    """The valid aggregates, by bucket and record key."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[bytes, Aggregate]] = {}

    def upsert(self, key: bytes | None, value: bytes | None) -> bool:
        """Add one record unless a higher revision of its key is known. Return whether it is an aggregate."""
        aggregate = parse_aggregate(value)
        if aggregate is None or key is None:
            return False
        bucket = self._buckets.setdefault(aggregate.window_start, {})
        known = bucket.get(key)
        if known is None or aggregate.revision >= known.revision:
            bucket[key] = aggregate
        return True

    def forget(self, before_ms: int) -> None:
        """Drop the buckets that begin before `before_ms`."""
        for start in [start for start in self._buckets if start < before_ms]:
            del self._buckets[start]

    def __iter__(self) -> Iterator[Aggregate]:
        for _, bucket in sorted(self._buckets.items()):
            yield from bucket.values()

    @property
    def oldest(self) -> int | None:
        """The start of the oldest bucket."""
        return min(self._buckets, default=None)

    def models(self) -> set[str]:
        """Return the names of all models that have aggregates."""
        return {aggregate.model for bucket in self._buckets.values() for aggregate in bucket.values()}

    def measure(
        self, from_ms: int, to_ms: int, kinds: Collection[str], model: str | None
    ) -> tuple[Measurement, Measurement]:
        """Measure events, and windows over event time: two ledgers, which are never summed.

        Covers the buckets that begin from `from_ms` to before `to_ms`, without late deltas, which belong to other buckets.
        """
        counts, totals = [0, 0], [0, 0]  # of events, of windows over event time
        for start in range(from_ms, to_ms, 60_000):
            for aggregate in self._buckets.get(start, {}).values():
                cell = aggregate.cell
                if cell.outcome == LATE or (model is not None and aggregate.model != model):
                    continue
                totals[cell.of_window] += aggregate.count
                if cell.failed and cell.kind in kinds:
                    counts[cell.of_window] += aggregate.count
        return Measurement(counts[0], totals[0]), Measurement(counts[1], totals[1], of_window=True)

"""error-aggregates as its readers see it: upserts, of which the highest revision of a key holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from forebay.schemas.aggregates import AGGREGATE_FORMAT, LATE
from forebay.stream.aggregate.delta import CellKey


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One record. Times in ms since the Unix epoch."""

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
    """Failures of some span of time, and all that they are among: events, or (of_window) windows over event time."""

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
    """None where it is no aggregate of the format that is understood."""
    try:
        said = orjson.loads(value or b"")
        if said["format"] != AGGREGATE_FORMAT:
            return None
        return Aggregate(
            window_start=said["window_start"],
            window_end=said["window_end"],
            cell=CellKey(said["outcome"], said["stage"], said["kind"]),
            model=said["model"],
            version=said["version"],
            count=said["count"],
            first_seen=said["first_seen"],
            last_seen=said["last_seen"],
            sample_ids=tuple(said["sample_ids"]),
            exemplar=said["exemplar"],
            revision=said["revision"],
            final=said["final"],
        )
    except (LookupError, TypeError, ValueError):
        return None


class AggregateView:
    """The aggregates that hold, of windows that are not forgotten."""

    def __init__(self) -> None:
        self._held: dict[int, dict[bytes, Aggregate]] = {}

    def upsert(self, key: bytes | None, value: bytes | None) -> bool:
        """Take one record. Whether it is an aggregate."""
        found = parse_aggregate(value)
        if found is None or key is None:
            return False
        window = self._held.setdefault(found.window_start, {})
        there = window.get(key)
        if there is None or found.revision >= there.revision:
            window[key] = found
        return True

    def forget(self, before_ms: int) -> None:
        """Drop the windows that begin before."""
        for start in [start for start in self._held if start < before_ms]:
            del self._held[start]

    def __iter__(self) -> Iterator[Aggregate]:
        for _, window in sorted(self._held.items()):
            yield from window.values()

    @property
    def oldest(self) -> int | None:
        """Where the oldest window begins."""
        return min(self._held, default=None)

    def models(self) -> set[str]:
        """The models of which there is something."""
        return {found.model for window in self._held.values() for found in window.values()}

    def measure(
        self, from_ms: int, to_ms: int, kinds: Collection[str], model: str | None
    ) -> tuple[Measurement, Measurement]:
        """Measure events, and windows over event time: two ledgers, never summed.

        Counts what begins from `from_ms` to before `to_ms`, without late deltas, which are of another time.
        """
        counts, totals = [0, 0], [0, 0]  # of events, of windows over event time: each is a share of its own
        for start in range(from_ms, to_ms, 60_000):
            for found in self._held.get(start, {}).values():
                if found.cell.outcome == LATE or (model is not None and found.model != model):
                    continue
                totals[found.cell.of_window] += found.count
                if found.cell.failed and found.cell.kind in kinds:
                    counts[found.cell.of_window] += found.count
        return Measurement(counts[0], totals[0]), Measurement(counts[1], totals[1], of_window=True)

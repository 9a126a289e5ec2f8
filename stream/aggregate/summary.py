"""A summary of the failures in a span of time, added up over its buckets. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from forebay.schemas.aggregates import LATE, MAX_SAMPLES
from forebay.schemas.failures import FAILURES, FailureKind
from forebay.stream.aggregate.aggregate_reader import Aggregate

_FAILURES: Final[frozenset[str]] = frozenset(FailureKind)


class RowKey(NamedTuple):
    """The key of a row: failures that differ in one of these are counted separately."""

    kind: str
    stage: str
    model: str
    version: int


@dataclass(slots=True)
class Row:
    """Failures of one kind. Times in ms since the Unix epoch.

    of_window: True if it counts windows over event time, False if events.
    late: number of failures that were counted late.
    """

    of_window: bool = False
    count: int = 0
    late: int = 0
    first_seen: int = 2**63 - 1
    last_seen: int = 0
    sample_ids: list[str] = field(default_factory=list)
    exemplar: dict[str, Any] | None = None


@dataclass(slots=True)
class Summary:
    """Two ledgers: events, and windows over event time.

    since: start of the span, ms since the Unix epoch.
    events, windows: totals by model and version, including those without a failure.
    """

    since: int
    rows: dict[RowKey, Row] = field(default_factory=dict)
    events: dict[tuple[str, int], int] = field(default_factory=dict)
    windows: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def num_events(self) -> int:
        """The number of events, whatever their outcome."""
        return sum(self.events.values())

    @property
    def num_failures(self) -> int:
        """The number of events that were rejected or failed."""
        return sum(row.count for row in self.rows.values() if not row.of_window)

    @property
    def num_windows(self) -> int:
        return sum(self.windows.values())

    @property
    def num_failed_windows(self) -> int:
        return sum(row.count for row in self.rows.values() if row.of_window)

    def ranked(self) -> list[tuple[RowKey, Row]]:
        """Return the rows, most frequent first."""
        return sorted(self.rows.items(), key=lambda entry: (-entry[1].count, entry[0]))

    def rate(self, key: RowKey) -> float:
        """Return a row's share of all events, or windows, of its model version."""
        row = self.rows[key]
        total = (self.windows if row.of_window else self.events).get((key.model, key.version), 0)
        return row.count / total if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "since": self.since,
            "events": self.num_events,
            "failures": self.num_failures,
            "windows": self.num_windows,
            "failed_windows": self.num_failed_windows,
            "errors": [
                {
                    "kind": key.kind,
                    "stage": key.stage,
                    "model": key.model,
                    "version": key.version,
                    "of": "windows" if row.of_window else "events",
                    "count": row.count,
                    "late": row.late,
                    "rate": round(self.rate(key), 6),
                    "first_seen": row.first_seen,
                    "last_seen": row.last_seen,
                    "sample_ids": row.sample_ids,
                    "exemplar": row.exemplar,
                    "remedy": remedy_of(key.kind),
                }
                for key, row in self.ranked()
            ],
        }


def summarise(
    aggregates: Iterable[Aggregate], *, since_ms: int, kinds: frozenset[str] = frozenset(), model: str | None = None
) -> Summary:
    """Add up the buckets that end after `since_ms`.

    kinds: failure kinds to include; empty for all.
    model: model to include; None for all.
    """
    summary = Summary(since_ms)
    for aggregate in aggregates:
        if aggregate.window_end <= since_ms or (model is not None and aggregate.model != model):
            continue
        cell = aggregate.cell
        version = (aggregate.model, aggregate.version)
        totals = summary.windows if cell.of_window else summary.events
        totals[version] = totals.get(version, 0) + aggregate.count
        late = cell.outcome == LATE
        if not (cell.failed or (late and cell.kind in _FAILURES)) or (kinds and cell.kind not in kinds):
            continue
        row = summary.rows.setdefault(RowKey(cell.kind, cell.stage, *version), Row(cell.of_window))
        row.count += aggregate.count
        row.late += aggregate.count if late else 0
        row.first_seen = min(row.first_seen, aggregate.first_seen)
        row.last_seen = max(row.last_seen, aggregate.last_seen)
        row.sample_ids += [sample for sample in aggregate.sample_ids if sample not in row.sample_ids]
        del row.sample_ids[MAX_SAMPLES:]
        if aggregate.exemplar is not None and (row.exemplar is None or row.exemplar["stack"] is None):
            row.exemplar = aggregate.exemplar
    return summary


def remedy_of(kind: str) -> str | None:
    """Return the remedy for a failure kind; None for a kind of a later version."""
    return FAILURES[FailureKind(kind)].remedy if kind in _FAILURES else None

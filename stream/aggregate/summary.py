"""What went wrong over a span of time, added up over its windows. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from forebay.schemas.aggregates import LATE, MAX_SAMPLES
from forebay.schemas.failures import FAILURES, FailureKind
from forebay.stream.aggregate.aggregate_reader import Aggregate

_FAILURES: Final[frozenset[str]] = frozenset(FailureKind)


class RowKey(NamedTuple):
    """What is told apart."""

    kind: str
    stage: str
    model: str
    version: int


@dataclass(slots=True)
class Row:
    """Failures of one kind. late: how many of them were counted late; of_window: of windows over event time, not of events.
    Times in ms since the Unix epoch."""

    of_window: bool = False
    count: int = 0
    late: int = 0
    first_seen: int = 2**63 - 1
    last_seen: int = 0
    sample_ids: list[str] = field(default_factory=list)
    exemplar: dict[str, Any] | None = None


@dataclass(slots=True)
class Summary:
    """Two ledgers: events, and windows over event time. events, windows: by model and version, good ones too."""

    since: int
    rows: dict[RowKey, Row] = field(default_factory=dict)
    events: dict[tuple[str, int], int] = field(default_factory=dict)
    windows: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def num_events(self) -> int:
        return sum(self.events.values())

    @property
    def num_failures(self) -> int:
        """Events that failed."""
        return sum(row.count for row in self.rows.values() if not row.of_window)

    @property
    def num_windows(self) -> int:
        return sum(self.windows.values())

    @property
    def num_failed_windows(self) -> int:
        return sum(row.count for row in self.rows.values() if row.of_window)

    def ranked(self) -> list[tuple[RowKey, Row]]:
        """The most frequent first."""
        return sorted(self.rows.items(), key=lambda entry: (-entry[1].count, entry[0]))

    def rate(self, key: RowKey) -> float:
        """The share of the model version's events, or windows."""
        row = self.rows[key]
        all_of_them = (self.windows if row.of_window else self.events).get((key.model, key.version), 0)
        return row.count / all_of_them if all_of_them else 0.0

    def to_dict(self) -> dict[str, Any]:
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
    """Of the windows that end after `since_ms`; of these kinds and this model only, where they are named."""
    summary = Summary(since_ms)
    for one in aggregates:
        if one.window_end <= since_ms or (model is not None and one.model != model):
            continue
        version = (one.model, one.version)
        counted = summary.windows if one.cell.of_window else summary.events
        counted[version] = counted.get(version, 0) + one.count
        late = one.cell.outcome == LATE
        if not (one.cell.failed or (late and one.cell.kind in _FAILURES)) or (kinds and one.cell.kind not in kinds):
            continue
        key = RowKey(one.cell.kind, one.cell.stage, one.model, one.version)
        row = summary.rows.setdefault(key, Row(one.cell.of_window))
        row.count += one.count
        row.late += one.count if late else 0
        row.first_seen, row.last_seen = min(row.first_seen, one.first_seen), max(row.last_seen, one.last_seen)
        row.sample_ids += [sample for sample in one.sample_ids if sample not in row.sample_ids]
        del row.sample_ids[MAX_SAMPLES:]
        if one.exemplar is not None and (row.exemplar is None or row.exemplar["stack"] is None):
            row.exemplar = one.exemplar
    return summary


def remedy_of(kind: str) -> str | None:
    """What to do about it; None for a kind of a later version."""
    return FAILURES[FailureKind(kind)].remedy if kind in _FAILURES else None

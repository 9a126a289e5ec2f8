"""What each version of a model did under one revision: sums over judge windows, which begin when the revision was accepted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

from forebay.schemas.failures import GOOD_KINDS, FailureKind
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.rollouts.performance import Performance

INDEPENDENT_KINDS: Final = frozenset(
    kind.value
    for kind in (
        FailureKind.UNREADABLE_RECORD,
        FailureKind.UNREADABLE_BATCH,
        FailureKind.BATCH_TOO_LARGE,
        FailureKind.TOO_MANY_HEADERS,
        FailureKind.EMPTY_VALUE,
        FailureKind.TOO_LARGE,
        FailureKind.KEY_TOO_LARGE,
        FailureKind.UNSUPPORTED_CONTENT_TYPE,
        FailureKind.NOT_JSON,
        FailureKind.INVALID_PAYLOAD,
        FailureKind.UNKNOWN_SCHEMA,
        FailureKind.UNSUPPORTED_SCHEMA,
        FailureKind.NOT_AN_OBJECT,
        FailureKind.UNKNOWN_MODEL,
        FailureKind.DUPLICATE,
        FailureKind.DENIED,
        FailureKind.MISSING_KEY,
        FailureKind.TIMESTAMP_AHEAD,
        FailureKind.TIMESTAMP_BEHIND,
        FailureKind.LATE,
        FailureKind.WINDOW_FULL,
    )
)
"""Failures of the record itself. Every version has them, so they say nothing about one."""


@dataclass(slots=True)
class VersionStats:
    """The outcomes and the performance of one version.

    events: predictions and failures, without failures that are independent of the version.
    failures: events without a prediction.
    """

    events: int = 0
    failures: int = 0
    performance: Performance = field(default_factory=Performance)

    @property
    def failure_rate(self) -> float:
        """Failures / events; 0 without events."""
        return self.failures / self.events if self.events else 0.0

    @property
    def cpu_s_per_row(self) -> float | None:
        """CPU seconds of the model's calls per row; None without rows or without a measured time."""
        performance = self.performance
        return performance.cpu_s / performance.rows if performance.rows and performance.cpu_s > 0 else None

    def add_outcomes(self, kind: str, count: int) -> None:
        """Add outcomes of one kind."""
        if kind in INDEPENDENT_KINDS:
            return
        self.events += count
        if kind not in GOOD_KINDS:
            self.failures += count

    def add(self, other: VersionStats) -> None:
        """Add what the version did elsewhere."""
        self.events += other.events
        self.failures += other.failures
        self.performance.add(other.performance)

    @classmethod
    def sum(cls, parts: Iterable[VersionStats]) -> Self:
        """Return the sum of statistics of the same version."""
        total = cls()
        for part in parts:
            total.add(part)
        return total


class Period:
    """The time in which one revision of a model is the current one.

    number: of the revision.
    start_ms: when it was accepted, ms since the Unix epoch. Judge windows are counted from here, the first is 0.
    keep_windows: number of the last windows that are kept one by one; earlier ones are only in the sum.
    """

    def __init__(self, number: int, start_ms: int, *, window_s: float, keep_windows: int) -> None:
        self.number = number
        self.start_ms = start_ms
        self._window_ms = window_s * 1000
        self._keep_windows = keep_windows
        self._windows: dict[int, dict[int, VersionStats]] = {}
        self._totals: dict[int, VersionStats] = {}
        self._quality: dict[int, BlockSums] = {}

    def add(self, version: int, timestamp_ms: int, part: VersionStats) -> None:
        """Add what a version did. timestamp_ms: when it was reported; not before the start."""
        self._totals.setdefault(version, VersionStats()).add(part)
        windows = self._windows.setdefault(version, {})
        window = self.window_at(timestamp_ms)
        windows.setdefault(window, VersionStats()).add(part)
        if len(windows) > self._keep_windows:
            del windows[min(windows)]

    def window_at(self, timestamp_ms: int) -> int:
        """Return the window that contains a time; negative before the start."""
        return int((timestamp_ms - self.start_ms) // self._window_ms)

    def window(self, version: int, window: int) -> VersionStats:
        """Return what a version did in one window; empty if nothing is known."""
        return self._windows.get(version, {}).get(window, VersionStats())

    def since(self, version: int, window: int) -> VersionStats:
        """Return the sum from a window on, if it is one of those that are kept."""
        return VersionStats.sum(stats for index, stats in self._windows.get(version, {}).items() if index >= window)

    def total(self, version: int) -> VersionStats:
        """Return the sum of all windows."""
        return self._totals.get(version, VersionStats())

    def add_quality(self, version: int, part: BlockSums) -> None:
        """Add the quality of a version in a window of event time that lies within the period.

        Raises DataError if the sums are of another task than those before.
        """
        self._quality.setdefault(version, BlockSums(part.task)).merge(part)

    def quality(self, version: int) -> BlockSums | None:
        """Return the quality of a version in all such windows; None if nothing is known."""
        return self._quality.get(version)

"""Decides from the counts of all workers whether a model version drifts. Times are passed in.

A window is judged once, when it has been over for GRACE_MS. What arrives later is counted as late and not used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from forebay.schemas.errors import DataError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.drift.counts import ColumnCounts, DriftCounts, DriftKey
from forebay.stream.drift.findings import DriftFinding, FindingKind
from forebay.stream.drift.measures import (
    ColumnMeasures,
    DriftThresholds,
    Level,
    Measure,
    Measurement,
    measure_column,
)
from forebay.stream.drift.wire import DriftRecord

GRACE_MS: Final = 15_000
"""Workers write the counts of a window within a few seconds of its end."""
MAX_GOOD_AGE: Final = 12
"""After this many judged windows without a good one, a column's recent windows are no longer compared with."""
HISTORY: Final = 300
"""Judged windows that are kept for each version: a day of five minutes, if the caller does not say."""


class WindowState(StrEnum):
    """Whether a window was judged."""

    JUDGED = "judged"
    TOO_FEW_ROWS = "too_few_rows"


@dataclass(frozen=True, slots=True)
class WindowVerdict:
    """What was found in a window. findings: those in effect at its end."""

    key: DriftKey
    state: WindowState
    rows: int
    seen: int
    columns: tuple[ColumnMeasures, ...]
    findings: tuple[DriftFinding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        return {
            **self.key._asdict(),
            "state": self.state.value,
            "rows": self.rows,
            "seen": self.seen,
            "columns": [column.to_dict() for column in self.columns],
            "findings": [finding.to_dict() for finding in self.findings],
        }


@dataclass(slots=True)
class _Streak:
    """How many judged windows in a row have reached each level, and whether it began as skew."""

    warn: int = 0
    alarm: int = 0
    is_skew: bool = False

    def add(self, level: Level | None) -> None:
        self.warn = self.warn + 1 if level is not None else 0
        self.alarm = self.alarm + 1 if level is Level.ALARM else 0
        self.is_skew &= level is not None


@dataclass(slots=True)
class _Recent:
    """The last good windows of a column. age: judged windows since the last one."""

    windows: deque[ColumnCounts]
    age: int = 0

    def total(self) -> ColumnCounts | None:
        if not self.windows or self.age > MAX_GOOD_AGE:
            return None
        total = _copy(self.windows[0])
        for window in list(self.windows)[1:]:
            total.merge(window)
        return total

    def add(self, column: ColumnCounts, *, is_good: bool) -> None:
        if self.age > MAX_GOOD_AGE or (self.windows and not self.windows[0].fits(column)):
            self.windows.clear()
            self.age = 0
        if is_good:
            self.windows.append(column)
            self.age = 0
        else:
            self.age += 1


@dataclass(slots=True)
class _Version:
    """What is known about a model version. is_new: whether its first windows were seen; None before the first."""

    history: deque[WindowVerdict]
    open: dict[DriftKey, DriftCounts] = field(default_factory=dict)
    numbers: dict[DriftKey, set[tuple[str, int]]] = field(default_factory=dict)
    judged_to: int = -1
    num_judged: int = 0
    is_new: bool | None = None
    streaks: dict[tuple[str, Measure], _Streak] = field(default_factory=dict)
    recent: dict[str, _Recent] = field(default_factory=dict)
    findings: tuple[DriftFinding, ...] = ()


class Detector:
    """Collects records and judges windows.

    complete_from_ms: the time from which all records were read; None if the topic was read from its beginning. A version
        whose first window is within two windows of it may have been served before, and is not judged as a new one.

        detector.add(decode_drift(value))
        findings = detector.advance(now_ms)      # in effect now
    """

    def __init__(
        self, thresholds: DriftThresholds, *, complete_from_ms: int | None = None, history: int = HISTORY
    ) -> None:
        self._thresholds = thresholds
        self._complete_from_ms = complete_from_ms
        self._history = history
        self._versions: dict[ModelRef, _Version] = {}
        self.late_records = 0
        self.unmergeable_records = 0

    def add(self, record: DriftRecord) -> None:
        """Take a record of the topic. Repetitions are ignored, late records and those that do not fit are counted."""
        key = record.counts.key
        version = self._versions.setdefault(key.ref, _Version(deque(maxlen=self._history)))
        if key.window_start <= version.judged_to:
            self.late_records += 1
            return
        known = version.numbers.setdefault(key, set())
        if (record.worker, record.number) in known:
            return
        known.add((record.worker, record.number))
        counts = version.open.get(key)
        if counts is None:
            version.open[key] = record.counts
            return
        try:
            counts.merge(record.counts)
        except DataError:
            self.unmergeable_records += 1

    def advance(self, now_ms: int) -> list[DriftFinding]:
        """Judge all windows that are over, and return the findings in effect at `now_ms`, of all versions."""
        for version in self._versions.values():
            over = sorted(key.window_start for key in version.open if key.window_end + GRACE_MS <= now_ms)
            for window_start in over:
                self._judge(version, window_start)
            if version.findings and self._is_over(version, now_ms):
                version.findings = ()
        return self.findings()

    def findings(self) -> list[DriftFinding]:
        """Return the findings in effect after the last judged windows."""
        return [finding for version in self._versions.values() for finding in version.findings]

    def versions(self) -> list[ModelRef]:
        """Return the versions with records, sorted."""
        return sorted(self._versions)

    def history(self, ref: ModelRef) -> Sequence[WindowVerdict]:
        """Return the verdicts on the windows of a version, oldest first."""
        version = self._versions.get(ref)
        return () if version is None else tuple(version.history)

    def open_windows(self, ref: ModelRef) -> Sequence[DriftCounts]:
        """Return the counts of the windows of a version that cannot be judged yet, oldest first."""
        version = self._versions.get(ref)
        return () if version is None else [version.open[key] for key in sorted(version.open)]

    def _is_over(self, version: _Version, now_ms: int) -> bool:
        """Return whether a version is no longer served: nothing came for more windows than a finding needs."""
        last = version.history[-1].key
        return now_ms - last.window_end > (self._thresholds.windows + 1) * (last.window_end - last.window_start)

    def _judge(self, version: _Version, window_start: int) -> None:
        key = next(key for key in version.open if key.window_start == window_start)
        counts = version.open.pop(key)
        version.numbers.pop(key, None)
        version.judged_to = max(version.judged_to, window_start)
        if version.is_new is None:
            width = key.window_end - key.window_start
            version.is_new = self._complete_from_ms is None or window_start >= self._complete_from_ms + 2 * width
        if counts.rows < self._thresholds.min_rows:
            self._record(version, counts, WindowState.TOO_FEW_ROWS, ())
            return
        columns = tuple(self._judge_column(version, column) for column in counts.columns)
        self._keep_good(version, counts, columns)
        version.num_judged += 1
        version.findings = tuple(finding for column in columns for finding in self._findings_of(version, key, column))
        self._record(version, counts, WindowState.JUDGED, columns)

    def _record(
        self, version: _Version, counts: DriftCounts, state: WindowState, columns: tuple[ColumnMeasures, ...]
    ) -> None:
        verdict = WindowVerdict(
            counts.key, state, rows=counts.rows, seen=counts.seen, columns=columns, findings=version.findings
        )
        version.history.append(verdict)

    def _judge_column(self, version: _Version, column: ColumnCounts) -> ColumnMeasures:
        name = _name(column)
        recent = version.recent.setdefault(name, _Recent(deque(maxlen=self._thresholds.windows)))
        total = recent.total()
        fitting = total if total is not None and total.fits(column) else None
        measures = measure_column(column, fitting, self._thresholds)
        is_first = bool(version.is_new) and version.num_judged < self._thresholds.windows
        for measurement in measures.compared:
            streak = version.streaks.setdefault((name, measurement.measure), _Streak())
            streak.add(measurement.level)
            if is_first and measurement.measure is not Measure.PSI_RECENT and measurement.level is Level.ALARM:
                streak.is_skew = True
        return measures

    def _keep_good(self, version: _Version, counts: DriftCounts, measures: Sequence[ColumnMeasures]) -> None:
        """Keep the counts of columns that are good.

        A column without a reference is only good while no other column is alarming: wrong features give wrong classes.
        """
        has_alarm = any(
            found.level is Level.ALARM and found.measure is not Measure.PSI_RECENT
            for column in measures
            for found in column.compared
        )
        for column, measured in zip(counts.columns, measures, strict=True):
            is_good = measured.level is None and not (has_alarm and column.expected_C is None)
            version.recent[_name(column)].add(column, is_good=is_good)

    def _findings_of(self, version: _Version, key: DriftKey, column: ColumnMeasures) -> list[DriftFinding]:
        findings = []
        for measurement in column.compared:
            streak = version.streaks[_name(column), measurement.measure]
            level = self._level(streak, measurement)
            if level is not None:
                findings.append(
                    DriftFinding(
                        key,
                        column.name,
                        column.kind,
                        measurement.measure,
                        value=measurement.value,
                        expected=measurement.expected,
                        level=level,
                        kind=FindingKind.SKEW if streak.is_skew else FindingKind.DRIFT,
                        windows=streak.warn,
                        mean=column.mean,
                        expected_mean=column.expected_mean,
                    )
                )
        return findings

    def _level(self, streak: _Streak, measurement: Measurement) -> Level | None:
        if streak.is_skew:
            return measurement.level
        if streak.alarm >= self._thresholds.windows:
            return Level.ALARM
        return Level.WARN if streak.warn >= self._thresholds.windows else None


def _name(column: ColumnCounts | ColumnMeasures) -> str:
    """Return a name that is unique in the version: an output may have the name of a feature."""
    return f"{column.kind.value}:{column.name}"


def _copy(column: ColumnCounts) -> ColumnCounts:
    return ColumnCounts(column.name, column.kind, column.counts_C.copy())

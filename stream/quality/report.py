"""What is known about the quality of models, by version, slice and window: the truth, and the estimate beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from forebay.stream.quality.estimate import Estimate, estimate
from forebay.stream.quality.metrics import Metrics, metrics
from forebay.stream.quality.sums import QualitySums
from forebay.stream.quality.view import QualityView, Subject
from forebay.stream.quality.wire import LabelCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowReport:
    """One window of a subject.

    start, end: of the window, ms since the Unix epoch.
    final: whether no label can change it any more.
    estimate: of the metrics of all its predictions, from the labels of earlier windows; None if there are too few.
    """

    start: int
    end: int
    final: bool
    sums: QualitySums
    metrics: Metrics
    estimate: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """Return the window as JSON values."""
        return {
            "window_start": self.start,
            "window_end": self.end,
            "final": self.final,
            **_sums_dict(self.sums, self.metrics),
            "estimate": None if self.estimate is None else self.estimate.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectReport:
    """All windows of a model version and slice. total, metrics: of all of them together."""

    subject: Subject
    total: QualitySums
    metrics: Metrics
    windows: Sequence[WindowReport]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            **self.subject._asdict(),
            "total": _sums_dict(self.total, self.metrics),
            "windows": [window.to_dict() for window in self.windows],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """The quality of all subjects.

    since_ms: start of the span, ms since the Unix epoch.
    labels: counts of the labels in it.
    labels_until_ms: the time up to which the labels of all partitions have come; None if unknown.
    """

    since_ms: int
    subjects: Sequence[SubjectReport]
    labels: LabelCounts
    labels_until_ms: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "since": self.since_ms,
            "labels": msgspec.to_builtins(self.labels),
            "labels_until": self.labels_until_ms,
            "quality": [subject.to_dict() for subject in self.subjects],
        }


def quality_report(
    view: QualityView, *, since_ms: int, from_ms: int | None = None, random: np.random.Generator | None
) -> QualityReport:
    """Return the report of everything in a view from a time on.

    from_ms: earlier windows are only used for estimates, and only from this time on; None for all.
    random: of the intervals of estimates; None for estimates without them, which is much faster.
    """
    subjects = [
        _subject_report(view, subject, since_ms=since_ms, from_ms=from_ms, random=random) for subject in view.subjects()
    ]
    until_ms = None if view.progress is None else view.progress.known_until_ms()
    return QualityReport(
        since_ms=since_ms,
        subjects=[report for report in subjects if report is not None],
        labels=view.labels(since_ms=since_ms),
        labels_until_ms=until_ms,
    )


def _subject_report(
    view: QualityView, subject: Subject, *, since_ms: int, from_ms: int | None, random: np.random.Generator | None
) -> SubjectReport | None:
    total = view.total(*subject, since_ms=since_ms)
    if total is None:
        return None
    earlier = QualitySums(total.task, total.num_classes)
    windows = []
    for start, window in view.windows(*subject, since_ms=from_ms).items():
        if start + view.window_ms > since_ms:
            windows.append(
                WindowReport(
                    start=start,
                    end=start + view.window_ms,
                    final=view.is_final(start),
                    sums=window,
                    metrics=metrics(window),
                    estimate=estimate(window, earlier, random=random),
                )
            )
        earlier.merge(window)
    return SubjectReport(subject=subject, total=total, metrics=metrics(total), windows=windows)


def _sums_dict(sums: QualitySums, found: Metrics) -> dict[str, Any]:
    counts = {name: getattr(sums, name) for name in ("evicted", "invalid_predictions", "invalid_pairs")}
    return {**counts, **found.to_dict()}

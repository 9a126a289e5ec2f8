"""The records of `quality`, added up by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from forebay.schemas.errors import DataError
from forebay.stream.quality.keys import Task
from forebay.stream.quality.sums import QualitySums
from forebay.stream.quality.wire import LabelCounts, LabelProgress, QualityDelta, decode_quality


class Subject(NamedTuple):
    """What windows are of: a version of a model, and a slice; "" for all predictions."""

    model: str
    version: int
    slice: str = ""


_Shape = tuple[Task, int]
"""The task and the number of classes of sums."""


class QualityView:
    """Quality sums by subject and window, of one group of evaluators. Add every record once, in any order.

    A few predictions of a version may have another task or number of classes than the others, by a mistake of their producer.
    Such sums do not add up: of each subject, those with the most predictions are shown, and the others are `unlike`.

    group: the consumer group of the evaluators. Each group counts everything, so the records of others are left out.
    wanted: which subjects to keep; all by default.
    window_ms: length of the windows, as of the last record.
    rejected: number of records that could not be added; last_error: why, for the last one.
    other_groups: names of other groups that have records.
    """

    def __init__(self, *, group: str, wanted: Callable[[Subject], bool] = lambda _subject: True) -> None:
        self.group = group
        self._wanted = wanted
        self.other_groups: set[str] = set()
        self._shapes: dict[Subject, dict[_Shape, dict[int, QualitySums]]] = {}
        self._labels: dict[str, dict[int, LabelCounts]] = {}
        self.progress: LabelProgress | None = None
        self.window_ms = 0
        self.records = 0
        self.rejected = 0
        self.last_error = ""

    def read(self, value: bytes | None, *, key: bytes | None = None) -> None:
        """Add a record's value; count it as rejected if it is not a quality record.

        key: of the record, if it is known: what is not wanted is then skipped without parsing, such as hundreds of slices.
        """
        if key is not None and (subject := _subject_of(key)) is not None and not self._wanted(subject):
            return
        try:
            self.add(decode_quality(value))
        except DataError as error:
            self.rejected += 1
            self.last_error = error.message

    def add(self, delta: QualityDelta) -> None:
        """Add a record."""
        if delta.group != self.group:
            self.other_groups.add(delta.group)
            return
        subject, start = Subject(delta.key.model, delta.key.version, delta.key.slice), delta.key.window_start
        if delta.sums is not None and self._wanted(subject):
            shape = delta.sums.task, delta.sums.num_classes
            windows = self._shapes.setdefault(subject, {}).setdefault(shape, {})
            if start not in windows:
                windows[start] = QualitySums(delta.sums.task, delta.sums.num_classes)
            windows[start].merge(delta.sums)
        if delta.labels is not None:
            self._labels.setdefault(delta.key.model, {}).setdefault(start, LabelCounts()).merge(delta.labels)
        if delta.progress is not None:
            if self.progress is None:
                self.progress = LabelProgress(horizon_ms=delta.progress.horizon_ms)
            self.progress.merge(delta.progress)
        self.window_ms = delta.window_ms
        self.records += 1

    def subjects(self) -> list[Subject]:
        """Return all subjects in order."""
        return sorted(self._shapes)

    @property
    def unlike(self) -> int:
        """Predictions that are not shown, because they have another task or number of classes than most of their version."""
        return sum(
            sum(map(_predictions, shapes.values())) - _predictions(self._shown(subject))
            for subject, shapes in self._shapes.items()
            if len(shapes) > 1 and not subject.slice
        )

    def _shown(self, subject: Subject) -> dict[int, QualitySums]:
        shapes = self._shapes.get(subject, {})
        if len(shapes) <= 1:
            return next(iter(shapes.values()), {})
        return max(sorted(shapes.items()), key=lambda item: _predictions(item[1]))[1]

    def windows(
        self, model: str, version: int, slice: str = "", *, since_ms: int | None = None
    ) -> dict[int, QualitySums]:
        """Return the sums by the start of their window, in order, of windows that end after `since_ms`."""
        windows = self._shown(Subject(model, version, slice))
        return {
            start: windows[start] for start in sorted(windows) if since_ms is None or start + self.window_ms > since_ms
        }

    def total(self, model: str, version: int, slice: str = "", *, since_ms: int | None = None) -> QualitySums | None:
        """Return the sum of these windows; None if there are none."""
        total: QualitySums | None = None
        for sums in self.windows(model, version, slice, since_ms=since_ms).values():
            if total is None:
                total = QualitySums(sums.task, sums.num_classes)
            total.merge(sums)
        return total

    def labels(self, model: str | None = None, *, since_ms: int | None = None) -> LabelCounts:
        """Return the counts of labels, by their own timestamps. model: None for all; "" for labels that name none."""
        total = LabelCounts()
        for name, windows in self._labels.items():
            for start, counts in windows.items():
                if model in (None, name) and (since_ms is None or start + self.window_ms > since_ms):
                    total.merge(counts)
        return total

    def is_final(self, window_start: int) -> bool:
        """Return whether no label can change this window any more: the labels of all partitions are beyond the horizon."""
        until_ms = None if self.progress is None else self.progress.known_until_ms()
        if self.progress is None or until_ms is None:
            return False
        return until_ms > window_start + self.window_ms + self.progress.horizon_ms

    def newest_window(self) -> int | None:
        """Return the start of the latest window of all subjects; None if there is none."""
        return max((start for subject in self._shapes for start in self._shown(subject)), default=None)

    def forget(self, before_ms: int) -> None:
        """Drop windows that end before a time."""
        first = before_ms - self.window_ms
        for subject, shapes in list(self._shapes.items()):
            for shape, windows in list(shapes.items()):
                shapes[shape] = {start: sums for start, sums in windows.items() if start > first}
                if not shapes[shape]:
                    del shapes[shape]
            if not shapes:
                del self._shapes[subject]
        for model, counts in self._labels.items():
            self._labels[model] = {start: count for start, count in counts.items() if start > first}


def _predictions(windows: Mapping[int, QualitySums]) -> int:
    return sum(sums.predictions for sums in windows.values())


def _subject_of(key: bytes) -> Subject | None:
    """Return what a record's key is about; None for counts of labels, and for other keys."""
    model, *rest = key.decode(errors="replace").split("|", 3)
    if len(rest) != 3 or len(rest[0]) > 9 or not rest[0].isdecimal() or int(rest[0]) == 0:
        return None
    return Subject(model, int(rest[0]), rest[2])

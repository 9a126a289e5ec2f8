"""Metrics of quality by window of event time, from the records of the evaluators. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from forebay.schemas.aggregates import CLASS_METRICS, ESTIMATES, VALUE_METRICS
from forebay.stream.aggregate.metric_alerts import MetricRule, Sample, Subject
from forebay.stream.quality.estimate import estimate
from forebay.stream.quality.metrics import metrics
from forebay.stream.quality.sums import QualitySums
from forebay.stream.quality.view import QualityView

_BY_LABELS: Final = frozenset({*CLASS_METRICS, *VALUE_METRICS})
_PREFIX: Final = "estimated_"
_DELAYS: Final = {"label_delay_p50_s": 0.5, "label_delay_p90_s": 0.9}


class QualitySeries:
    """The windows of a view of one group of evaluators. Their times are event times, in ms since the Unix epoch.

    The newest window with enough labels is judged. Without new labels nothing changes, so an alert stays until there are some,
    or until its version gets no more predictions.
    """

    def __init__(self, group: str) -> None:
        self.view = QualityView(group=group)
        self._known: dict[tuple[str, int, Subject, int], Sample | None] = {}

    def read(self, value: bytes | None) -> None:
        """Add a record's value. What is not a quality record is ignored."""
        self.view.read(value)
        self._known.clear()

    def forget(self, keep_ms: int) -> None:
        """Drop windows that are older than this, compared with the newest one."""
        newest = self.view.newest_window()
        if newest is not None:
            self.view.forget(newest - keep_ms)

    # ---- as a MetricSeries

    @property
    def step_ms(self) -> int:
        """The length of the windows."""
        return self.view.window_ms

    def subjects(self, rule: MetricRule) -> Iterator[Subject]:
        """Return the versions and slices that the rule applies to. Without a slice: all predictions of a version together."""
        name, _, value = (rule.slice or "").partition("=")
        for subject in self.view.subjects():
            if rule.model not in (None, subject.model) or rule.version not in (None, subject.version):
                continue
            is_wanted = subject.slice.startswith(f"{name}=") if value == "*" else subject.slice == (rule.slice or "")
            if is_wanted and subject.version > 0:
                yield Subject(*subject)

    def last_step(self, rule: MetricRule, subject: Subject, now_ms: int) -> int | None:
        """Return the newest window whose time span has enough labels."""
        del now_ms
        starts = reversed(self._windows(subject))
        return next((start for start in starts if self.sample(rule, subject, start) is not None), None)

    def sample(self, rule: MetricRule, subject: Subject, start: int) -> Sample | None:
        """Return the metric over the windows of the rule's time span, which ends with the one at `start`."""
        key = (rule.metric, rule.window_ms + rule.min_count, subject, start)
        if key not in self._known:
            self._known[key] = self._measure(rule, subject, start)
        return self._known[key]

    def oldest(self, subject: Subject) -> int | None:
        """Return the first window of the subject."""
        return next(iter(self._windows(subject)), None)

    def is_over(self, subject: Subject) -> bool:
        """Return whether there are records, but none about the subject any more."""
        return bool(self.view.records) and not self._windows(subject)

    def held_ms(self, since: int, last_step: int, now_ms: int) -> int:
        """Return the event time since then."""
        del now_ms
        return last_step + self.step_ms - since

    # ---- measuring

    def _windows(self, subject: Subject) -> list[int]:
        assert subject.model is not None
        assert subject.version is not None
        return list(self.view.windows(subject.model, subject.version, subject.detail))

    def _measure(self, rule: MetricRule, subject: Subject, start: int) -> Sample | None:
        assert subject.model is not None
        assert subject.version is not None
        end = start + self.step_ms
        num_windows = max(1, -(-rule.window_ms // self.step_ms))
        windows = self.view.windows(subject.model, subject.version, subject.detail)
        span = [at for at in windows if end - num_windows * self.step_ms <= at < end]
        total = _sum([windows[at] for at in span])
        if total is None:
            return None
        if rule.metric == "matched_share":
            return self._matched_share(rule, total, span)
        if rule.metric in ESTIMATES:
            return _estimated(rule, total, _sum(list(windows.values())))
        if total.scored < rule.min_count:
            return None
        measured = metrics(total)
        value: float | None
        if rule.metric in _BY_LABELS:
            value = getattr(measured, rule.metric)
        else:
            delays = measured.delay_ms_quantiles
            value = None if delays is None else delays[_DELAYS[rule.metric]] / 1000
        return None if value is None else Sample(value, total.scored, total.predictions)

    def _matched_share(self, rule: MetricRule, total: QualitySums, span: list[int]) -> Sample | None:
        """Return the share of labelled predictions, once no label can come any more."""
        if total.predictions < rule.min_count or not all(map(self.view.is_final, span)):
            return None
        share = metrics(total).matched_share
        return None if share is None else Sample(share, total.matched, total.predictions)


def _estimated(rule: MetricRule, window: QualitySums, labelled: QualitySums | None) -> Sample | None:
    if labelled is None or window.predictions < rule.min_count:
        return None
    # The draws are only for the interval, which is not compared.
    found = estimate(window, labelled, random=np.random.default_rng(0))
    if found is None:
        return None
    interval = found.metrics.get(rule.metric.removeprefix(_PREFIX))
    return None if interval is None else Sample(interval.value, found.labelled, found.rows)


def _sum(parts: list[QualitySums]) -> QualitySums | None:
    if not parts:
        return None
    total = QualitySums(parts[0].task, parts[0].num_classes)
    for part in parts:
        total.merge(part)
    return total

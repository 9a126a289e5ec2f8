"""Metrics of the quality of models: of the last windows, by version."""

from __future__ import annotations

from typing import Final

from forebay.stream.quality.estimate import estimate
from forebay.stream.quality.metrics import metrics
from forebay.stream.quality.sums import QualitySums
from forebay.stream.quality.view import QualityView, Subject
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.metric_store import Labels, MetricStore

VALUES: Final = (
    *("accuracy", "precision", "recall", "f1", "log_loss", "brier", "roc_auc", "calibration_error"),
    *("mean_absolute_error", "root_mean_squared_error", "r2", "bias"),
)


class QualityRecorder:
    """Records what a view of the topic `quality` holds.

    span_ms: how long before the newest window the windows begin that are taken together.
    """

    def __init__(self, store: MetricStore, *, span_ms: int) -> None:
        self._store = store
        self._span_ms = span_ms

    def record(self, view: QualityView) -> None:
        """Record the current values. Slices are left out: there may be hundreds."""
        store, newest = self._store, view.newest_window()
        store.set_total(c.QUALITY_REJECTED, view.rejected)
        if newest is None:
            return
        values: dict[Labels, float] = {}
        estimates: dict[Labels, float] = {}
        predictions: dict[Labels, float] = {}
        matched: dict[Labels, float] = {}
        delays: dict[Labels, float] = {}
        for subject in view.subjects():
            total = view.total(*subject, since_ms=newest - self._span_ms)
            if subject.slice or total is None:
                continue
            labels = (subject.model, str(subject.version))
            found = metrics(total)
            predictions[labels] = found.predictions
            if found.matched_share is not None:
                matched[labels] = found.matched_share
            values |= {(*labels, name): value for name in VALUES if (value := getattr(found, name)) is not None}
            delays |= {
                (*labels, f"{share:g}"): delay_ms / 1000 for share, delay_ms in (found.delay_ms_quantiles or {}).items()
            }
            estimates |= {(*labels, name): value for name, value in _estimates(view, subject, newest).items()}
        store.replace(c.QUALITY_VALUE, values)
        store.replace(c.QUALITY_ESTIMATE, estimates)
        store.replace(c.QUALITY_PREDICTIONS, predictions)
        store.replace(c.QUALITY_MATCHED, matched)
        store.replace(c.QUALITY_LABEL_DELAY, delays)


def _estimates(view: QualityView, subject: Subject, newest_window: int) -> dict[str, float]:
    """Return the estimates for the last window that has ended, by metric. A window has ended if there is a later one."""
    windows = view.windows(*subject)
    ended = max((start for start in windows if start < newest_window), default=None)
    if ended is None:
        return {}
    window = windows[ended]
    earlier = QualitySums(window.task, window.num_classes)
    for start, sums in windows.items():
        if start < ended:
            earlier.merge(sums)
    found = estimate(window, earlier, random=None)
    return {} if found is None else {name: interval.value for name, interval in found.metrics.items()}

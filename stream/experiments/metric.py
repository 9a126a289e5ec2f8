"""The metrics by which versions can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from forebay.schemas.errors import ConfigError
from forebay.stream.experiments.pair_metrics import block_metrics
from forebay.stream.quality.keys import Task


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that is a mean over events.

    column: its name in the sums by block.
    higher_is_better: the direction.
    spread: the largest possible difference of two values; 0 if there is no limit.
    """

    name: str
    column: str
    title: str
    higher_is_better: bool = False
    spread: float = 0.0

    def worsening(self, difference: float) -> float:
        """Return a difference as a positive number if it is for the worse."""
        return -difference if self.higher_is_better else difference


METRICS: Final[Mapping[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "correct", "accuracy", higher_is_better=True, spread=1.0),
        Metric("log_loss", "log_loss", "log loss"),
        Metric("brier", "brier", "Brier score", spread=1.0),
        Metric("mae", "absolute_error", "mean absolute error"),
        Metric("mse", "squared_error", "mean squared error"),
    )
}


def metrics_of(task: Task) -> list[Metric]:
    """Return the metrics that a task has."""
    return [metric for metric in METRICS.values() if metric.column in block_metrics(task)]


def default_metric(task: Task) -> Metric:
    """Return the metric by which versions are compared if nothing else is said."""
    return METRICS["mae" if task is Task.REGRESSION else "log_loss"]


def metric_for(name: str, task: Task) -> Metric:
    """Return a metric by its name. Raises ConfigError if the task does not have it."""
    found = METRICS.get(name)
    if found is None or found.column not in block_metrics(task):
        names = ", ".join(metric.name for metric in metrics_of(task))
        raise ConfigError(f"a model of task {task} has no metric {name!r} to compare versions by; it has {names}")
    return found

"""The metrics that tables of quality show, and how they write them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from forebay.stream.quality.estimate import Interval
from forebay.stream.quality.keys import Task

COLUMNS: Final[Mapping[Task, tuple[tuple[str, str], ...]]] = MappingProxyType(
    {
        Task.BINARY: (
            ("accuracy", "accuracy"),
            ("F1", "f1"),
            ("log loss", "log_loss"),
            ("ROC AUC", "roc_auc"),
            ("ECE", "calibration_error"),
        ),
        Task.CLASSES: (
            ("accuracy", "accuracy"),
            ("F1 (macro)", "f1"),
            ("log loss", "log_loss"),
            ("ECE", "calibration_error"),
        ),
        Task.REGRESSION: (
            ("MAE", "mean_absolute_error"),
            ("RMSE", "root_mean_squared_error"),
            ("R²", "r2"),
            ("bias", "bias"),
        ),
    }
)
"""Shown metrics by task: title and name in `Metrics`."""

NOTHING: Final = "–"


def number(value: float | None) -> str:
    """Return a metric with four significant digits; a dash if it is not defined."""
    return NOTHING if value is None else f"{value:.4g}"


def interval_text(interval: Interval | None) -> str:
    """Return an estimate and half the width of its interval; empty if there is none."""
    if interval is None:
        return ""
    if interval.low is None or interval.high is None:
        return f"≈ {interval.value:.3g}"
    return f"≈ {interval.value:.3g} ± {(interval.high - interval.low) / 2:.1g}"

"""What quality is counted by: model, version, window, slice, and the model's task."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Task(StrEnum):
    """What a model predicts."""

    BINARY = "binary"
    CLASSES = "classes"
    REGRESSION = "regression"


class QualityKey(NamedTuple):
    """The key of quality sums.

    version: of the model; 0 for the counts of labels, which do not belong to a version.
    window_start: of the window that contains the prediction's event time, in ms since the Unix epoch.
    slice: "name=value"; "" for all predictions.
    """

    model: str
    version: int
    window_start: int
    slice: str = ""

"""An independent recount of quality from the raw topics. It uses nothing of Forebay.

A prediction and a label with the same id are a pair if, with the largest timestamps of their partitions up to each of them,
`label maximum <= prediction time + horizon` and `prediction maximum <= label maximum + early`. The last such label counts.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

UNIT = 2.0**-32


class Raw(Protocol):
    """A record as a consumer returns it."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes: ...


@dataclass
class Cell:
    """What is counted for one model, version and window.

    confusion: by actual and predicted class.
    pairs: actual class and score of each matched prediction; only of a recount.
    """

    predictions: int = 0
    matched: int = 0
    log_loss: float = 0.0
    brier: float = 0.0
    confusion: Counter[tuple[int, int]] = field(default_factory=Counter)
    pairs: list[tuple[int, float]] = field(default_factory=list, repr=False)


Key = tuple[str, int, int]


def recount(
    predictions: Iterable[Raw], labels: Iterable[Raw], *, horizon_ms: int, early_ms: int, window_ms: int
) -> tuple[dict[Key, Cell], int, int]:
    """Return the cells, the number of labels that are well-formed, and of those that are not."""
    by_id: dict[tuple[int, str], list[tuple[int, int, Any, str | None]]] = defaultdict(list)
    latest: dict[int, int] = {}
    num_good = num_bad = 0
    for record in sorted(labels, key=lambda record: (record.partition, record.offset)):
        try:
            label = json.loads(record.value)
            time_ms, value, name = label["timestamp"] + 0, label["label"] + 0, label["id"]
        except (ValueError, TypeError, KeyError):
            num_bad += 1
            continue
        num_good += 1
        latest[record.partition] = maximum = max(time_ms, latest.get(record.partition, time_ms))
        by_id[record.partition, name].append((record.offset, maximum, value, label.get("model")))
    cells: dict[Key, Cell] = defaultdict(Cell)
    newest: dict[tuple[str, int], int] = {}
    for record in sorted(predictions, key=lambda record: (record.topic, record.partition, record.offset)):
        prediction = json.loads(record.value)
        time_ms = prediction["source"]["timestamp"]
        place = record.topic, record.partition
        newest[place] = maximum = max(time_ms, newest.get(place, time_ms))
        cell = cells[prediction["model"], prediction["version"], time_ms // window_ms * window_ms]
        cell.predictions += 1
        valid = [
            (offset, value)
            for offset, label_maximum, value, model in by_id[record.partition, prediction["id"]]
            if label_maximum <= time_ms + horizon_ms
            and maximum <= label_maximum + early_ms
            and model in (None, prediction["model"])
        ]
        if valid:
            _add_pair(cell, prediction, int(max(valid)[1]))
    return dict(cells), num_good, num_bad


def _add_pair(cell: Cell, prediction: dict[str, Any], actual: int) -> None:
    score = prediction["prediction"][0]
    cell.matched += 1
    cell.pairs.append((actual, score))
    cell.confusion[actual, prediction["class"]] += 1
    cell.brier += (score - actual) ** 2
    cell.log_loss -= math.log(min(max(score if actual else 1 - score, 2.220446049250313e-16), 1.0))


def add_up(quality: Iterable[Raw]) -> tuple[dict[Key, Cell], Counter[str]]:
    """Return the sums of the records of the topic quality, and the counts of labels."""
    cells: dict[Key, Cell] = defaultdict(Cell)
    labels: Counter[str] = Counter()
    for record in quality:
        document = json.loads(record.value)
        for name, count in (document.get("labels") or {}).items():
            labels[name] += count
        sums = document.get("sums")
        if sums is None or document["slice"]:
            continue
        cell = cells[document["model"], document["version"], document["window_start"]]
        cell.predictions += sums["predictions"]
        cell.matched += sums["matched"]
        classes = sums["classification"]
        cell.log_loss += classes["log_loss"] * UNIT
        cell.brier += classes["brier"] * UNIT
        for index, count in zip(classes["confusion"]["bins"], classes["confusion"]["counts"], strict=True):
            cell.confusion[divmod(index, 2)] += count  # type: ignore[index]
    return dict(cells), labels


def differences(expected: dict[Key, Cell], found: dict[Key, Cell]) -> list[str]:
    """Return a line for each cell that differs."""
    lines = []
    for key in sorted(expected.keys() | found.keys()):
        left, right = expected.get(key, Cell()), found.get(key, Cell())
        same = (left.predictions, left.matched, +left.confusion) == (right.predictions, right.matched, +right.confusion)
        tolerance = 1e-6 * (1 + left.matched)  # scores are float32 in the evaluator
        close = abs(left.log_loss - right.log_loss) <= tolerance and abs(left.brier - right.brier) <= tolerance
        if not (same and close):
            lines.append(f"{key}: recounted {left}, topic {right}")
    return lines

"""What a join must count, written directly from its definition, one pair at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.evaluate.checkpoint import JoinRules
from forebay.stream.evaluate.columns import LabelValue, ShadowRef
from forebay.stream.experiments.paired_sums import PairedSums, PredictedBy
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.sums import QualitySums
from forebay.stream.quality.wire import LabelCounts

BINARY, OTHER, VALUE, CLASSES = ModelRef("a", 1), ModelRef("a", 2), ModelRef("value", 1), ModelRef("c", 3)
TASKS = {BINARY: Task.BINARY, OTHER: Task.BINARY, VALUE: Task.REGRESSION, CLASSES: Task.CLASSES}
NUM_SCORES = {Task.BINARY: 1, Task.REGRESSION: 1, Task.CLASSES: 3}
NUM_CLASSES = {Task.BINARY: 2, Task.REGRESSION: 0, Task.CLASSES: 3}


def resolve(ref: ModelRef, value: LabelValue) -> float | None:
    """Return the class or number of a label; class 5 and "nan" are mistakes that the join must refuse."""
    if TASKS[ref] is Task.REGRESSION:
        return None if isinstance(value, str | bool) else float(value)
    names = {"no": 0.0, "yes": 1.0, "wrong": 5.0, "nan": float("nan")}
    return names.get(value) if isinstance(value, str) else float(value)


def meaning(ref: ModelRef, value: LabelValue) -> float | None:
    """Return the class or number of a label; None if it is refused."""
    found = resolve(ref, value)
    if found is None or TASKS[ref] is Task.REGRESSION:
        return found
    return found if found in range(NUM_CLASSES[TASKS[ref]]) else None


@dataclass(frozen=True)
class Prediction:
    offset: int
    hash: int
    time: int
    ref: ModelRef
    scores: tuple[float, ...]
    block: int
    slices: tuple[str, ...] = ()
    topic: int = 0

    @property
    def predicted(self) -> int:
        return -1 if TASKS[self.ref] is Task.REGRESSION else int(np.argmax(self.scores))


@dataclass(frozen=True)
class Label:
    offset: int
    hash: int
    time: int
    value: LabelValue
    model: str | None = None
    slices: tuple[str, ...] = ()

    @property
    def counted_as(self) -> str:
        return self.model or ""


@dataclass(frozen=True)
class Settled:
    """What the labels of a prediction lead to.

    value: None without a label.
    delay: of the first label. slice_delay: of the label that set the value, for the slices that came with it.
    """

    prediction: Prediction
    value: float | None
    delay: int
    slice_delay: int
    slices: tuple[str, ...]
    all_values: tuple[float, ...]


class Reference:
    """What is counted when all of these rows have been read."""

    def __init__(self, predictions: Sequence[Prediction], labels: Sequence[Label], rules: JoinRules) -> None:
        self._rules = rules
        self._window = rules.window_ms
        self.labels: dict[QualityKey, LabelCounts] = {}
        self.settled: list[Settled] = []
        self._label_maxima = list(accumulate((label.time for label in labels), max))
        self._labels = labels
        used: set[int] = set()
        for label in labels:
            self._count(label).labels += 1
        for topic in {prediction.topic for prediction in predictions}:
            own = [prediction for prediction in predictions if prediction.topic == topic]
            for prediction, maximum in zip(own, accumulate((p.time for p in own), max), strict=True):
                self.settled.append(self._settle(prediction, maximum, used))
        for label in labels:
            self._count(label).used += label.offset in used
        self.sums = self._sums()

    def _count(self, label: Label) -> LabelCounts:
        key = QualityKey(label.counted_as, 0, label.time // self._window * self._window)
        return self.labels.setdefault(key, LabelCounts())

    def _settle(self, prediction: Prediction, maximum: int, used: set[int]) -> Settled:
        value: float | None = None
        delay, slice_delay, slices, values = 0, 0, (), []
        for label, label_maximum in zip(self._labels, self._label_maxima, strict=True):
            if label.hash != prediction.hash or label.model not in (None, prediction.ref.name):
                continue
            if label_maximum > prediction.time + self._rules.horizon_ms:
                continue
            if maximum > label_maximum + self._rules.early_ms:
                continue
            found = meaning(prediction.ref, label.value)
            if found is None:
                self._count(label).refused += 1
                continue
            used.add(label.offset)
            values.append(found)
            if value is None:
                delay = label.time - prediction.time
                self._count(label).early += delay < 0
            elif value == found:
                self._count(label).repeated += 1
                continue
            else:
                self._count(label).corrected += 1
            value, slices, slice_delay = found, label.slices, label.time - prediction.time
        return Settled(prediction, value, delay, slice_delay=slice_delay, slices=slices, all_values=tuple(values))

    def _keys(self, settled: Settled) -> Iterator[tuple[QualityKey, bool]]:
        """Yield the keys that count a prediction, and whether without a label too."""
        prediction = settled.prediction
        window = prediction.time // self._window * self._window
        for text in ("", *prediction.slices):
            yield QualityKey(*prediction.ref, window, text), True
        if settled.value is not None:
            for text in settled.slices:
                yield QualityKey(*prediction.ref, window, text), False

    def _sums(self) -> dict[QualityKey, QualitySums]:
        items = [(key, whole, settled) for settled in self.settled for key, whole in self._keys(settled)]
        items.sort(key=lambda item: item[0])
        sums = {}
        for key, group in groupby(items, key=lambda item: item[0]):
            members = list(group)
            sums[key] = _summed([s for _, whole, s in members if whole], members)
        return sums


@dataclass(frozen=True)
class Shadow:
    """A pair of predictions of two classes."""

    offset: int
    hash: int
    time: int
    ref: ShadowRef
    served: float
    shadow: float
    block: int


def paired_sums(
    shadows: Sequence[Shadow], labels: Sequence[Label], rules: JoinRules
) -> dict[tuple[ShadowRef, int], PairedSums]:
    """Return the comparisons of shadows when all of these rows have been read."""
    sums: dict[tuple[ShadowRef, int], PairedSums] = {}
    counted: list[Shadow] = []
    maxima = list(accumulate((label.time for label in labels), max))
    for row, maximum in zip(shadows, accumulate((shadow.time for shadow in shadows), max), strict=True):
        same = [other for other in counted if (other.hash, other.ref) == (row.hash, row.ref)]
        if any(maximum <= other.time + rules.horizon_ms for other in same):
            continue
        if maximum > row.time + rules.horizon_ms:
            continue
        counted.append(row)
        values = [
            meaning(row.ref.served_ref, label.value)
            for label, label_maximum in zip(labels, maxima, strict=True)
            if label.hash == row.hash
            and label.model in (None, row.ref.model)
            and label_maximum <= row.time + rules.horizon_ms
            and maximum <= label_maximum + rules.early_ms
        ]
        known = [value for value in values if value is not None]
        if known:
            key = row.ref, row.time // rules.window_ms * rules.window_ms
            served, shadow = (
                PredictedBy(np.array([[score]], np.float32), np.array([score > 0.5]))
                for score in (row.served, row.shadow)
            )
            sums.setdefault(key, PairedSums(Task.BINARY, served=row.ref.served)).add_pairs(
                np.array([row.block]), served, shadow, np.array(known[-1:])
            )
    return sums


def _summed(predicted: Sequence[Settled], members: Sequence[tuple[QualityKey, bool, Settled]]) -> QualitySums:
    task = TASKS[members[0][2].prediction.ref]
    sums = QualitySums(task, NUM_CLASSES[task])
    sums.add_predictions(*_columns(predicted, task))
    delays = [s.delay if whole else s.slice_delay for _, whole, s in members if s.value is not None]
    matched = [s for _, _, s in members if s.value is not None]
    actual = np.array([s.value for s in matched], np.float64)
    sums.add_pairs(*_columns(matched, task), actual, np.array(delays, np.int64))
    return sums


def _columns(settled: Sequence[Settled], task: Task) -> tuple[np.ndarray, np.ndarray]:
    scores = np.array([s.prediction.scores for s in settled], np.float32).reshape(-1, NUM_SCORES[task])
    return scores, np.array([s.prediction.predicted for s in settled], np.int32)

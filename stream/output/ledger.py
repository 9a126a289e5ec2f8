"""The ledger of one commit: one outcome for every record, summed into deltas that can be added over any number of workers.

A delta counts the outcomes of one (bucket, outcome, stage, kind, model, version). Buckets are minutes of *record* timestamps,
because a record that is not an event has no event time. Deltas can be summed: counts add up, first and last seen are a minimum
and a maximum, samples and exemplars are limited.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import orjson

from forebay.schemas.failures import ABSTAINED, FAILURES, FailureKind, Outcome, Stage
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import TopicPartition
from forebay.stream.core.redaction import Redactor
from forebay.stream.output.call_log import CallLog
from forebay.stream.rollouts.performance import Performance

DELTA_BUCKET_MS = 60_000
MAX_SAMPLES = 5

Key = TypeVar("Key")


class DeltaKey(NamedTuple):
    """The key of a delta. window_start: start of the bucket, ms since the Unix epoch."""

    window_start: int
    outcome: Outcome
    stage: Stage
    kind: str
    model: str
    version: int


@dataclass(slots=True)
class Delta:
    """The count of one delta key. Times are record timestamps, ms since the Unix epoch."""

    count: int = 0
    first_seen: int = 2**63 - 1
    last_seen: int = 0
    sample_ids: list[str] = field(default_factory=list)
    exemplar: dict[str, str | None] | None = None

    def add(self, count: int, first_ms: int, last_ms: int) -> None:
        """Add outcomes whose record timestamps lie between `first_ms` and `last_ms`."""
        self.count += count
        self.first_seen = min(self.first_seen, first_ms)
        self.last_seen = max(self.last_seen, last_ms)


class ModelLedger:
    """The outcomes of one commit for one model.

    redactor: removes values of events from messages.
    now_ms: timestamp for records without one (negative), ms since the Unix epoch.
    passed, decided: numbers of records and of their outcomes, by input partition; they must be equal.
    closed, closed_decided: the same for windows.
    num_without_letter: for dead letters that represent several records, the number of records after the first.
    num_abstained: number of predictions, of events and windows, that are for review.
    calls: the model's calls, if their performance is measured.
    """

    def __init__(self, model: ModelRef, redactor: Redactor, *, now_ms: int) -> None:
        self._model = model
        self._redactor = redactor
        self._now_ms = now_ms
        self.deltas: dict[DeltaKey, Delta] = {}
        self.passed: defaultdict[TopicPartition, int] = defaultdict(int)
        self.decided: defaultdict[TopicPartition, int] = defaultdict(int)
        self.closed: defaultdict[TopicPartition, int] = defaultdict(int)
        self.closed_decided: defaultdict[TopicPartition, int] = defaultdict(int)
        self.outcomes: Counter[Outcome] = Counter()
        self.kinds: Counter[str] = Counter()
        self.num_without_letter = 0
        self.num_abstained = 0
        self.calls: CallLog | None = None
        self._good_timestamps: list[npt.NDArray[np.int64]] = []
        self._failed_timestamps: list[int] = []

    def add_predictions(
        self, partition: TopicPartition, record_timestamps: npt.NDArray[np.int64], *, abstained: bool = False
    ) -> None:
        """Add predicted rows. record_timestamps: ms, int64 [rows]; abstained: whether their predictions are for review."""
        self._add_good(Outcome.PREDICTED, Stage.EMIT, record_timestamps, abstained=abstained)
        self.decided[partition] += len(record_timestamps)
        self._good_timestamps.append(record_timestamps)

    def add_accepted(self, partition: TopicPartition, record_timestamps: npt.NDArray[np.int64]) -> None:
        """Add events that were accepted into windows. record_timestamps: ms, int64 [events]."""
        self._add_good(Outcome.ACCEPTED, Stage.WINDOW, record_timestamps)
        self.decided[partition] += len(record_timestamps)
        self._good_timestamps.append(record_timestamps)

    def add_window_predictions(
        self, partition: TopicPartition, count: int, record_timestamp: int, *, abstained: bool = False
    ) -> None:
        """Add predicted windows. record_timestamp: of the record that closed them, or the last one before."""
        timestamps = np.full(count, record_timestamp, dtype=np.int64)
        self._add_good(Outcome.WINDOW_PREDICTED, Stage.EMIT, timestamps, abstained=abstained)
        self.closed_decided[partition] += count

    def _add_good(
        self, outcome: Outcome, stage: Stage, record_timestamps: npt.NDArray[np.int64], *, abstained: bool = False
    ) -> None:
        count = len(record_timestamps)
        if not count:
            return
        self.outcomes[outcome] += count
        kind = ABSTAINED if abstained else outcome.value
        if abstained:
            self.num_abstained += count
        first_ms, last_ms = int(record_timestamps.min()), int(record_timestamps.max())
        if first_ms < 0:
            record_timestamps = np.where(record_timestamps < 0, self._now_ms, record_timestamps)
            first_ms, last_ms = int(record_timestamps.min()), int(record_timestamps.max())
        if first_ms // DELTA_BUCKET_MS == last_ms // DELTA_BUCKET_MS:
            self._delta_of(outcome, stage, kind, first_ms).add(count, first_ms, last_ms)
            return
        ordered = np.sort(record_timestamps)
        _, firsts = np.unique(ordered // DELTA_BUCKET_MS, return_index=True)
        bounds = [*firsts.tolist(), count]
        for start, end in pairwise(bounds):
            first_ms, last_ms = int(ordered[start]), int(ordered[end - 1])
            self._delta_of(outcome, stage, kind, first_ms).add(end - start, first_ms, last_ms)

    def add_failure(
        self,
        partition: TopicPartition,
        kind: FailureKind,
        record_timestamp: int,
        *,
        event_id: str | None,
        message: str,
        stack: str | None = None,
        count: int = 1,
    ) -> None:
        """Add a record that was rejected or late or whose row failed; or `count` records that one dead letter represents."""
        self.decided[partition] += count
        self.num_without_letter += count - 1
        self._failed_timestamps.append(record_timestamp)
        self._add_failed(
            FAILURES[kind].outcome,
            kind=kind,
            record_timestamp=record_timestamp,
            sample_id=event_id,
            message=message,
            stack=stack,
            count=count,
        )

    def add_window_failure(
        self,
        partition: TopicPartition,
        kind: FailureKind,
        record_timestamp: int,
        *,
        window_id: str,
        message: str,
        stack: str | None = None,
    ) -> None:
        """Add a window without a prediction."""
        self.closed_decided[partition] += 1
        self._add_failed(
            Outcome.WINDOW_FAILED,
            kind=kind,
            record_timestamp=record_timestamp,
            sample_id=window_id,
            message=message,
            stack=stack,
        )

    def _add_failed(
        self,
        outcome: Outcome,
        kind: FailureKind,
        record_timestamp: int,
        sample_id: str | None,
        message: str,
        stack: str | None,
        count: int = 1,
    ) -> None:
        self.outcomes[outcome] += count
        self.kinds[kind.value] += count
        if record_timestamp < 0:
            record_timestamp = self._now_ms
        bucket_start = record_timestamp // DELTA_BUCKET_MS * DELTA_BUCKET_MS
        stage = FAILURES[kind].stage
        delta = self._delta(DeltaKey(bucket_start, outcome, stage, kind.value, *self._model))
        delta.add(count, record_timestamp, record_timestamp)
        if sample_id is not None and len(delta.sample_ids) < MAX_SAMPLES:
            delta.sample_ids.append(sample_id[:200])
        if delta.exemplar is None:
            delta.exemplar = {
                "message": self._redactor.message(message),
                "stack_hash": None if stack is None else hashlib.sha256(stack.encode()).hexdigest()[:16],
                "stack": None if stack is None else self._redactor.stack(stack),
            }

    def record_timestamps(self) -> npt.NDArray[np.int64]:
        """Return the timestamp of every record, int64 [records], in arbitrary order."""
        return np.concatenate([*self._good_timestamps, np.array(self._failed_timestamps, dtype=np.int64)])

    def latencies_ms(self, *, wall_ms: int) -> npt.NDArray[np.float64]:
        """Return the age at `wall_ms` of every record with a timestamp, float64 [records], in arbitrary order."""
        return _ages_ms(self.record_timestamps(), wall_ms)

    def unbalanced(self) -> dict[TopicPartition, tuple[int, int]]:
        """Return (passed, decided) of the partitions in which they differ, for records, else for windows.

        Not empty only if there is a bug.
        """
        return {
            partition: (passed.get(partition, 0), decided.get(partition, 0))
            for passed, decided in ((self.closed, self.closed_decided), (self.passed, self.decided))
            for partition in passed.keys() | decided.keys()
            if passed.get(partition, 0) != decided.get(partition, 0)
        }

    def _delta_of(self, outcome: Outcome, stage: Stage, kind: str, timestamp: int) -> Delta:
        start = timestamp // DELTA_BUCKET_MS * DELTA_BUCKET_MS
        return self._delta(DeltaKey(start, outcome, stage, kind, *self._model))

    def _delta(self, key: DeltaKey) -> Delta:
        delta = self.deltas.get(key)
        if delta is None:
            delta = self.deltas[key] = Delta()
        return delta


class Ledger:
    """The outcomes of one commit: a ledger for each model, and their sums.

    now_ms: timestamp for records without one (negative), ms since the Unix epoch.
    """

    def __init__(self, *, now_ms: int = 0) -> None:
        self._now_ms = now_ms
        self._models: dict[ModelRef, ModelLedger] = {}

    @property
    def models(self) -> Mapping[ModelRef, ModelLedger]:
        """The ledgers of the models that took part in the commit."""
        return self._models

    def of(self, model: ModelRef, redactor: Redactor | None = None) -> ModelLedger:
        """Return the ledger of a model, which is created at the first call, with `redactor`."""
        ledger = self._models.get(model)
        if ledger is None:
            ledger = self._models[model] = ModelLedger(model, redactor or Redactor(), now_ms=self._now_ms)
        return ledger

    @property
    def deltas(self) -> dict[DeltaKey, Delta]:
        """The deltas of all models, whose keys differ in the model."""
        return {key: delta for ledger in self._models.values() for key, delta in ledger.deltas.items()}

    @property
    def passed(self) -> Counter[TopicPartition]:
        """Sum of the numbers of records, by input partition."""
        return _sum(ledger.passed for ledger in self._models.values())

    @property
    def decided(self) -> Counter[TopicPartition]:
        """Sum of the numbers of outcomes of records, by input partition."""
        return _sum(ledger.decided for ledger in self._models.values())

    @property
    def closed(self) -> Counter[TopicPartition]:
        """Sum of the numbers of windows, by input partition."""
        return _sum(ledger.closed for ledger in self._models.values())

    @property
    def closed_decided(self) -> Counter[TopicPartition]:
        """Sum of the numbers of outcomes of windows, by input partition."""
        return _sum(ledger.closed_decided for ledger in self._models.values())

    @property
    def outcomes(self) -> Counter[Outcome]:
        """Sum of the outcomes."""
        return _sum(ledger.outcomes for ledger in self._models.values())

    @property
    def kinds(self) -> Counter[str]:
        """Sum of the failures by kind."""
        return _sum(ledger.kinds for ledger in self._models.values())

    @property
    def num_without_letter(self) -> int:
        """Sum of the numbers of records without a dead letter of their own."""
        return sum(ledger.num_without_letter for ledger in self._models.values())

    def latencies_ms(self, *, wall_ms: int) -> npt.NDArray[np.float64]:
        """Return the age at `wall_ms` of every record with a timestamp, float64 [records], in arbitrary order."""
        timestamps = [ledger.record_timestamps() for ledger in self._models.values()]
        return _ages_ms(np.concatenate([np.empty(0, dtype=np.int64), *timestamps]), wall_ms)

    def unbalanced(self) -> dict[TopicPartition, tuple[int, int]]:
        """Return (passed, decided) of the partitions in which they differ for a model. Not empty only if there is a bug.

        Each model is checked by itself: the surplus of one does not hide what another lacks.
        """
        return {
            partition: counts for ledger in self._models.values() for partition, counts in ledger.unbalanced().items()
        }


def _sum(counters: Iterable[Mapping[Key, int]]) -> Counter[Key]:
    total: Counter[Key] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _ages_ms(timestamps: npt.NDArray[np.int64], wall_ms: int) -> npt.NDArray[np.float64]:
    # Clocks differ between machines: an event from the future has age 0.
    ages_ms: npt.NDArray[np.int64] = np.maximum(wall_ms - timestamps[timestamps >= 0], 0)
    return ages_ms.astype(np.float64)


def encode_delta(
    key: DeltaKey, delta: Delta, *, worker: str, performance: Performance | None = None
) -> tuple[bytes, bytes]:
    """Return the record key and JSON value of a delta. performance: of all calls of the model in the commit, in one delta."""
    value: dict[str, object] = {
        "format": 1,
        "window_start": key.window_start,
        "window_end": key.window_start + DELTA_BUCKET_MS,
        "outcome": key.outcome.value,
        "stage": key.stage.value,
        "kind": key.kind,
        "model": key.model,
        "version": key.version,
        "count": delta.count,
        "first_seen": delta.first_seen,
        "last_seen": delta.last_seen,
        "sample_ids": delta.sample_ids,
        "exemplar": delta.exemplar,
        "worker": worker,
    }
    if performance is not None:
        value["performance"] = performance.to_json()
    # Outcome and kind are not in the key, so that all counts of a rate are in one partition.
    return f"{key.window_start}|{key.model}|{key.version}".encode(), orjson.dumps(value)

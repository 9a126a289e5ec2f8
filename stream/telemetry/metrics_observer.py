"""Metrics from the stages' observer calls: a few additions per poll, micro-batch and commit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from forebay.schemas.failures import FAILURES, FailureKind, Outcome
from forebay.stream.core.clock import Clock
from forebay.stream.core.device_call import DeviceCall
from forebay.stream.core.errors import CommitRefused, CommitTimeout
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, Chunk, MicroBatch, Record, TopicPartition
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry import device_catalogue as device
from forebay.stream.telemetry.metric_store import EventExemplar, Exemplar, MetricStore

ExemplarOf = Callable[[MicroBatch, float], Exemplar | None]
"""Returns an exemplar for a value of a micro-batch; None if the batch is not traced."""


class MetricsRecorder:
    """Records the metrics of a worker, by served model."""

    def __init__(
        self,
        store: MetricStore,
        *,
        models: Sequence[ModelRef],
        transactional: bool,
        clock: Clock,
        exemplar_of: ExemplarOf,
    ) -> None:
        self._store = store
        self._transactional = transactional
        self._clock = clock
        self._exemplar_of = exemplar_of
        self.last_read_ms: dict[TopicPartition, int] = {}
        for model in models:
            self.add_model(model)
        for result in ("committed", "refused", "timeout", "failed", "given_up"):
            store.add(c.COMMITS, 0, (result,))
            if transactional and result != "committed":
                store.add(c.TRANSACTION_ABORTS, 0, (result,))

    def add_model(self, model: ModelRef) -> None:
        """Record the outcomes of a model from 0: a rate needs a first value."""
        for outcome in Outcome:
            self._store.add(_counter_of(outcome), 0, (outcome.value, *model_labels(model)))

    def on_polled(self, chunks: Sequence[Chunk], *, received_s: float, decoded_s: float) -> None:
        num_records: Counter[ModelRef] = Counter()
        last_records: dict[TopicPartition, Record] = {}
        for chunk in chunks:
            topic = (chunk.partition.topic,)
            self._store.add(c.RECEIVED_EVENTS, chunk.num_passed, topic)
            self._store.add(c.RECEIVED_BYTES, chunk.num_bytes, topic)
            num_records[chunk.model] += chunk.num_records
            last, before = _last_record(chunk), last_records.get(chunk.partition)
            if last is not None and (before is None or last.offset > before.offset):
                last_records[chunk.partition] = last
        for partition, record in last_records.items():
            if record.timestamp >= 0:
                self.last_read_ms[partition] = record.timestamp
        total = num_records.total()
        for model, count in num_records.items():
            if count:
                share_s = (decoded_s - received_s) * (count / total)
                self._store.observe(c.DECODE_DURATION, share_s, model_labels(model))

    def on_batch_closed(self, batch: MicroBatch) -> None:
        labels = model_labels(batch.model)
        self._store.add(c.BATCHES, 1, (batch.reason, *labels))
        self._store.observe(c.BATCH_SIZE, batch.num_records, labels)

    def on_result(self, result: BatchResult) -> None:
        batch, labels = result.batch, model_labels(result.model)
        for metric, value in (
            (c.QUEUE_DURATION, max(0.0, result.started_s - batch.opened_s)),
            (c.PREPARE_DURATION, result.prepare_s),
            (c.MODEL_DURATION, result.model_s),
        ):
            self._store.observe(metric, value, labels, exemplar=self._exemplar_of(batch, value))
        if result.device_call is not None:
            self._record_device_call(result.device_call, labels)

    def _record_device_call(self, call: DeviceCall, labels: tuple[str, str]) -> None:
        store = self._store
        store.add(device.BATCHES, 1, (str(call.bucket), "graph" if call.is_graph else "eager", *labels))
        store.add(device.ROWS, call.num_rows, ("event", *labels))
        store.add(device.ROWS, call.num_padding, ("padding", *labels))
        store.observe(device.WAIT, call.wait_s, labels)

    def on_committed(
        self,
        batches: Sequence[BatchResult],
        ledger: Ledger,
        times: CommitTimes,
        exemplars: Sequence[EventExemplar],
    ) -> None:
        """Record a commit. exemplars: of sampled events; their values are set here."""
        store = self._store
        store.add(c.COMMITS, 1, ("committed",))
        for step, step_s in times.durations_s().items():
            store.observe(c.COMMIT_STEP_DURATION, step_s, (step,))
        duration_s = times.end - times.began
        for batch in _first_batches(batches):
            exemplar = self._exemplar_of(batch, duration_s)
            store.observe(c.COMMIT_DURATION, duration_s, model_labels(batch.model), exemplar=exemplar)
        now_ms = self._clock.wall_ms()
        for model, of_model in ledger.models.items():
            labels = model_labels(model)
            for outcome, count in of_model.outcomes.items():
                store.add(_counter_of(outcome), count, (outcome.value, *labels))
            for kind, count in of_model.kinds.items():
                store.add(c.ERRORS, count, (kind, FAILURES[FailureKind(kind)].stage.value, *labels))
            if of_model.num_abstained:
                store.add(c.ABSTENTIONS, of_model.num_abstained, labels)
            store.observe_many(
                c.EVENT_LATENCY,
                of_model.latencies_ms(wall_ms=now_ms) / 1000,
                labels,
                exemplars=tuple(
                    sampled.exemplar._replace(value=max(0, now_ms - sampled.timestamp) / 1000)
                    for sampled in exemplars
                    if sampled.model == model and sampled.timestamp >= 0
                ),
            )

    def on_commit_failed(self, error: BaseException) -> None:
        result = _result(error)
        self._store.add(c.COMMITS, 1, (result,))
        if self._transactional:
            self._store.add(c.TRANSACTION_ABORTS, 1, (result,))

    def retain(self, partitions: Mapping[TopicPartition, object]) -> None:
        """Keep only these partitions; the others are no longer assigned."""
        self.last_read_ms = {
            partition: last_ms for partition, last_ms in self.last_read_ms.items() if partition in partitions
        }


def model_labels(model: ModelRef) -> tuple[str, str]:
    """Return the values of the labels `model` and `version`."""
    return model.name, str(model.version)


def _counter_of(outcome: Outcome) -> c.Counter:
    return c.WINDOWS if outcome.of_window else c.EVENTS


def _result(error: BaseException) -> str:
    if isinstance(error, CommitRefused):
        return "refused"
    if isinstance(error, CommitTimeout):
        return "timeout"
    return "given_up" if isinstance(error, asyncio.CancelledError) else "failed"


def _first_batches(batches: Sequence[BatchResult]) -> Iterable[MicroBatch]:
    """Return the first micro-batch of each model."""
    first: dict[ModelRef, MicroBatch] = {}
    for result in batches:
        first.setdefault(result.model, result.batch)
    return first.values()


def _last_record(chunk: Chunk) -> Record | None:
    """Return the last record of a chunk, valid or not."""
    last_good = chunk.records[-1] if chunk.records else None
    last_bad = chunk.rejections[-1].record if chunk.rejections else None
    if last_good is None or (last_bad is not None and last_bad.offset > last_good.offset):
        return last_bad
    return last_good

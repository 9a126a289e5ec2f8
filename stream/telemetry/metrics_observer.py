"""Metrics from the stages' observer calls: a few additions per poll, micro-batch and commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from forebay.schemas.failures import FAILURES, FailureKind, Outcome
from forebay.stream.core.clock import Clock
from forebay.stream.core.errors import CommitRefused, CommitTimeout
from forebay.stream.core.records import BatchResult, Chunk, MicroBatch, TopicPartition
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.metric_store import Exemplar, Labels, MetricStore

ExemplarOf = Callable[[MicroBatch, float], Exemplar | None]
"""Returns an exemplar for a value of a micro-batch; None if the batch is not traced."""


class MetricsRecorder:
    """Records the metrics of one model version."""

    def __init__(
        self,
        store: MetricStore,
        *,
        model: str,
        version: int,
        transactional: bool,
        clock: Clock,
        exemplar_of: ExemplarOf,
    ) -> None:
        self._store = store
        self._model: Labels = (model, str(version))
        self._transactional = transactional
        self._clock = clock
        self._exemplar_of = exemplar_of
        self.last_read_ms: dict[TopicPartition, int] = {}
        for outcome in Outcome:  # a rate needs a first value of 0
            store.add(_counter_of(outcome), 0, (outcome.value, *self._model))
        for result in ("committed", "refused", "timeout", "failed", "given_up"):
            store.add(c.COMMITS, 0, (result,))
            if transactional and result != "committed":
                store.add(c.TRANSACTION_ABORTS, 0, (result,))

    def on_polled(self, chunks: Sequence[Chunk], *, received_s: float, decoded_s: float) -> None:
        for chunk in chunks:
            topic = (chunk.partition.topic,)
            self._store.add(c.RECEIVED_EVENTS, chunk.num_passed, topic)
            self._store.add(c.RECEIVED_BYTES, chunk.num_bytes, topic)
            if (last_ms := _last_timestamp(chunk)) >= 0:
                self.last_read_ms[chunk.partition] = last_ms
        self._store.observe(c.DECODE_DURATION, decoded_s - received_s, self._model)

    def on_batch_closed(self, batch: MicroBatch) -> None:
        self._store.add(c.BATCHES, 1, (batch.reason, *self._model))
        self._store.observe(c.BATCH_SIZE, batch.num_records, self._model)

    def on_result(self, result: BatchResult) -> None:
        batch = result.batch
        for metric, value in (
            (c.QUEUE_DURATION, max(0.0, result.started_s - batch.opened_s)),
            (c.PREPARE_DURATION, result.prepare_s),
            (c.MODEL_DURATION, result.model_s),
        ):
            self._store.observe(metric, value, self._model, exemplar=self._exemplar_of(batch, value))

    def on_committed(
        self,
        batches: Sequence[BatchResult],
        ledger: Ledger,
        times: CommitTimes,
        exemplars: Sequence[tuple[int, Exemplar]],
    ) -> None:
        """Record a commit. exemplars: of sampled events, with their record timestamps; their values are set here."""
        store = self._store
        store.add(c.COMMITS, 1, ("committed",))
        for outcome, count in ledger.outcomes.items():
            store.add(_counter_of(outcome), count, (outcome.value, *self._model))
        for kind, count in ledger.kinds.items():
            store.add(c.ERRORS, count, (kind, FAILURES[FailureKind(kind)].stage.value, *self._model))
        duration_s = times.end - times.began
        store.observe(
            c.COMMIT_DURATION, duration_s, self._model, exemplar=self._exemplar_of(batches[0].batch, duration_s)
        )
        for step, step_s in times.durations_s().items():
            store.observe(c.COMMIT_STEP_DURATION, step_s, (step,))
        now_ms = self._clock.wall_ms()
        store.observe_many(
            c.EVENT_LATENCY,
            ledger.latencies_ms(wall_ms=now_ms) / 1000,
            self._model,
            exemplars=tuple(
                exemplar._replace(value=max(0, now_ms - timestamp) / 1000)
                for timestamp, exemplar in exemplars
                if timestamp >= 0
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


def _counter_of(outcome: Outcome) -> c.Counter:
    return c.WINDOWS if outcome.of_window else c.EVENTS


def _result(error: BaseException) -> str:
    if isinstance(error, CommitRefused):
        return "refused"
    if isinstance(error, CommitTimeout):
        return "timeout"
    return "given_up" if isinstance(error, asyncio.CancelledError) else "failed"


def _last_timestamp(chunk: Chunk) -> int:
    """Return the timestamp of the last record of a chunk, valid or not."""
    last_good = chunk.records[-1] if chunk.records else None
    last_bad = chunk.rejections[-1].record if chunk.rejections else None
    if last_good is None or (last_bad is not None and last_bad.offset > last_good.offset):
        assert last_bad is not None
        return last_bad.timestamp
    return last_good.timestamp

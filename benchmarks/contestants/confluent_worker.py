"""A carefully written worker with confluent-kafka: consume, predict a batch, produce, flush, commit.

By default, each batch is flushed and committed before the next one is consumed, as in most examples. With `PIPELINED_COMMIT_S`
between commits, librdkafka sends one batch while the next one is predicted (`confluent_pipelined`). With `exactly_once`, a
commit is a transaction with the predictions and the offsets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from benchmarks.contestants.job import (
    FETCH_MAX_BYTES,
    FETCH_MAX_WAIT_MS,
    FETCH_MIN_BYTES,
    MAX_BATCH_BYTES,
    MAX_PARTITION_FETCH_BYTES,
    PIPELINED_COMMIT_RECORDS,
    POLL_RECORDS,
    POLL_TIMEOUT_S,
    Job,
    Stopwatch,
)
from benchmarks.contestants.predict import Predictor


class Worker:
    """Consume, predict and produce.

    predict: turns the values of a batch into predictions.
    commit_interval_s: time between commits; 0 commits after each batch.
    """

    def __init__(self, job: Job, watch: Stopwatch, *, predict: Predictor, commit_interval_s: float) -> None:
        self._job = job
        self._watch = watch
        self._commit_interval_s = commit_interval_s
        self._predict = predict
        self._consumer = _make_consumer(job)
        self._producer = _make_producer(job)
        self._failed: list[object] = []
        self._ends: dict[int, int] = {}
        self._uncommitted = 0
        self._exactly_once = job.processing_guarantee == "exactly_once"

    def run(self) -> None:
        """Process events until the stopwatch has seen the last commit."""
        if self._exactly_once:
            self._producer.init_transactions(60)
        self._consumer.subscribe([self._job.features])
        commit_at_s = 0.0
        while self._watch.running:
            wait_s = max(0.0, commit_at_s - time.monotonic()) if self._uncommitted else POLL_TIMEOUT_S
            messages: list[Any] = self._consumer.consume(POLL_RECORDS, timeout=wait_s)
            if messages:
                self._watch.first()
                if not self._uncommitted:
                    commit_at_s = time.monotonic() + self._commit_interval_s
                    if self._exactly_once:
                        self._producer.begin_transaction()
                self._process(messages)
                self._producer.poll(0)
            due = self._uncommitted >= PIPELINED_COMMIT_RECORDS or time.monotonic() >= commit_at_s
            if self._uncommitted and due:
                self._commit()
        self._consumer.close()

    def _process(self, messages: Sequence[Any]) -> None:
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
        values = self._predict(
            [message.value() for message in messages],
            [(message.topic(), message.partition(), message.offset()) for message in messages],
        )
        for message, value in zip(messages, values, strict=True):
            partition = message.partition()
            if value is not None:
                self._produce(value, message.key(), partition)
            self._ends[partition] = message.offset() + 1
        self._uncommitted += len(messages)

    def _produce(self, value: bytes, key: bytes | None, partition: int) -> None:
        while True:
            try:
                self._producer.produce(
                    self._job.predictions, value, key=key, partition=partition, on_delivery=self._on_delivery
                )
                return
            except BufferError:  # the send queue is full
                self._producer.poll(0.01)

    def _on_delivery(self, error: object, _message: object) -> None:
        self._failed.append(error)

    def _commit(self) -> None:
        offsets = [TopicPartition(self._job.features, partition, end) for partition, end in self._ends.items()]
        if self._exactly_once:
            # It flushes, and fails if a prediction was not delivered.
            self._producer.send_offsets_to_transaction(offsets, self._consumer.consumer_group_metadata(), 60)
            self._producer.commit_transaction(60)
        elif self._producer.flush(60) or self._failed:
            raise RuntimeError(f"some predictions were not delivered: {self._failed[:1]}")
        else:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        self._watch.committed(self._uncommitted)
        self._ends, self._uncommitted = {}, 0


def _make_consumer(job: Job) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": job.bootstrap_servers,
            "group.id": job.group_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": FETCH_MAX_WAIT_MS,
            "fetch.min.bytes": FETCH_MIN_BYTES,
            "fetch.max.bytes": FETCH_MAX_BYTES,
            "max.partition.fetch.bytes": MAX_PARTITION_FETCH_BYTES,
            # The embedded broker ignores the two limits above and may return a whole backlog in one response.
            "receive.message.max.bytes": 1 << 30,
            # The pause of fetching when enough messages are queued. With the default of 1,000 ms, the worker runs out of
            # messages and waits for most of each second.
            "fetch.queue.backoff.ms": 10,
        }
    )


def _make_producer(job: Job) -> Producer:
    guarantee: dict[str, object] = {"enable.idempotence": job.idempotent}
    if job.processing_guarantee == "exactly_once":
        guarantee = {"transactional.id": job.group_id}
    return Producer(
        {
            "bootstrap.servers": job.bootstrap_servers,
            "acks": "all",
            **guarantee,
            "compression.type": "none",
            # The default. A flush does not wait for it. With 0 it would send many small batches and be slower.
            "linger.ms": 5,
            "batch.size": MAX_BATCH_BYTES,
            "message.max.bytes": MAX_BATCH_BYTES,
            "delivery.report.only.error": True,
        }
    )


def main(*, commit_interval_s: float = 0.0, make_predictor: Callable[[Job], Predictor] = Predictor) -> None:
    job = Job.from_command_line()
    watch = Stopwatch(job.events)
    Worker(job, watch, predict=make_predictor(job), commit_interval_s=commit_interval_s).run()
    watch.print_result()


if __name__ == "__main__":
    main()

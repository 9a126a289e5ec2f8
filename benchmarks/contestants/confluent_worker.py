"""The careful hand-written worker on confluent-kafka: consume, batch predict, produce, flush, commit.

Runs in two ways. By default each batch is flushed and committed before the next is consumed, as most examples do. With
`PIPELINED_COMMIT_S` between commits, librdkafka sends one batch while the next goes through the model (`confluent_pipelined`).
The only module here that imports confluent_kafka.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from benchmarks.contestants.job import (
    FETCH_MAX_BYTES,
    FETCH_MAX_WAIT_MS,
    FETCH_MIN_BYTES,
    MAX_BATCH_BYTES,
    MAX_PARTITION_FETCH_BYTES,
    POLL_RECORDS,
    POLL_TIMEOUT_S,
    Job,
    Stopwatch,
)
from benchmarks.contestants.predict import Predictor


class Worker:
    """Consumes, predicts and produces; flushes and commits at most every `commit_interval_s` (0: after each batch)."""

    def __init__(self, job: Job, watch: Stopwatch, *, commit_interval_s: float) -> None:
        self._job = job
        self._watch = watch
        self._commit_interval_s = commit_interval_s
        self._predict = Predictor(job)
        self._consumer = _make_consumer(job)
        self._producer = _make_producer(job)
        self._failed: list[object] = []
        self._ends: dict[int, int] = {}
        self._uncommitted = 0

    def run(self) -> None:
        """Work until the stopwatch has seen the last commit."""
        self._consumer.subscribe([self._job.features])
        commit_at_s = 0.0
        while self._watch.running:
            wait_s = max(0.0, commit_at_s - time.monotonic()) if self._uncommitted else POLL_TIMEOUT_S
            messages: list[Any] = self._consumer.consume(POLL_RECORDS, timeout=wait_s)
            if messages:
                self._watch.first()
                if not self._uncommitted:
                    commit_at_s = time.monotonic() + self._commit_interval_s
                self._process(messages)
                self._producer.poll(0)
            if self._uncommitted and time.monotonic() >= commit_at_s:
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
            except BufferError:  # the queue of what is to be sent is full
                self._producer.poll(0.01)

    def _on_delivery(self, error: object, _message: object) -> None:
        self._failed.append(error)

    def _commit(self) -> None:
        if self._producer.flush(60) or self._failed:
            raise RuntimeError(f"not everything was delivered: {self._failed[:1]}")
        self._consumer.commit(
            offsets=[TopicPartition(self._job.features, partition, end) for partition, end in self._ends.items()],
            asynchronous=False,
        )
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
            # The embedded broker ignores the two limits above and may answer with a whole backlog at once.
            "receive.message.max.bytes": 1 << 30,
            # How long fetching rests once enough is queued. At the default of 1,000 ms the worker runs out of messages
            # and waits for most of each second.
            "fetch.queue.backoff.ms": 10,
        }
    )


def _make_producer(job: Job) -> Producer:
    return Producer(
        {
            "bootstrap.servers": job.bootstrap_servers,
            "acks": "all",
            "enable.idempotence": job.idempotent,
            "compression.type": "none",
            # Its default. A flush does not wait for it; with 0 it would send many small batches, and be slower.
            "linger.ms": 5,
            "batch.size": MAX_BATCH_BYTES,
            "message.max.bytes": MAX_BATCH_BYTES,
            "delivery.report.only.error": True,
        }
    )


def main(*, commit_interval_s: float = 0.0) -> None:
    job = Job.from_command_line()
    watch = Stopwatch(job.events)
    Worker(job, watch, commit_interval_s=commit_interval_s).run()
    watch.tell()


if __name__ == "__main__":
    main()

"""The careful hand-written worker on confluent-kafka: consume, batch predict, produce, flush, commit.

The only module here that imports confluent_kafka.
"""

from __future__ import annotations

from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from benchmarks.contestants.job import (
    FETCH_MAX_BYTES,
    FETCH_MAX_WAIT_MS,
    FETCH_MIN_BYTES,
    MAX_BATCH_BYTES,
    MAX_PARTITION_FETCH_BYTES,
    POLL_RECORDS,
    Job,
    Stopwatch,
)
from benchmarks.contestants.predict import Predictor


def work(job: Job, watch: Stopwatch) -> None:
    predict = Predictor(job)
    consumer = Consumer(
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
            # By default it reads the whole topic ahead, and then asks for more of it all the time: slower here.
            "queued.min.messages": 10_000,
        }
    )
    failed: list[object] = []

    def on_delivery(error: object, _message: object) -> None:
        failed.append(error)

    producer = Producer(
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
    consumer.subscribe([job.features])
    while watch.running:
        messages: list[Any] = consumer.consume(POLL_RECORDS, timeout=0.5)
        if not messages:
            continue
        watch.first()
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
        values = predict(
            [message.value() for message in messages],
            [(message.topic(), message.partition(), message.offset()) for message in messages],
        )
        ends: dict[int, int] = {}
        for message, value in zip(messages, values, strict=True):
            partition = message.partition()
            if value is not None:
                producer.produce(
                    job.predictions, value, key=message.key(), partition=partition, on_delivery=on_delivery
                )
            ends[partition] = message.offset() + 1
        if producer.flush(60) or failed:
            raise RuntimeError(f"not everything was delivered: {failed[:1]}")
        consumer.commit(
            offsets=[TopicPartition(job.features, partition, end) for partition, end in ends.items()],
            asynchronous=False,
        )
        watch.committed(len(messages))
    consumer.close()


def main() -> None:
    job = Job.from_command_line()
    watch = Stopwatch(job.events)
    work(job, watch)
    watch.tell()


if __name__ == "__main__":
    main()

"""Start aiokafka's consumer and producer with Forebay's settings."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.contestants.job import (
    FETCH_MAX_BYTES,
    FETCH_MAX_WAIT_MS,
    FETCH_MIN_BYTES,
    MAX_BATCH_BYTES,
    MAX_PARTITION_FETCH_BYTES,
    Job,
)
from forebay.stream.kafka.patches.fetch_pacing import pace_fetches


async def start_consumer(job: Job) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        job.features,
        bootstrap_servers=job.bootstrap_servers,
        group_id=job.group_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        fetch_min_bytes=FETCH_MIN_BYTES,
        fetch_max_bytes=FETCH_MAX_BYTES,
        max_partition_fetch_bytes=MAX_PARTITION_FETCH_BYTES,
    )
    await consumer.start()
    # The embedded broker has no long polls. Without pacing, polling drained partitions uses a whole core.
    pace_fetches(consumer)
    return consumer


async def start_producer(job: Job) -> AIOKafkaProducer:
    guarantee: dict[str, object] = {"enable_idempotence": job.idempotent}
    if job.processing_guarantee == "exactly_once":
        guarantee = {"transactional_id": job.group_id}
    producer = AIOKafkaProducer(
        bootstrap_servers=job.bootstrap_servers,
        acks="all",
        **guarantee,
        compression_type=None,
        linger_ms=0,
        max_batch_size=MAX_BATCH_BYTES,
        max_request_size=MAX_BATCH_BYTES,
    )
    await producer.start()
    return producer

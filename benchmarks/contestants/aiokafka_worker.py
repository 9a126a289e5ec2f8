"""The careful hand-written worker on aiokafka: getmany, batch predict, send, await the deliveries, commit."""

from __future__ import annotations

import asyncio

from benchmarks.contestants.clients import start_consumer, start_producer
from benchmarks.contestants.job import POLL_RECORDS, Job, Stopwatch
from benchmarks.contestants.predict import Predictor


async def work(job: Job, watch: Stopwatch) -> None:
    predict = Predictor(job)
    producer = await start_producer(job)
    consumer = await start_consumer(job)
    while watch.running:
        polled = await consumer.getmany(timeout_ms=500, max_records=POLL_RECORDS)
        records = [record for part in polled.values() for record in part]
        if not records:
            continue
        watch.first()
        values = predict(
            [record.value for record in records],
            [(record.topic, record.partition, record.offset) for record in records],
        )
        deliveries = [
            await producer.send(job.predictions, value, key=record.key, partition=record.partition)
            for record, value in zip(records, values, strict=True)
            if value is not None
        ]
        await asyncio.gather(*deliveries)
        await consumer.commit({partition: part[-1].offset + 1 for partition, part in polled.items() if part})
        watch.committed(len(records))
    await consumer.stop()
    await producer.stop()


def main() -> None:
    job = Job.from_command_line()
    watch = Stopwatch(job.events)
    asyncio.run(work(job, watch))
    watch.tell()


if __name__ == "__main__":
    main()

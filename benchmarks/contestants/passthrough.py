"""Copy records with aiokafka in whole record batches, without JSON and model: the upper limit for the client.

While one batch is delivered and committed, the next one is read, so that only the client's own work remains.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contestants.clients import start_consumer, start_producer
from benchmarks.contestants.job import POLL_RECORDS, Job, Stopwatch

COMMIT_RECORDS = 8 * POLL_RECORDS


async def work(job: Job, watch: Stopwatch) -> None:
    producer = await start_producer(job)
    consumer = await start_consumer(job)

    async def pass_on(polls: Sequence[Mapping[Any, Sequence[Any]]]) -> None:
        by_partition: dict[Any, list[Any]] = {}
        for polled in polls:
            for partition, part in polled.items():
                by_partition.setdefault(partition, []).extend(part)
        deliveries = []
        for partition, records in by_partition.items():
            batch = producer.create_batch()
            for record in records:
                if batch.append(timestamp=record.timestamp, key=record.key, value=record.value) is None:
                    deliveries.append(await producer.send_batch(batch, job.predictions, partition=partition.partition))
                    batch = producer.create_batch()
                    batch.append(timestamp=record.timestamp, key=record.key, value=record.value)
            deliveries.append(await producer.send_batch(batch, job.predictions, partition=partition.partition))
        await asyncio.gather(*deliveries)
        await consumer.commit({partition: records[-1].offset + 1 for partition, records in by_partition.items()})
        watch.committed(sum(map(len, by_partition.values())))

    passing: asyncio.Task[None] | None = None
    waiting: list[Mapping[Any, Sequence[Any]]] = []
    num_waiting = 0
    while watch.running:
        polled = await consumer.getmany(timeout_ms=20, max_records=POLL_RECORDS)
        if polled:
            watch.first()
            waiting.append(polled)
            num_waiting += sum(map(len, polled.values()))
        else:
            await asyncio.sleep(0)
        if passing is not None and (passing.done() or num_waiting >= COMMIT_RECORDS):
            await passing
            passing = None
        if passing is None and waiting:
            passing = asyncio.create_task(pass_on(waiting))
            waiting, num_waiting = [], 0
    await consumer.stop()
    await producer.stop()


def main() -> None:
    job = Job.from_command_line()
    watch = Stopwatch(job.events)
    asyncio.run(work(job, watch))
    watch.print_result()


if __name__ == "__main__":
    main()

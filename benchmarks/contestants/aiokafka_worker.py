"""A carefully written worker with aiokafka: getmany, predict a batch, send, await the deliveries, commit.

By default, each batch is delivered and committed before the next one is read. With `PIPELINED_COMMIT_S` between commits,
deliveries continue while the next batches are predicted (`aiokafka_pipelined`). With `exactly_once`, a commit is a
transaction with the predictions and the offsets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.contestants.clients import start_consumer, start_producer
from benchmarks.contestants.job import POLL_RECORDS, POLL_TIMEOUT_S, Job, Stopwatch
from benchmarks.contestants.predict import Origin, Predictor

Predict = Callable[[Sequence[bytes], Sequence[Origin]], list[bytes | None]]


async def work(job: Job, watch: Stopwatch, predict: Predict, *, commit_interval_s: float) -> None:
    """Process events until the stopwatch has seen the last commit. commit_interval_s: 0 commits after each batch."""
    producer = await start_producer(job)
    consumer = await start_consumer(job)
    deliveries: list[asyncio.Future[Any]] = []
    ends: dict[Any, int] = {}
    uncommitted = 0
    commit_at_s = 0.0
    exactly_once = job.processing_guarantee == "exactly_once"
    while watch.running:
        wait_s = max(0.0, commit_at_s - time.monotonic()) if uncommitted else POLL_TIMEOUT_S
        polled = await consumer.getmany(timeout_ms=1000 * wait_s, max_records=POLL_RECORDS)
        records = [record for part in polled.values() for record in part]
        if records:
            watch.first()
            if not uncommitted:
                commit_at_s = time.monotonic() + commit_interval_s
                if exactly_once:
                    await producer.begin_transaction()
            values = predict(
                [record.value for record in records],
                [(record.topic, record.partition, record.offset) for record in records],
            )
            for record, value in zip(records, values, strict=True):
                if value is not None:
                    deliveries.append(
                        await producer.send(job.predictions, value, key=record.key, partition=record.partition)
                    )
            ends.update({partition: part[-1].offset + 1 for partition, part in polled.items() if part})
            uncommitted += len(records)
            await asyncio.sleep(0)  # a poll that finds records and a send do not yield to the sender task
        if uncommitted and time.monotonic() >= commit_at_s:
            await asyncio.gather(*deliveries)
            if exactly_once:
                await producer.send_offsets_to_transaction(ends, job.group_id)
                await producer.commit_transaction()
            else:
                await consumer.commit(ends)
            watch.committed(uncommitted)
            deliveries, ends, uncommitted = [], {}, 0
    await consumer.stop()
    await producer.stop()


def main(*, commit_interval_s: float = 0.0, make_predictor: Callable[[Job], Predict] = Predictor) -> None:
    job = Job.from_command_line()
    watch = Stopwatch(job.events)
    asyncio.run(work(job, watch, make_predictor(job), commit_interval_s=commit_interval_s))
    watch.print_result()


if __name__ == "__main__":
    main()

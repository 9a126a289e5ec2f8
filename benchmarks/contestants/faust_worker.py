"""Process events with Faust: `take_events(512)`, one batch through the model, send, and await all deliveries.

Faust commits in the background, here every 100 ms or 10,000 records.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import faust

from benchmarks.contestants.job import (
    MAX_BATCH_BYTES,
    MAX_PARTITION_FETCH_BYTES,
    PIPELINED_COMMIT_RECORDS,
    PIPELINED_COMMIT_S,
    POLL_RECORDS,
    Job,
    Stopwatch,
)
from benchmarks.contestants.predict import Predictor


def make_app(job: Job) -> faust.App:
    return faust.App(
        job.group_id,
        broker=f"aiokafka://{job.bootstrap_servers}",
        store="memory://",
        datadir=job.folder,
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        stream_buffer_maxsize=8 * POLL_RECORDS,
        broker_commit_interval=PIPELINED_COMMIT_S,
        broker_commit_every=PIPELINED_COMMIT_RECORDS,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=MAX_PARTITION_FETCH_BYTES,
        producer_acks=-1,
        # Messages that are sent one by one would become batches of one.
        producer_linger=0.005,
        producer_max_batch_size=MAX_BATCH_BYTES,
        producer_max_request_size=MAX_BATCH_BYTES,
    )


def attach(app: faust.App, job: Job, watch: Stopwatch, finished: asyncio.Event) -> None:
    """Predict batches, and stop the watch at the commit of the last event."""
    raw: dict[str, Any] = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    source, sink = app.topic(job.features, **raw), app.topic(job.predictions, **raw)
    predict = Predictor(job)

    @app.agent(source)
    async def process(stream: Any) -> None:
        async for events in stream.take_events(POLL_RECORDS, within=0.1):
            watch.first()
            messages = [event.message for event in events]
            values = predict(
                [message.value for message in messages],
                [(message.topic, message.partition, message.offset) for message in messages],
            )
            deliveries = [
                await sink.send(key=message.key, value=value, partition=message.partition)
                for message, value in zip(messages, values, strict=True)
                if value is not None
            ]
            await asyncio.gather(*deliveries)

    ends: dict[Any, int] = {}

    def on_commit(offsets: Mapping[Any, int]) -> None:
        # The topic begins at offset 0 and has no gaps, so that offsets are numbers of events.
        new = {partition: end for partition, end in offsets.items() if partition.topic == job.features}
        count = sum(end - ends.get(partition, 0) for partition, end in new.items())
        ends.update(new)
        if watch.committed(count):
            finished.set()

    app.monitor.on_tp_commit = on_commit  # type: ignore[method-assign, assignment]


async def work(job: Job, watch: Stopwatch) -> None:
    finished = asyncio.Event()
    app = make_app(job)
    attach(app, job, watch, finished)
    await app.start()
    await finished.wait()
    watch.print_result()
    # A stopping app waits for its services for a long time; everything is committed.
    os._exit(0)


def main() -> None:
    job = Job.from_command_line()
    asyncio.run(work(job, Stopwatch(job.events)))


if __name__ == "__main__":
    main()

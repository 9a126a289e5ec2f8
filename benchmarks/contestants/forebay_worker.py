"""Run the Forebay worker as `forebay run` does, with a stopwatch at both ends of the pipeline."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contestants.job import Job, Stopwatch
from forebay.stream.cli import main as forebay
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.totals import Totals


def attach(watch: Stopwatch) -> None:
    """Start the watch at the first records from the source. Stop it and the worker at the last commit."""
    poll, add = Source.poll, Totals.add

    async def timed_poll(self: Source, **bounds: Any) -> Mapping[TopicPartition, Sequence[Record]]:
        records = await poll(self, **bounds)
        if records:
            watch.first()
        return records

    def counting_add(self: Totals, ledger: Ledger, batches: int) -> None:
        add(self, ledger, batches)
        if watch.committed(sum(ledger.outcomes.values())):
            os.kill(os.getpid(), signal.SIGTERM)

    Source.poll = timed_poll  # type: ignore[method-assign]
    Totals.add = counting_add  # type: ignore[method-assign]


def run_worker(job: Job) -> int:
    """Run the worker until a signal stops it. Return its exit status."""
    overrides = (f"kafka.group_id={job.group_id}", f"delivery.processing_guarantee={job.processing_guarantee}")
    return forebay(["run", "-c", job.config, *(part for setting in overrides for part in ("--set", setting))])


def main() -> int:
    job = Job.from_command_line()
    watch = Stopwatch(job.events)
    attach(watch)
    status = run_worker(job)
    if status == 0:
        watch.print_result()
    return status


if __name__ == "__main__":
    sys.exit(main())

"""How many partitions the input topics have, found by a process of its own: the supervisor uses no Kafka client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import select
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from forebay.schemas.errors import ForebayError
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.stop_request import StopRequest
from forebay.stream.worker.cluster_checks import find_usable_layout


@dataclass(frozen=True, slots=True)
class PartitionQuery:
    """A process that finds the number of partitions. pid: of the process. result: the descriptor of its result."""

    pid: int
    result: int

    def wait(self) -> int | ForebayError:
        """Wait for the number, or for the error that keeps it from being found. Call it once."""
        with os.fdopen(self.result, "rb") as pipe:
            data = pipe.read()
        os.waitpid(self.pid, 0)
        found = pickle.loads(data) if data else None  # noqa: S301 - our own process
        return (
            found if isinstance(found, int | ForebayError) else ForebayError("the input topics could not be examined")
        )

    def cancel(self) -> None:
        """End the process, so that a `wait` in another thread returns. Call it only while that has not returned."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def count_partitions(settings: Settings) -> int:
    """Return the number of partitions of all input topics. Raises ForebayError if a worker could not run either."""

    async def find() -> int:
        layout = await find_usable_layout(settings, StopRequest(), clock=SystemClock())
        return sum(layout.input_partitions.values())

    return asyncio.run(find())


def fork_query(settings: Settings, count: Callable[[Settings], int] = count_partitions) -> PartitionQuery:
    """Fork the process from this one, which must have one thread and no event loop."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(writing)
        return PartitionQuery(pid, reading)
    try:
        os.close(reading)
        threading.Thread(target=_end_without_reader, args=(writing,), daemon=True).start()
        found: int | ForebayError
        try:
            found = count(settings)
        except ForebayError as error:
            found = error
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(pickle.dumps(found))
    finally:
        os._exit(0)


def _end_without_reader(writing: int) -> None:
    """End this process once no process can read its result, because the supervisor has ended."""
    poller = select.poll()
    poller.register(writing, 0)  # errors are always reported
    poller.poll()
    os._exit(0)

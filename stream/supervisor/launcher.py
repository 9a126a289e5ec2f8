"""The supervisor's connection to its template process, which starts the children and reports their ends."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from typing import Any, Protocol

from forebay.schemas.errors import ForebayError
from forebay.stream.supervisor.template_process import (
    LENGTH,
    Ended,
    NotStarted,
    SignalRequest,
    Started,
    StartRequest,
    Template,
)


class StartError(ForebayError):
    """The system did not start a process."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(
            f"process {number} could not be started: {reason}",
            kind="process_not_started",
            remedy="start fewer processes, or raise the limits of memory and of processes",
        )


class Launcher(Protocol):
    """What starts children."""

    async def start(self, number: int, job: Any, *, kill_after_s: float) -> int: ...
    async def wait_ended(self, number: int) -> int: ...
    def signal(self, pid: int, number: int) -> None: ...


class TemplateLauncher:
    """Starts children by forking the template. At most one process of each number runs at a time.

    lost: has an error once the template process has ended although it should not.
    """

    def __init__(self, template: Template, loop: asyncio.AbstractEventLoop) -> None:
        self._template = template
        self._loop = loop
        self.lost: asyncio.Future[None] = loop.create_future()
        self._started: dict[int, asyncio.Future[int]] = {}
        self._ended: dict[int, asyncio.Future[int]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Begin to read reports."""
        reader, self._writer = await asyncio.open_connection(sock=self._template.control)
        self._reading = asyncio.create_task(self._read(reader))

    async def start(self, number: int, job: Any, *, kill_after_s: float) -> int:
        """Start a child and return its process id.

        kill_after_s: it is killed if it still runs this long after the end of this process.

        Raises StartError.
        """
        self._started[number] = self._loop.create_future()
        self._ended[number] = self._loop.create_future()
        self._send(StartRequest(number, job, kill_after_s))
        return await self._started[number]

    async def wait_ended(self, number: int) -> int:
        """Wait until the child has ended, and return its status: negative for a signal."""
        return await asyncio.shield(self._ended[number])

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a child, unless it has ended."""
        self._send(SignalRequest(pid, number))

    async def close(self) -> None:
        """Close the connection, after which the template ends, and wait for its end."""
        os.close(self._template.lifeline)
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        if self._writer is not None:
            self._writer.close()
        await asyncio.to_thread(os.waitpid, self._template.pid, 0)

    def _send(self, message: StartRequest | SignalRequest) -> None:
        assert self._writer is not None
        data = pickle.dumps(message)
        self._writer.write(LENGTH.pack(len(data)) + data)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                self._take(pickle.loads(await reader.readexactly(length)))  # noqa: S301 - our own process
        except (asyncio.IncompleteReadError, ConnectionError):
            if not self.lost.done():
                self.lost.set_exception(
                    ForebayError(
                        "the process that starts workers was killed",
                        kind="template_lost",
                        remedy="find out who killed it: if it was the system, for lack of memory, start fewer processes",
                    )
                )

    def _take(self, message: Started | NotStarted | Ended) -> None:
        waiting = (self._ended if isinstance(message, Ended) else self._started)[message.number]
        if waiting.done():  # the wait was cancelled
            return
        if isinstance(message, NotStarted):
            waiting.set_exception(StartError(message.number, message.reason))
        else:
            waiting.set_result(message.pid if isinstance(message, Started) else message.status)


def kill_at_once(pids: list[int]) -> None:
    """Kill processes without waiting for their ends."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue

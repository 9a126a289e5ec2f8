"""The thread of a shadow. It has a lower priority than the threads of the stream."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence

from forebay.stream.core.clock import Clock
from forebay.stream.core.redaction import Redactor
from forebay.stream.core.thread_priority import lower_priority
from forebay.stream.inference.device_thread import THREAD_PREFIX
from forebay.stream.shadows.job import OnOutcome, ShadowJob, ShadowOutcome
from forebay.stream.shadows.work import ShadowWork


class ShadowThread:
    """A `ShadowExecutor` with a daemon thread, so that a call that hangs does not keep the process alive."""

    def __init__(
        self, work: ShadowWork, *, on_outcome: OnOutcome, clock: Clock, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._work = work
        self._on_outcome = on_outcome
        self._clock = clock
        self._loop = loop
        self._jobs: queue.SimpleQueue[ShadowJob | None] = queue.SimpleQueue()
        self._job_started_s: float | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"{THREAD_PREFIX}-shadow", daemon=True)

    async def start(self, warm_up_sizes: Sequence[int]) -> None:
        warm: asyncio.Future[None] = self._loop.create_future()
        self._warm_up = (tuple(warm_up_sizes), warm)
        self._job_started_s = self._clock.monotonic_s()
        self._thread.start()
        await warm

    def submit(self, job: ShadowJob) -> None:
        self._jobs.put(job)

    def running_for_s(self) -> float:
        started_s = self._job_started_s
        return 0.0 if started_s is None else self._clock.monotonic_s() - started_s

    def stop(self) -> None:
        self._stopped = True
        self._jobs.put(None)

    def _run(self) -> None:
        lower_priority()
        sizes, warm = self._warm_up
        try:
            self._work.warm_up(sizes)
        except BaseException as error:
            self._post(_fail, warm, error)
            return
        finally:
            self._job_started_s = None
        self._post(_succeed, warm)
        while (job := self._jobs.get()) is not None and not self._stopped:
            started_s = self._job_started_s = self._clock.monotonic_s()
            try:
                outcome = self._work.run(job)
            except BaseException as error:  # of our own code or of the model's: neither may reach the stream
                message = Redactor().message(f"{type(error).__name__}: {error}")
                outcome = ShadowOutcome(job, self._clock.monotonic_s() - started_s, fault=message)
            self._job_started_s = None
            self._post(self._on_outcome, outcome)

    def _post(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the event loop is closed: the worker has ended
            self.stop()


def _succeed(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)

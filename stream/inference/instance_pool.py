"""Several instances of one model, each on a thread of its own, that take micro-batches from one queue.

It helps where a call keeps the interpreter lock free for most of its time and takes some milliseconds: operators of torch and
ONNX Runtime release it. For short calls one instance is better, whose result the event loop waits for (`device_thread`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

from forebay.models.backends.protocol import Model
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import BatchResult, MicroBatch
from forebay.stream.inference.ad_hoc import AdHocBatch, fail, resolve, succeed
from forebay.stream.inference.arrivals import Arrivals
from forebay.stream.inference.batch_runner import BatchRunner
from forebay.stream.inference.decision import DecisionLayer
from forebay.stream.inference.device_thread import THREAD_PREFIX, OnFatal
from forebay.stream.inference.executor import Deferred
from forebay.stream.inference.instance_schedule import InstanceSchedule, InstanceStatus


class InstancePool:
    """An `Executor` with a thread for each instance of a model. Results arrive in any order.

    models: the instances, each with a runner of its own.
    breaker: of the version; `instance_schedule` says what counts for it.
    backoff: how long an instance that could not run takes nothing.
    on_fatal: called if a thread dies of an error not caused by the data.
    cpu_time, decision: as in `BatchRunner`.
    """

    def __init__(
        self,
        models: Sequence[Model],
        *,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        breaker: CircuitBreaker,
        backoff: Backoff,
        on_fatal: OnFatal,
        cpu_time: Callable[[], float] = time.thread_time,
        decision: DecisionLayer | None = None,
    ) -> None:
        self._runners = [BatchRunner(model, clock, cpu_time=cpu_time, decision=decision) for model in models]
        self._clock = clock
        self._loop = loop
        self._on_fatal = on_fatal
        self._schedule = InstanceSchedule(len(models), breaker=breaker, backoff=backoff)
        self._changed = threading.Condition()  # guards the schedule and `_stopping`
        self._stopping = False
        self._ad_hoc_lock = asyncio.Lock()
        self._arrivals: Arrivals[tuple[int, BatchResult | Deferred]] = Arrivals(loop)

    async def start(self, warm_up_sizes: Sequence[int]) -> None:
        """Start the threads and warm up each instance on its own, one after the other. Raises the error of the model."""
        for index in range(len(self._runners)):
            warm: asyncio.Future[None] = self._loop.create_future()
            threading.Thread(
                target=self._run,
                args=(index, tuple(warm_up_sizes), warm),
                name=f"{THREAD_PREFIX}-{index}",
                daemon=True,
            ).start()
            await warm

    def capacity(self) -> int:
        """Return how many micro-batches `submit` accepts now."""
        with self._changed:
            return self._schedule.capacity(self._clock.monotonic_s())

    def running_for_s(self) -> float:
        """Return how many seconds the longest running call has taken; 0 if all instances are idle."""
        with self._changed:
            return self._schedule.running_for_s(self._clock.monotonic_s())

    def statuses(self) -> tuple[InstanceStatus, ...]:
        """Return the status of each instance."""
        with self._changed:
            return self._schedule.statuses(self._clock.monotonic_s())

    def submit(self, batch: MicroBatch) -> None:
        """Submit a micro-batch. Requires `capacity`."""
        with self._changed:
            self._schedule.add(batch, self._clock.monotonic_s())
            # To all while one is suspended, which might be the one that a single notification wakes.
            self._changed.notify(len(self._runners) if self._schedule.any_suspended else 1)

    def collect(self) -> list[BatchResult | Deferred]:
        """Return the results that have arrived, in the order of their arrival."""
        collected: list[BatchResult | Deferred] = []
        with self._changed:
            now_s = self._clock.monotonic_s()
            while self._arrivals.results:
                index, result = self._arrivals.results.popleft()
                self._schedule.on_result(index, result, now_s)
                collected.append(result)
            if self._schedule.readmit(now_s):
                self._changed.notify_all()
        return collected

    async def wait(self, timeout_s: float | None = None) -> None:
        """Wait until there may be results, `wake` is called, or the timeout is over."""
        await self._arrivals.wait(timeout_s)

    def wake(self) -> None:
        """Make `wait` return."""
        self._arrivals.wake()

    async def submit_ad_hoc(self, batch: MicroBatch) -> BatchResult:
        """Run a micro-batch outside the stream, after those of the stream that were already submitted have begun.

        Only one runs at a time, so that the stream has the other instances. Breaker and backoff ignore it.
        Raises ModelFault if the model cannot run.
        """
        async with self._ad_hoc_lock:
            result: asyncio.Future[BatchResult] = self._loop.create_future()
            with self._changed:
                self._schedule.add_ad_hoc(AdHocBatch(batch, result))
                self._changed.notify_all()  # a suspended instance may take it
            return await result

    def stop(self) -> None:
        """End the threads once nothing is left that they may take. A hanging call does not keep the process alive."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _run(self, index: int, sizes: tuple[int, ...], warm: asyncio.Future[None]) -> None:
        runner = self._runners[index]
        try:
            runner.warm_up(sizes)
        except BaseException as error:
            self._post(fail, warm, error)
            return
        self._post(succeed, warm)
        while (taken := self._next(index)) is not None:
            item, started_s = taken
            ad_hoc = item if isinstance(item, AdHocBatch) else None
            batch = item.batch if isinstance(item, AdHocBatch) else item
            if ad_hoc is not None and ad_hoc.result.cancelled():
                with self._changed:
                    self._schedule.end(index, started_s, deferred=False)
                continue
            try:
                result = runner.run(batch, started_s)
            except BaseException as error:
                self._post(self._on_fatal, error)
                return
            with self._changed:
                deferred = ad_hoc is None and isinstance(result, Deferred)
                self._schedule.end(index, self._clock.monotonic_s(), deferred=deferred)
                if ad_hoc is None:
                    self._arrivals.results.append((index, result))
            if ad_hoc is not None:
                self._post(resolve, ad_hoc.result, result)
            else:
                self._post(self._arrivals.wake)

    def _next(self, index: int) -> tuple[MicroBatch | AdHocBatch, float] | None:
        """Wait for what the instance runs next, and return it with the time; None if the thread has to end."""
        with self._changed:
            while True:
                now_s = self._clock.monotonic_s()
                item = self._schedule.take(index, now_s)
                if item is not None:
                    return item, now_s
                if self._stopping:
                    return None
                self._changed.wait()

    def _post(self, function: Callable[..., None], *arguments: object) -> None:
        if not self._arrivals.post(function, *arguments):
            self.stop()  # nothing waits for this result

"""The thread that owns the device: it takes micro-batches from a queue and returns the model's results.

The thread has one micro-batch more than the model runs at a time, so that the device does not wait for the event loop: usually
one in the model and one waiting. Torch releases the interpreter lock inside its operators, so heartbeats and decoding continue
meanwhile. A model whose calls overlap (`pipelined_calls`) has several on its device: the next one begins before the oldest is
finished.

If calls are short, `submit` waits up to one millisecond for the result. The operators of a small model take the interpreter
lock back a dozen times per batch, and competing for it with the decoding event loop would cost both more than the call itself.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from forebay.models.backends.protocol import Model
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import BatchResult, MicroBatch
from forebay.stream.inference.ad_hoc import AdHocBatch, fail, resolve, succeed
from forebay.stream.inference.arrivals import Arrivals
from forebay.stream.inference.decision import DecisionLayer
from forebay.stream.inference.executor import Deferred
from forebay.stream.inference.pipelined_calls import model_calls

SHORT_CALL_S = 0.001
THREAD_PREFIX: Final = "device"
"""The names of threads that run models begin with it."""

OnFatal = Callable[[BaseException], None]


class DeviceThread:
    """An `Executor` that runs one model on one thread.

    A micro-batch is returned as `Deferred` if the model could not run. Then there is no capacity for the time of `backoff` and,
    if `breaker` opens, until it permits a call. on_fatal is called if the thread dies of an error not caused by the data.
    cpu_time: returns the CPU seconds of the calling thread.
    decision: what becomes of the scores; None to use them as they are.
    """

    def __init__(
        self,
        model: Model,
        *,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        breaker: CircuitBreaker,
        backoff: Backoff,
        on_fatal: OnFatal,
        cpu_time: Callable[[], float] = time.thread_time,
        decision: DecisionLayer | None = None,
    ) -> None:
        self._calls = model_calls(model, clock=clock, cpu_time=cpu_time, decision=decision)
        self._max_outstanding = self._calls.depth + 1
        self._clock = clock
        self._loop = loop
        self._breaker = breaker
        self._backoff = backoff
        self._not_before_s = -math.inf
        self._on_fatal = on_fatal
        self._queue: queue.SimpleQueue[MicroBatch | AdHocBatch | None] = queue.SimpleQueue()
        self._ad_hoc_lock = asyncio.Lock()
        self._thread = threading.Thread(target=self._run, name=THREAD_PREFIX, daemon=True)
        self._outstanding = 0
        self._call_started_s: float | None = None
        self._usual_call_s = math.inf
        self._arrivals: Arrivals[BatchResult | Deferred] = Arrivals(loop)
        self._answered = threading.Event()
        self._loop_waits = False

    async def start(self, warm_up_sizes: Sequence[int]) -> None:
        """Start the thread and warm up the model on it. Raises the error of the model."""
        warm: asyncio.Future[None] = self._loop.create_future()
        self._warm_up = (tuple(warm_up_sizes), warm)
        self._thread.start()
        await warm

    def capacity(self) -> int:
        """Return how many micro-batches `submit` accepts now."""
        if self._outstanding >= self._max_outstanding:
            return 0
        now_s = self._clock.monotonic_s()
        if now_s < self._not_before_s or not self._breaker.allows(now_s):
            return 0
        return self._max_outstanding - self._outstanding

    def running_for_s(self) -> float:
        """Return how many seconds the current model call has been running; 0 if the device is idle."""
        started_s = self._call_started_s
        return 0.0 if started_s is None else self._clock.monotonic_s() - started_s

    def submit(self, batch: MicroBatch) -> None:
        """Submit a micro-batch. Requires `capacity`. Call `collect` next: a short call is already done by then."""
        self._outstanding += 1
        self._breaker.record_start(self._clock.monotonic_s())
        if self._usual_call_s >= SHORT_CALL_S or self._calls.depth > 1:
            self._queue.put(batch)
            return
        self._answered.clear()
        self._loop_waits = True
        self._queue.put(batch)
        self._answered.wait(SHORT_CALL_S)
        # The caller's `collect` finds a result that arrived before this line; the thread signals a later one.
        self._loop_waits = False

    def collect(self) -> list[BatchResult | Deferred]:
        """Return the results that have arrived, in the order of `submit`."""
        collected: list[BatchResult | Deferred] = []
        results = self._arrivals.results
        while results:
            result = results.popleft()
            self._outstanding -= 1
            if isinstance(result, Deferred):
                now_s = self._clock.monotonic_s()
                self._breaker.record_failure(now_s, result.reason)
                self._not_before_s = now_s + self._backoff.wait_s(self._breaker.failures)
            else:
                self._breaker.record_success()
                average_s = min(self._usual_call_s, 2 * SHORT_CALL_S)
                self._usual_call_s = average_s + 0.2 * (result.model_s - average_s)
            collected.append(result)
        return collected

    async def wait(self, timeout_s: float | None = None) -> None:
        """Wait until there may be results, `wake` is called, or the timeout is over."""
        await self._arrivals.wait(timeout_s)

    def wake(self) -> None:
        """Make `wait` return."""
        self._arrivals.wake()

    async def submit_ad_hoc(self, batch: MicroBatch) -> BatchResult:
        """Run a micro-batch outside the stream, after those of the stream that were already submitted.

        Only one runs at a time, so that the stream has its turns in between. Breaker and backoff ignore it.
        Raises ModelFault if the model cannot run.
        """
        async with self._ad_hoc_lock:
            result: asyncio.Future[BatchResult] = self._loop.create_future()
            self._queue.put(AdHocBatch(batch, result))
            return await result

    def stop(self) -> None:
        """End the thread after its current work. It is a daemon thread, so a hanging call does not keep the process alive."""
        self._queue.put(None)

    def _run(self) -> None:
        sizes, warm = self._warm_up
        try:
            self._calls.warm_up(sizes)
        except BaseException as error:
            self._post(fail, warm, error)
            return
        self._post(succeed, warm)
        try:
            self._serve()
        except BaseException as error:
            self._post(self._on_fatal, error)

    def _serve(self) -> None:
        """Run micro-batches until `stop`. Raises what ends the worker."""
        begun: deque[MicroBatch | AdHocBatch] = deque()
        is_stopped = False
        while begun or not is_stopped:
            # While there are results to wait for, another micro-batch begins only if it has already been submitted.
            if not is_stopped and len(begun) < self._calls.depth and not (begun and self._queue.empty()):
                item = self._queue.get()
                if item is None:
                    is_stopped = True
                elif not (isinstance(item, AdHocBatch) and item.result.cancelled()):
                    if not begun:
                        self._call_started_s = self._clock.monotonic_s()
                    begun.append(item)
                    self._calls.begin(item.batch if isinstance(item, AdHocBatch) else item)
                continue
            result = self._calls.finish()
            finished = begun.popleft()
            self._call_started_s = self._clock.monotonic_s() if begun else None
            self._return(finished, result)

    def _return(self, finished: MicroBatch | AdHocBatch, result: BatchResult | Deferred) -> None:
        if isinstance(finished, AdHocBatch):
            self._post(resolve, finished.result, result)
            return
        self._arrivals.results.append(result)
        self._answered.set()
        if not self._loop_waits:
            self._post(self._arrivals.wake)

    def _post(self, function: Callable[..., None], *arguments: object) -> None:
        if not self._arrivals.post(function, *arguments):
            self._queue.put(None)  # nothing waits for this result


def any_running() -> bool:
    """Return whether a thread that runs a model has not ended: a model call cannot be interrupted."""
    return any(thread.name.startswith(THREAD_PREFIX) for thread in threading.enumerate())

"""The thread that owns the device: it takes micro-batches from a queue of one and returns the model's results.

At most two micro-batches are with the thread: one in the model, one waiting, so that the device never waits for
the event loop. Torch releases the interpreter lock inside its operators, so heartbeats and decoding go on meanwhile.

Where calls are short, `submit` waits for the result, a millisecond at most: a small model's operators take the lock
back a dozen times a batch, and each time they would have to wrest it from the loop that decodes, which costs both more
than the call itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from forebay.models.backends.protocol import Model
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import BatchResult, MicroBatch
from forebay.stream.inference.bisect import ModelFault, infer_batch
from forebay.stream.inference.timed_model import TimedModel

MAX_WITH_DEVICE = 2
SHORT_CALL_S = 0.001

OnFatal = Callable[[BaseException], None]


class Deferred(NamedTuple):
    """A batch that the model could not be run on for no fault of the data. It has to be submitted again."""

    batch: MicroBatch
    reason: str


class _AdHocBatch(NamedTuple):
    """A batch that does not belong to the stream, and the future that waits for its result."""

    batch: MicroBatch
    answer: asyncio.Future[BatchResult]


class DeviceThread:
    """Runs one model on one thread. All methods are for the event loop's thread.

    `submit` takes micro-batches while there is `capacity`, `collect` returns their results in the same order, and `wait`
    returns when there may be something to collect. Nothing calls back: the caller drains the results in a loop of its own.

    A batch comes back as `Deferred` where the model was not fit to run. After that there is no capacity for the time of
    `backoff` and, when `breaker` opens, until it lets a batch through. on_fatal is called when the thread died of something
    that is not the fault of the data.
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
    ) -> None:
        self._model = TimedModel(model, clock)
        self._clock = clock
        self._loop = loop
        self._breaker = breaker
        self._backoff = backoff
        self._not_before_s = -math.inf
        self._on_fatal = on_fatal
        self._queue: queue.SimpleQueue[MicroBatch | _AdHocBatch | None] = queue.SimpleQueue()
        self._ad_hoc_lock = asyncio.Lock()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._outstanding = 0
        self._call_started_s: float | None = None
        self._usual_call_s = math.inf
        self._results: deque[BatchResult | Deferred] = deque()
        self._ready = asyncio.Event()
        self._answered = threading.Event()
        self._loop_waits = False

    async def start(self, warm_up_sizes: Sequence[int]) -> None:
        """Start the thread and warm the model up on it. Raises what the model raised."""
        warm: asyncio.Future[None] = self._loop.create_future()
        self._warm_up = (tuple(warm_up_sizes), warm)
        self._thread.start()
        await warm

    def capacity(self) -> int:
        """How many micro-batches `submit` takes now."""
        if self._outstanding >= MAX_WITH_DEVICE:
            return 0
        now_s = self._clock.monotonic_s()
        if now_s < self._not_before_s or not self._breaker.allows(now_s):
            return 0
        return MAX_WITH_DEVICE - self._outstanding

    def running_for_s(self) -> float:
        """How long the call that runs now has been running; 0 when the device is idle."""
        started_s = self._call_started_s
        return 0.0 if started_s is None else self._clock.monotonic_s() - started_s

    def submit(self, batch: MicroBatch) -> None:
        """Hand a micro-batch over. Only while there is `capacity`; call `collect` next, since a short call is over by then."""
        self._outstanding += 1
        self._breaker.record_start(self._clock.monotonic_s())
        if self._usual_call_s >= SHORT_CALL_S:
            self._queue.put(batch)
            return
        self._answered.clear()
        self._loop_waits = True
        self._queue.put(batch)
        self._answered.wait(SHORT_CALL_S)
        # A result that comes before this line is found by the caller's `collect`; the thread announces a later one.
        self._loop_waits = False

    def collect(self) -> list[BatchResult | Deferred]:
        """Take what has come back, in the order of `submit`."""
        collected: list[BatchResult | Deferred] = []
        while self._results:
            result = self._results.popleft()
            self._outstanding -= 1
            if isinstance(result, Deferred):
                now_s = self._clock.monotonic_s()
                self._breaker.record_failure(now_s, result.reason)
                self._not_before_s = now_s + self._backoff.wait_s(self._breaker.failures)
            else:
                self._breaker.record_success()
                known = min(self._usual_call_s, 2 * SHORT_CALL_S)
                self._usual_call_s = known + 0.2 * (result.model_s - known)
            collected.append(result)
        return collected

    async def wait(self, timeout_s: float | None = None) -> None:
        """Return when there may be something to collect, after `wake`, or when the time is over."""
        if not self._results:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._ready.wait()
        self._ready.clear()

    def wake(self) -> None:
        """Make `wait` return."""
        self._ready.set()

    async def submit_ad_hoc(self, batch: MicroBatch) -> BatchResult:
        """Run a batch that does not belong to the stream, behind those of the stream that are with the device already.

        One at a time, so that between two of them the stream has its turns. Neither breaker nor back-off learn of it. Raises
        ModelFault where the model is not fit to run.
        """
        async with self._ad_hoc_lock:
            answer: asyncio.Future[BatchResult] = self._loop.create_future()
            self._queue.put(_AdHocBatch(batch, answer))
            return await answer

    def stop(self) -> None:
        """Let the thread end after what it has. It is a daemon: a call that hangs does not keep the process."""
        self._queue.put(None)

    def _run(self) -> None:
        sizes, warm = self._warm_up
        try:
            self._model.warm_up(sizes)
        except BaseException as error:
            self._post(_fail, warm, error)
            return
        self._post(_succeed, warm)
        while (item := self._queue.get()) is not None:
            aside = item if isinstance(item, _AdHocBatch) else None
            if aside is not None and aside.answer.cancelled():
                continue
            batch = item.batch if isinstance(item, _AdHocBatch) else item
            try:
                started_s = self._call_started_s = self._clock.monotonic_s()
                result = self._infer(batch, started_s)
                self._call_started_s = None
            except BaseException as error:
                self._post(self._on_fatal, error)
                return
            if aside is not None:
                self._post(_answer, aside.answer, result)
                continue
            self._results.append(result)
            self._answered.set()
            if not self._loop_waits:
                self._post(self._ready.set)

    def _infer(self, batch: MicroBatch, started_s: float) -> BatchResult | Deferred:
        try:
            inference = infer_batch(self._model, batch, wall_ms=self._clock.wall_ms())
        except ModelFault as fault:
            return Deferred(batch, str(fault))
        return BatchResult(
            batch,
            values_BO=inference.values_BO,
            classes_B=inference.classes_B,
            confidences_B=inference.confidences_B,
            failures=inference.failures,
            model_s=self._clock.monotonic_s() - started_s,
            started_s=started_s,
            prepare_s=self._model.take_prepare_s(),
        )

    def _post(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop is closed: the worker is gone, nobody waits for this any more.
            self._queue.put(None)


def _answer(future: asyncio.Future[BatchResult], result: BatchResult | Deferred) -> None:
    if future.done():
        return
    if isinstance(result, Deferred):
        future.set_exception(ModelFault(result.reason))
    else:
        future.set_result(result)


def _succeed(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)

"""A device without a thread, whose results arrive after some virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np

from forebay.models.artefacts.signature import Signature
from forebay.models.backends.protocol import Scores
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, FloatMatrix, MicroBatch
from forebay.stream.inference.bisect import ModelFault, infer_batch
from forebay.stream.inference.executor import Deferred
from tests.simulation.world import World

MAX_WITH_DEVICE: Final = 2
NUM_INSTANCES: Final = 2


class SimulatedModel:
    """A model that returns the first and third of its inputs. It raises if the second is 1, and always while `broken`."""

    def __init__(self, name: str, version: int, signature: Signature) -> None:
        self.ref = ModelRef(name, version)
        self.name = name
        self.version = version
        self.signature = signature
        self.broken = False

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        if self.broken:
            raise RuntimeError("the device is gone")

    def prepare(self, x_BF: FloatMatrix) -> FloatMatrix:
        return x_BF

    def forward(self, x_BG: FloatMatrix) -> Scores:
        if self.broken or (x_BG[:, 1] == 1).any():
            raise RuntimeError("a bad row")
        values_BO = np.ascontiguousarray(x_BG[:, ::2])
        return Scores(values_BO, np.zeros(len(x_BG), np.int64), np.ones(len(x_BG), np.float32))


class SimulatedDevice:
    """Stands for `DeviceThread`. call_s: how long a call takes; away: while it is set, no call returns."""

    def __init__(
        self, model: SimulatedModel, world: World, *, breaker: CircuitBreaker, backoff: Backoff, call_s: float
    ) -> None:
        self.model = model
        self._world = world
        self._breaker = breaker
        self._backoff = backoff
        self._not_before_s = 0.0
        self._queue: deque[MicroBatch] = deque()
        self._results: deque[BatchResult | Deferred] = deque()
        self._ready = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._call_started_s: float | None = None
        self._outstanding = 0
        self._away = False
        self.call_s = call_s

    @property
    def away(self) -> bool:
        """Whether calls do not return."""
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        if not away and self._call_started_s is not None:
            self._loop.call_soon(self._finish)

    async def start(self, warm_up_sizes: Sequence[int]) -> None:
        self.model.warm_up(warm_up_sizes)

    def capacity(self) -> int:
        now_s = self._world.now_s
        if self._outstanding >= MAX_WITH_DEVICE or now_s < self._not_before_s or not self._breaker.allows(now_s):
            return 0
        return MAX_WITH_DEVICE - self._outstanding

    def running_for_s(self) -> float:
        return 0.0 if self._call_started_s is None else self._world.now_s - self._call_started_s

    def submit(self, batch: MicroBatch) -> None:
        self._outstanding += 1
        self._breaker.record_start(self._world.now_s)
        self._queue.append(batch)
        if self._call_started_s is None:
            self._begin()

    def collect(self) -> list[BatchResult | Deferred]:
        collected = list(self._results)
        self._results.clear()
        for result in collected:
            self._outstanding -= 1
            if isinstance(result, Deferred):
                self._breaker.record_failure(self._world.now_s, result.reason)
                self._not_before_s = self._world.now_s + self._backoff.wait_s(self._breaker.failures)
            else:
                self._breaker.record_success()
        return collected

    async def wait(self, timeout_s: float | None = None) -> None:
        if not self._results:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._ready.wait()
        self._ready.clear()

    def wake(self) -> None:
        self._ready.set()

    async def submit_ad_hoc(self, batch: MicroBatch) -> BatchResult:
        raise NotImplementedError

    def stop(self) -> None:
        self._queue.clear()

    def _begin(self) -> None:
        self._call_started_s = self._world.now_s
        self._loop.call_later(self.call_s, self._finish)

    def _finish(self) -> None:
        if self._away or not self._queue or self._call_started_s is None:
            return
        batch, started_s = self._queue.popleft(), self._call_started_s
        self._call_started_s = None
        self._results.append(self._infer(batch, started_s))
        self._ready.set()
        if self._queue:
            self._begin()

    def _infer(self, batch: MicroBatch, started_s: float) -> BatchResult | Deferred:
        try:
            inference = infer_batch(self.model, batch, wall_ms=self._world.wall_ms())
        except ModelFault as fault:
            return Deferred(batch, str(fault))
        return BatchResult(
            batch,
            values_BO=inference.values_BO,
            classes_B=inference.classes_B,
            confidences_B=inference.confidences_B,
            failures=inference.failures,
            model_s=self._world.now_s - started_s,
            started_s=started_s,
        )


class SimulatedPool(SimulatedDevice):
    """Stands for an `InstancePool` of two: calls take random times, so that results come in any order."""

    def __init__(
        self, model: SimulatedModel, world: World, *, breaker: CircuitBreaker, backoff: Backoff, call_s: float
    ) -> None:
        super().__init__(model, world, breaker=breaker, backoff=backoff, call_s=call_s)
        self._calls: dict[int, tuple[MicroBatch, float]] = {}
        self._ended: list[int] = []
        self._num_calls = 0

    @property
    def away(self) -> bool:
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        if not away:
            ended, self._ended = self._ended, []
            for call in ended:
                self._loop.call_soon(self._end, call)

    def capacity(self) -> int:
        now_s = self._world.now_s
        if now_s < self._not_before_s or not self._breaker.allows(now_s):
            return 0
        return max(0, 2 * NUM_INSTANCES - self._outstanding)

    def running_for_s(self) -> float:
        return max((self._world.now_s - started_s for _, started_s in self._calls.values()), default=0.0)

    def submit(self, batch: MicroBatch) -> None:
        self._outstanding += 1
        self._breaker.record_start(self._world.now_s)
        self._queue.append(batch)
        self._begin()

    def _begin(self) -> None:
        while self._queue and len(self._calls) < NUM_INSTANCES:
            self._num_calls += 1
            self._calls[self._num_calls] = (self._queue.popleft(), self._world.now_s)
            self._loop.call_later(self.call_s * self._world.rng.choice((0.1, 1.0, 5.0)), self._end, self._num_calls)

    def _end(self, call: int) -> None:
        if self._away:
            self._ended.append(call)
            return
        self._results.append(self._infer(*self._calls.pop(call)))
        self._ready.set()
        self._begin()

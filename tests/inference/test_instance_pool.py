"""The pool of instances, with threads whose models wait at gates."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from forebay.models.backends.protocol import Scores
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.records import BatchResult, FloatMatrix, MicroBatch
from forebay.stream.inference.bisect import ModelFault
from forebay.stream.inference.executor import Deferred
from forebay.stream.inference.instance_pool import InstancePool
from tests.core.build import ManualClock, chunk, signature
from tests.eventually import eventually


class GatedModel:
    """A model whose calls wait at a gate. `broken`: it raises for every input. `runs`: the micro-batches that it has begun."""

    name = "m"
    version = 1

    def __init__(self) -> None:
        self.signature = signature(3)
        self.gate = threading.Event()
        self.gate.set()
        self.broken = False
        self.runs: list[float] = []
        self.warmed_up: list[int] = []

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        if self.broken:
            raise RuntimeError("the device is gone")
        self.warmed_up.extend(batch_sizes)

    def prepare(self, x_BF: FloatMatrix) -> FloatMatrix:
        return x_BF

    def forward(self, x_BG: FloatMatrix) -> Scores:
        self.runs.append(float(x_BG[0, 0]))
        assert self.gate.wait(10)
        if self.broken:
            raise RuntimeError("the device is gone")
        return Scores(x_BG[:, :1].copy(), np.zeros(len(x_BG), np.int64), np.ones(len(x_BG), np.float32))


class Pool:
    def __init__(self, num_instances: int) -> None:
        self.models = [GatedModel() for _ in range(num_instances)]
        self.clock = ManualClock()
        self.deaths: list[BaseException] = []
        self.pool = InstancePool(
            self.models,
            clock=self.clock,
            loop=asyncio.get_running_loop(),
            breaker=CircuitBreaker(failure_threshold=3, reset_timeout_s=30, on_change=lambda _state, _reason: None),
            backoff=Backoff(1.0, 4.0, jitter=lambda: 0.0),
            on_fatal=self.deaths.append,
        )
        self.results: list[BatchResult | Deferred] = []

    async def until(self, condition: Callable[[], bool]) -> None:
        def collected() -> bool:
            self.results += self.pool.collect()
            return condition()

        await eventually(collected, "a state of the pool", every_s=0)


@asynccontextmanager
async def running(num_instances: int) -> AsyncIterator[Pool]:
    pool = Pool(num_instances)
    await pool.pool.start([1, 4])
    try:
        yield pool
    finally:
        for model in pool.models:
            model.gate.set()
        pool.pool.stop()


def batch(seq: int) -> MicroBatch:
    return MicroBatch(seq, (chunk(range(seq, seq + 1)),), "size", 0.0)


async def test_instances_take_from_one_queue_and_results_come_in_any_order() -> None:
    async with running(2) as pool:
        first, second = pool.models
        assert first.warmed_up == second.warmed_up == [1, 4]
        first.gate.clear()
        second.gate.clear()
        assert pool.pool.capacity() == 4
        for seq in range(4):
            pool.pool.submit(batch(seq))
        assert pool.pool.capacity() == 0
        await pool.until(lambda: len(first.runs) == len(second.runs) == 1)
        pool.clock.advance(2)
        assert pool.pool.running_for_s() == 2
        held = first if first.runs == [0.0] else second
        other = second if held is first else first
        other.gate.set()
        await pool.until(lambda: len(pool.results) == 3)
        assert [result.batch.seq for result in pool.results] == [1, 2, 3]
        assert pool.pool.running_for_s() == 2, "the held call is still found"
        assert pool.pool.capacity() == 3
        held.gate.set()
        await pool.until(lambda: len(pool.results) == 4)
        assert sum(status.calls for status in pool.pool.statuses()) == 4
        assert not pool.deaths


async def test_an_instance_that_fails_returns_its_micro_batch_and_waits_for_its_backoff() -> None:
    async with running(2) as pool:
        broken, works = pool.models
        broken.broken = True
        works.gate.clear()
        for seq in range(4):
            pool.pool.submit(batch(seq))
        await pool.until(lambda: any(isinstance(result, Deferred) for result in pool.results))
        works.gate.set()
        await pool.until(lambda: len(pool.results) == 4)
        runs = len(broken.runs)
        pool.pool.submit(batch(4))
        await pool.until(lambda: len(pool.results) == 5)
        assert len(broken.runs) == runs, "it is suspended"
        assert sum(isinstance(result, Deferred) for result in pool.results) == 1
        broken.broken = False
        pool.clock.advance(2)
        await pool.until(lambda: not any(status.suspended for status in pool.pool.statuses()))


async def test_an_ad_hoc_micro_batch_runs_also_on_a_suspended_instance() -> None:
    async with running(2) as pool:
        assert isinstance(await pool.pool.submit_ad_hoc(batch(7)), BatchResult)
        for model in pool.models:
            model.broken = True
        for seq in range(4):
            pool.pool.submit(batch(seq))
        await pool.until(lambda: len(pool.results) == 2)
        assert all(status.suspended for status in pool.pool.statuses()) and pool.pool.capacity() == 0
        with pytest.raises(ModelFault):
            await pool.pool.submit_ad_hoc(batch(8))


async def test_the_error_of_an_instance_that_cannot_be_warmed_up_is_raised() -> None:
    pool = Pool(2)
    pool.models[1].broken = True
    with pytest.raises(RuntimeError, match="the device is gone"):
        await pool.pool.start([1])
    pool.pool.stop()


async def test_a_bug_outside_the_model_ends_the_worker() -> None:
    async with running(2) as pool:
        pool.pool.submit(object())  # type: ignore[arg-type]
        await pool.until(lambda: bool(pool.deaths))

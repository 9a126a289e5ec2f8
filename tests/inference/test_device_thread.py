"""The thread that owns a device, with a model whose calls overlap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.simulated_device import Costs, Faults, SimulatedDevice
from forebay.schemas.errors import DeviceLostError, ModelError
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.records import BatchResult
from forebay.stream.inference.device_thread import DeviceThread
from forebay.stream.inference.executor import Deferred
from tests.core.build import ManualClock
from tests.inference.test_pipelined_calls import GOOD, POISON, batch_of
from tests.models.backends.torch.cuda.build import pipelined_model, simulated


@asynccontextmanager
async def running(device: SimulatedDevice, fatal: list[BaseException] | None = None) -> AsyncIterator[DeviceThread]:
    thread = DeviceThread(
        pipelined_model(device),
        clock=device.clock,  # type: ignore[arg-type]
        loop=asyncio.get_running_loop(),
        breaker=CircuitBreaker(failure_threshold=3, reset_timeout_s=30, on_change=lambda state, reason: None),
        backoff=Backoff(),
        on_fatal=([] if fatal is None else fatal).append,
    )
    await thread.start([64])
    device.timeline.clear()
    yield thread
    thread.stop()


async def collected(thread: DeviceThread, count: int) -> list[BatchResult | Deferred]:
    results: list[BatchResult | Deferred] = []
    async with asyncio.timeout(20):
        while len(results) < count:
            await thread.wait()
            results += thread.collect()
    return results


async def test_results_come_in_order_and_more_micro_batches_are_accepted() -> None:
    device = simulated(clock=ManualClock(), costs=Costs(call_s=0.5))
    async with running(device) as thread:
        assert thread.capacity() == 3, "two on the device and one that waits"
        batches = [batch_of([[GOOD, POISON if seq == 1 else GOOD]], seq) for seq in range(12)]
        results = []
        for batch in batches:
            if not thread.capacity():
                results += await collected(thread, 1)
            thread.submit(batch)
        results += await collected(thread, len(batches) - len(results))
        assert [result.batch.seq for result in results] == list(range(12))
        assert thread.running_for_s() == 0.0
        failures = [result.failures.keys() for result in results if isinstance(result, BatchResult)]
        assert [len(rows) for rows in failures] == [0, 1] + [0] * 10


async def test_micro_batches_outside_the_stream_have_their_turn() -> None:
    async with running(simulated()) as thread:
        thread.submit(batch_of([[GOOD]], 0))
        aside = await thread.submit_ad_hoc(batch_of([[GOOD] * 3], 1))
        assert len(aside.values_BO) == 3
        assert [result.batch.seq for result in await collected(thread, 1)] == [0]


async def test_a_lost_device_ends_the_worker() -> None:
    device, fatal = simulated(), list[BaseException]()
    async with running(device, fatal) as thread:
        device.faults.lost_at_call = 0
        thread.submit(batch_of([[GOOD]], 0))
        async with asyncio.timeout(20):
            while not fatal:
                await asyncio.sleep(0.001)
        assert isinstance(fatal[0], DeviceLostError)
        assert not thread.collect(), "nothing was counted, so the events are read again"


async def test_an_error_of_the_warm_up_is_that_of_the_start() -> None:
    with pytest.raises(ModelError, match="not enough memory for 64 rows"):
        async with running(simulated(faults=Faults(max_rows=1))):
            pass


async def test_what_has_begun_is_finished_when_the_thread_stops() -> None:
    async with running(simulated()) as thread:
        for seq in range(3):
            thread.submit(batch_of([[GOOD]], seq))
        thread.stop()
        assert len(await collected(thread, 3)) == 3

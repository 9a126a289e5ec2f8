"""The feed of a device that has no capacity. With a device, it is tested as a part of the pipeline."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import pytest

from forebay.stream.core.records import BatchResult, MicroBatch
from forebay.stream.inference.executor import Deferred
from forebay.stream.pipeline.device_feed import DeviceFeed
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.observer import NullObserver
from forebay.stream.pipeline.reorder_buffer import ReorderBuffer
from tests.core.build import JULY, chunk


class BusyExecutor:
    """An executor without capacity, until `free` is set."""

    def __init__(self) -> None:
        self.free = 0
        self.submitted: list[MicroBatch] = []

    async def start(self, warm_up_sizes: Sequence[int]) -> None:
        pass

    def capacity(self) -> int:
        return self.free

    def submit(self, batch: MicroBatch) -> None:
        self.free -= 1
        self.submitted.append(batch)

    def collect(self) -> list[BatchResult | Deferred]:
        return []

    async def wait(self, timeout_s: float | None = None) -> None:
        await asyncio.sleep(0)

    def wake(self) -> None:
        pass

    def running_for_s(self) -> float:
        return 0.0

    async def submit_ad_hoc(self, batch: MicroBatch) -> BatchResult:
        raise NotImplementedError

    def stop(self) -> None:
        pass


def test_an_open_micro_batch_has_no_time_to_close_while_parts_wait_uncut() -> None:
    """Otherwise the worker would poll without a pause while its device is busy, since that time passes and nothing closes."""
    executor = BusyExecutor()
    feed = DeviceFeed(
        MicroBatcher(max_batch_size=5, max_batch_bytes=10**6, max_queue_delay_ms=5),
        executor,
        ReorderBuffer(),
        in_flight=InFlight(Bounds(100, 10**6, 1)),
        observer=NullObserver(),
        result_ready=asyncio.Event(),
    )
    feed.add(chunk(range(3)), now_s=1.0, wall_ms=JULY)
    assert feed.close_at_s() == 1.005
    feed.add(chunk(range(3, 13)), now_s=1.001, wall_ms=JULY)
    assert feed.is_backed_up and feed.num_waiting == 1
    assert feed.close_at_s() == math.inf
    executor.free = 2
    feed.poll(2.0)
    assert not feed.is_backed_up and [batch.num_rows for batch in executor.submitted] == [5, 5]
    assert feed.close_at_s() == pytest.approx(1.006)
    executor.free = 1
    feed.poll(2.0)
    assert [batch.num_rows for batch in executor.submitted] == [5, 5, 3]


def test_with_an_objective_the_open_micro_batch_grows_while_the_executor_is_busy() -> None:
    executor, in_flight = BusyExecutor(), InFlight(Bounds(1000, 1 << 20, 32))
    batcher = MicroBatcher(max_batch_size=100, max_batch_bytes=1 << 20, max_queue_delay_ms=0)
    batcher.waits_for_device = True
    feed = DeviceFeed(
        batcher, executor, ReorderBuffer(), in_flight=in_flight, observer=NullObserver(), result_ready=asyncio.Event()
    )
    for number in range(3):
        feed.add(chunk([number]), now_s=number, wall_ms=JULY)
        feed.poll(number + 0.5)
    assert feed.close_at_s() == math.inf, "a poll may wait: the executor's result ends the wait"
    assert not executor.submitted
    executor.free = 2
    feed.advance()
    assert [batch.num_records for batch in executor.submitted] == [3]
    # One runs now. The last place stays free: what closes now would be small, and wait for that call.
    feed.add(chunk([3]), now_s=4, wall_ms=JULY)
    feed.poll(4.5)
    feed.add(chunk([4]), now_s=5, wall_ms=JULY)
    feed.poll(5.5)
    assert len(executor.submitted) == 1
    feed.flush()
    assert [batch.num_records for batch in executor.submitted] == [3, 2], "a drain does not wait"
    assert feed.close_at_s() == math.inf

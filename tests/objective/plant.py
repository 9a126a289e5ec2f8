"""A worker in discrete events, with real micro-batcher and device feed: what takes time in a worker takes virtual time here.

The event loop is one server: polls, results and the worker's part of commits queue for it. The model has a server of its own,
and the cluster answers a commit after a while. Arrivals are a Poisson process with a rate that may change. Seeded.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, Epoch, FloatMatrix, MicroBatch, TopicPartition
from forebay.stream.inference.executor import Deferred
from forebay.stream.objective.batch_limits import BatchLimits
from forebay.stream.pipeline.device_feed import DeviceFeed
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.observer import NullObserver
from tests.objective.costs import Costs

EPOCH = Epoch(1, "member", None, 1)
PLACE = TopicPartition("features", 0)
MODEL = ModelRef("m", 1)
WALL_0_MS = 1_790_000_000_000


class Steering(Protocol):
    """What sets the limits while the worker runs."""

    def on_polled(self, events: int, oldest_s: float, now_s: float) -> None: ...
    def on_result(self, result: BatchResult, now_s: float) -> None: ...
    def on_commit_started(self, now_s: float) -> None: ...
    def on_committed(self, duration_s: float, now_s: float, latencies_s: npt.NDArray[np.float64]) -> None: ...


@dataclass(frozen=True, slots=True)
class Part:
    """A run of arrivals [first, end), as a part of a micro-batch."""

    first: int
    end: int
    partition: TopicPartition = PLACE
    epoch: Epoch = EPOCH
    model: ModelRef = MODEL
    num_bytes: int = 0
    num_rejected: int = 0
    can_end_commit: bool = True
    is_last_part: bool = True

    @property
    def size(self) -> int:
        return self.end - self.first

    num_records = num_rows = size

    @property
    def first_offset(self) -> int:
        return self.first

    @property
    def next_offset(self) -> int:
        return self.end

    @property
    def x_BF(self) -> FloatMatrix:
        return np.empty((self.size, 0), dtype=np.float32)

    @property
    def deadlines(self) -> Mapping[int, int]:
        return {}

    def split(self, size: int) -> tuple[Part, Part]:
        return Part(self.first, self.first + size), Part(self.first + size, self.end)

    def size_within(self, num_bytes: int) -> int:
        return self.size


class _Device:
    """An executor with places for two micro-batches, in virtual time."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._queue: deque[MicroBatch] = deque()
        self._done: list[BatchResult] = []
        self._is_busy = False
        self.outstanding = 0

    def capacity(self) -> int:
        return 2 - self.outstanding

    def submit(self, batch: MicroBatch) -> None:
        self.outstanding += 1
        self._queue.append(batch)
        self._plant.batches += 1
        self._plant.owed_s += self._plant.costs.batch_s
        self._start()

    def _start(self) -> None:
        if self._is_busy or not self._queue:
            return
        self._is_busy = True
        batch = self._queue.popleft()
        costs = self._plant.costs
        took_s = (costs.call_s + costs.row_s * batch.num_rows) * self._plant.noise()
        self._plant.at(self._plant.now_s + took_s, lambda: self._finish(batch, took_s))

    def _finish(self, batch: MicroBatch, took_s: float) -> None:
        self._is_busy = False
        values_BO = np.empty((0, 1), dtype=np.float32)
        self._done.append(
            BatchResult(
                batch,
                values_BO,
                classes_B=None,
                confidences_B=None,
                failures={},
                model_s=took_s,
                started_s=self._plant.now_s - took_s,
            )
        )
        self._start()
        self._plant.on_loop(0.000_03, self._plant.advance)

    def collect(self) -> list[BatchResult | Deferred]:
        done, self._done = self._done, []
        self.outstanding -= len(done)
        return [*done]

    def wake(self) -> None:
        self._plant.on_loop(0.0, self._plant.advance)

    def running_for_s(self) -> float:
        return 0.0


class _Buffer:
    """One partition and one executor that keeps the order: results come in order."""

    def __init__(self) -> None:
        self.ready: deque[BatchResult] = deque()

    def add(self, batch: MicroBatch) -> None:
        pass

    def contains(self, batch: MicroBatch) -> bool:
        return True

    def on_result(self, result: BatchResult) -> None:
        self.ready.append(result)


class Plant:
    """A worker with fixed limits, or with limits that `steering` sets on `batcher` and `commit_interval_s`.

    rates: (seconds, events per second), one after another.
    events: may change while it runs, see `at`.
    """

    def __init__(
        self,
        costs: Costs,
        rates: Sequence[tuple[float, float]],
        *,
        seed: int,
        max_batch_size: int = 4096,
        max_queue_delay_s: float = 0.002,
        commit_interval_s: float = 0.0,
    ) -> None:
        self.costs = costs
        self.now_s = 0.0
        self.batches = 0
        self.loop_s = 0.0
        self.num_commits = 0
        self.owed_s = 0.0
        self.commit_interval_s = commit_interval_s
        self.steering: Steering | None = None
        self._random = np.random.default_rng(seed)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.arrivals_N = self._arrivals(rates)
        self._readable_N = costs.fetch_s * (np.ceil(self.arrivals_N / costs.fetch_s) + 1)
        self.committed_N = np.full(len(self.arrivals_N), math.inf)
        self.end_s = sum(seconds for seconds, _ in rates)
        self.num_read = 0
        self._jobs: deque[tuple[float, Callable[[], None]]] = deque()
        self._is_loop_busy = False
        self._is_polling = False
        self._is_committing = False
        self._commit_started_s = -math.inf
        self._wake_s = math.inf
        self._in_flight = InFlight(Bounds(32_768, 1 << 40, 32))
        self.batcher = MicroBatcher(
            max_batch_size=max_batch_size, max_batch_bytes=1 << 40, max_queue_delay_ms=1000 * max_queue_delay_s
        )
        self._max_poll = max_batch_size
        self._buffer = _Buffer()
        self._device = _Device(self)
        self._feed = DeviceFeed(
            self.batcher,
            self._device,  # type: ignore[arg-type]
            self._buffer,  # type: ignore[arg-type]
            in_flight=self._in_flight,
            observer=NullObserver(),
            result_ready=asyncio.Event(),
        )

    def set_costs(self, costs: Costs) -> None:
        """Change what the steps take."""
        self.costs = costs

    def noise(self) -> float:
        return float(np.exp(self.costs.noise * self._random.standard_normal()))

    def _arrivals(self, rates: Sequence[tuple[float, float]]) -> npt.NDArray[np.float64]:
        begin_s, parts = 0.0, [np.empty(0)]
        for seconds, rate in rates:
            count = self._random.poisson(seconds * rate)
            parts.append(np.sort(begin_s + seconds * self._random.random(count)))
            begin_s += seconds
        return np.concatenate(parts)

    # ---- time

    @property
    def in_flight_events(self) -> int:
        return self._in_flight.events

    def set_limits(self, limits: BatchLimits, commit_interval_s: float) -> None:
        """Set limits as a controller does."""
        self.batcher.waits_for_device = True
        self.batcher.set_limits(**limits._asdict())
        self.commit_interval_s = commit_interval_s

    def at(self, at_s: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        self._count += 1
        heapq.heappush(self._heap, (at_s, self._count, action))

    def run(self) -> Plant:
        """Run until the last arrival is committed, or for as long again as events arrive."""
        self._poll_soon()
        while self._heap and self.now_s < 2 * self.end_s and not np.isfinite(self.committed_N[-1]):
            self.now_s, _, action = heapq.heappop(self._heap)
            action()
        return self

    def on_loop(self, cost_s: float, action: Callable[[], None]) -> None:
        """Queue a job for the event loop."""
        self._jobs.append((cost_s, action))
        self._next_job()

    def _next_job(self) -> None:
        if self._is_loop_busy or not self._jobs:
            return
        self._is_loop_busy = True
        cost_s, action = self._jobs.popleft()

        def done() -> None:
            action()
            owed_s, self.owed_s = self.owed_s, 0.0  # what the job itself has caused
            self.loop_s += cost_s + owed_s
            self.at(self.now_s + owed_s, free)

        def free() -> None:
            self._is_loop_busy = False
            self._next_job()

        self.at(self.now_s + cost_s, done)

    # ---- the poll

    def _poll_soon(self) -> None:
        if not self._is_polling:
            self._is_polling = True
            self.on_loop(0.000_01, self._poll)

    def _poll(self) -> None:
        self._feed.poll(self.now_s)
        self._commit_soon()
        room = 0 if self._feed.is_backed_up else min(self._in_flight.room(), self._max_poll)
        ready = int(np.searchsorted(self._readable_N, self.now_s, side="right"))
        first, end = self.num_read, min(ready, self.num_read + room)
        if end == first:
            self._is_polling = False
            self._wait_for_more(room)
            return
        self.num_read = end
        self.on_loop(self.costs.poll_s + self.costs.event_s * (end - first), lambda: self._polled(first, end))

    def _wait_for_more(self, room: int) -> None:
        wake_s = self._feed.close_at_s()
        if room and self.num_read < len(self.arrivals_N):
            wake_s = min(wake_s, self._readable_N[self.num_read])
        if wake_s < math.inf:
            self.at(max(self.now_s, wake_s) + 1e-6, self._poll_soon)

    def _polled(self, first: int, end: int) -> None:
        if self.steering is not None:
            self.steering.on_polled(end - first, float(self.arrivals_N[first]), self.now_s)
        self._in_flight.on_polled(events=end - first, num_bytes=0)
        self._feed.add(Part(first, end), now_s=self.now_s, wall_ms=0)
        self._commit_soon()
        self._is_polling = False
        self._poll_soon()

    def advance(self) -> None:
        """Collect results and submit micro-batches."""
        before = len(self._buffer.ready)
        self._feed.advance()
        if self.steering is not None:
            for result in list(self._buffer.ready)[before:]:
                self.steering.on_result(result, self.now_s)
        self._commit_soon()

    # ---- the commit

    def _commit_soon(self) -> None:
        if self._is_committing or not self._buffer.ready:
            return
        self._is_committing = True
        begin_s = max(self.now_s, self._commit_started_s + self.commit_interval_s)
        if self._in_flight.room() == 0:
            begin_s = self.now_s
        self.at(begin_s, self._commit)

    def _commit(self) -> None:
        self._commit_started_s = began_s = self.now_s
        if self.steering is not None:
            self.steering.on_commit_started(self.now_s)
        results = list(self._buffer.ready)
        self._buffer.ready.clear()
        events = sum(result.batch.num_records for result in results)
        costs = self.costs
        wait_s = (costs.commit_wait_s + costs.commit_wait_event_s * events) * self.noise()

        def sent() -> None:
            self.at(self.now_s + wait_s, lambda: self.on_loop(0.0, done))

        def done() -> None:
            self._is_committing = False
            self.num_commits += 1
            parts = [part for result in results for part in result.batch.chunks]
            latencies_s = np.concatenate(
                [self.now_s - self.arrivals_N[part.first_offset : part.next_offset] for part in parts]
            )
            for part in parts:
                self.committed_N[part.first_offset : part.next_offset] = self.now_s
            for result in results:
                self._in_flight.on_committed(events=result.batch.num_records, num_bytes=0)
            if self.steering is not None:
                self.steering.on_committed(self.now_s - began_s, self.now_s, latencies_s)
            self._commit_soon()
            self._poll_soon()

        self.on_loop(costs.commit_cpu_s + costs.commit_event_s * events, sent)

    # ---- what came of it

    def latencies_s(self, from_s: float = 0.0, to_s: float = math.inf) -> npt.NDArray[np.float64]:
        """Return the latencies of the arrivals in a time, float64 [events]; infinite where one was not committed."""
        chosen_N = (self.arrivals_N >= from_s) & (self.arrivals_N < to_s)
        found: npt.NDArray[np.float64] = (self.committed_N - self.arrivals_N)[chosen_N]
        return found

    def p99_s(self, from_s: float = 0.0, to_s: float = math.inf) -> float:
        return float(np.percentile(self.latencies_s(from_s, to_s), 99, method="nearest"))

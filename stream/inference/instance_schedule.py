"""Which instance of a model runs which micro-batch: one queue that all instances take from. Pure; the caller locks.

No instance is idle while a micro-batch waits that it may take, whatever the durations of calls (a work-conserving queue). So
nothing has to be moved between queues.

An instance whose model could not run is *suspended* for the time of a backoff of its own. Otherwise an instance that fails at
once would take most micro-batches. The circuit breaker belongs to the version: it counts a failure once all instances have
failed in a row, and each failure while it is not closed.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from forebay.stream.core.backoff import Backoff
from forebay.stream.core.circuit_breaker import BreakerState, CircuitBreaker
from forebay.stream.core.records import BatchResult, MicroBatch
from forebay.stream.inference.ad_hoc import AdHocBatch
from forebay.stream.inference.executor import Deferred


class InstanceStatus(NamedTuple):
    """What an instance has done since the start.

    busy_s: seconds in calls, with the running one.
    calls: number of calls that have ended.
    suspended: whether it waits after a failure.
    """

    busy_s: float
    calls: int
    suspended: bool


@dataclass(slots=True)
class _Instance:
    """not_before_s: when a suspended instance may run again; infinity while the time is not known yet."""

    started_s: float | None = None
    busy_s: float = 0.0
    calls: int = 0
    failures: int = 0
    suspended: bool = False
    not_before_s: float = math.inf


class InstanceSchedule:
    """The queue and the states of the instances.

    Times are monotonic seconds. `take` and `end` are for the instances; everything else is for the event loop.
    """

    def __init__(self, num_instances: int, *, breaker: CircuitBreaker, backoff: Backoff) -> None:
        self._instances = [_Instance() for _ in range(num_instances)]
        self._breaker = breaker
        self._backoff = backoff
        self._queue: deque[MicroBatch | AdHocBatch] = deque()
        self._outstanding = 0

    @property
    def any_suspended(self) -> bool:
        """Whether an instance waits after a failure."""
        return any(instance.suspended for instance in self._instances)

    def capacity(self, now_s: float) -> int:
        """Return how many micro-batches may be added: each instance may have one in its model, and one that waits."""
        num_ready = sum(not instance.suspended for instance in self._instances)
        room = 2 * num_ready - self._outstanding
        return room if room > 0 and self._breaker.allows(now_s) else 0

    def add(self, batch: MicroBatch, now_s: float) -> None:
        """Queue a micro-batch of the stream. Requires `capacity`."""
        self._outstanding += 1
        self._breaker.record_start(now_s)
        self._queue.append(batch)

    def add_ad_hoc(self, batch: AdHocBatch) -> None:
        """Queue a micro-batch outside the stream. Breaker and backoff ignore it."""
        self._queue.append(batch)

    def take(self, index: int, now_s: float) -> MicroBatch | AdHocBatch | None:
        """Return what an idle instance runs now; None if nothing waits that it may take."""
        instance = self._instances[index]
        item = self._first_ad_hoc() if instance.suspended else self._queue.popleft() if self._queue else None
        if item is not None:
            instance.started_s = now_s
        return item

    def end(self, index: int, now_s: float, *, deferred: bool) -> None:
        """Record the end of a call. deferred: whether the model could not run a micro-batch of the stream."""
        instance = self._instances[index]
        assert instance.started_s is not None
        instance.busy_s += now_s - instance.started_s
        instance.calls += 1
        instance.started_s = None
        if deferred:
            instance.suspended, instance.not_before_s = True, math.inf

    def on_result(self, index: int, result: BatchResult | Deferred, now_s: float) -> None:
        """Record the result of a micro-batch of the stream."""
        instance = self._instances[index]
        self._outstanding -= 1
        if isinstance(result, Deferred):
            instance.failures += 1
            instance.not_before_s = now_s + self._backoff.wait_s(instance.failures)
            if self._breaker.state is not BreakerState.CLOSED or all(other.failures for other in self._instances):
                self._breaker.record_failure(now_s, result.reason)
            return
        instance.failures = 0
        # A call that is older than this one may be what opened the breaker: then that call has to return.
        if self._breaker.state is BreakerState.CLOSED or not self._has_older_call(result.started_s):
            self._breaker.record_success()

    def readmit(self, now_s: float) -> bool:
        """End the suspensions whose time is over. Return whether there were any."""
        over = [instance for instance in self._instances if instance.suspended and now_s >= instance.not_before_s]
        for instance in over:
            instance.suspended = False
        return bool(over)

    def running_for_s(self, now_s: float) -> float:
        """Return how many seconds the longest running call has taken; 0 if none runs."""
        started_s = [instance.started_s for instance in self._instances if instance.started_s is not None]
        return now_s - min(started_s) if started_s else 0.0

    def statuses(self, now_s: float) -> tuple[InstanceStatus, ...]:
        """Return the status of each instance."""
        return tuple(
            InstanceStatus(
                instance.busy_s + (0.0 if instance.started_s is None else now_s - instance.started_s),
                instance.calls,
                instance.suspended,
            )
            for instance in self._instances
        )

    def _first_ad_hoc(self) -> AdHocBatch | None:
        for item in self._queue:
            if isinstance(item, AdHocBatch):
                self._queue.remove(item)
                return item
        return None

    def _has_older_call(self, started_s: float) -> bool:
        return any(instance.started_s is not None and instance.started_s < started_s for instance in self._instances)

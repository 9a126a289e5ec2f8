"""Closed loop: the worker drains a filled topic as fast as it can. Measures throughput."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from forebay.schemas.errors import BrokerError
from forebay.stream.bench.reader import PredictionReader
from forebay.stream.bench.stall import STALL_TIMEOUT_S, stalled_error
from forebay.stream.core.clock import Clock
from forebay.stream.embedded.worker_process import READY_TIMEOUT_S, WorkerProcess
from forebay.stream.telemetry.process_usage import ProcessMeter, Usage

_POLL_S: Final = 0.02
_POLL_RECORDS: Final = 10_000
_CHECK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """The throughput between the first and the last readable prediction.

    events: number of predictions in that time.
    cpu_s: CPU time of the worker in that time.
    """

    events: int
    seconds: float
    cpu_s: float

    @property
    def events_per_s(self) -> float:
        return self.events / self.seconds

    @property
    def events_per_cpu_s(self) -> float:
        return self.events / self.cpu_s


async def drain(
    worker: WorkerProcess,
    reader: PredictionReader,
    *,
    events: int,
    clock: Clock,
    progress: Callable[[int], None] = lambda events: None,
) -> ClosedLoop:
    """Measure while the worker predicts `events` events. Raises BrokerError if it ends or stalls.

    progress: receives the number of new readable predictions.
    """
    meter = ProcessMeter(worker.pid)
    changed_s = checked_s = clock.monotonic_s()
    first: tuple[float, int, Usage] | None = None
    total = 0
    while True:
        count = sum(map(len, await reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS)))
        now_s = clock.monotonic_s()
        total += count
        if count:
            changed_s = now_s
            progress(count)
        if (count and first is None) or total >= events:
            usage = meter.usage()
            if usage is None:
                worker.check()
                continue
            if count and first is None:
                first = (now_s, total, usage)
            if total >= events and first is not None:
                return _result(first, (now_s, total, usage))
        if now_s - checked_s >= _CHECK_S:
            checked_s = now_s
            worker.check()
        timeout_s = STALL_TIMEOUT_S if total else READY_TIMEOUT_S
        if now_s - changed_s > timeout_s:
            raise stalled_error(worker, f"{total:,} of {events:,} predictions arrived, then none for {timeout_s:g} s")


def _result(first: tuple[float, int, Usage], last: tuple[float, int, Usage]) -> ClosedLoop:
    seconds, events, cpu_s = last[0] - first[0], last[1] - first[1], last[2].cpu_s - first[2].cpu_s
    if events <= 0 or seconds <= 0 or cpu_s <= 0:
        raise BrokerError(
            "all predictions became readable at once, so that there is no time to measure",
            kind="bench_too_short",
            remedy="use more --events",
        )
    return ClosedLoop(events, seconds, cpu_s)

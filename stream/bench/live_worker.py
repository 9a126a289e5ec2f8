"""A worker that is measured while it runs: what its admin API reports, and the CPU time and memory of its processes."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from forebay.schemas.errors import BrokerError
from forebay.schemas.failures import Outcome
from forebay.stream.bench.stall import STALL_TIMEOUT_S, stalled_error
from forebay.stream.core.clock import Clock
from forebay.stream.embedded.worker_process import READY_TIMEOUT_S, WorkerProcess
from forebay.stream.telemetry.process_usage import ProcessMeter, Usage

_POLL_S: Final = 0.03
_REQUEST_TIMEOUT_S: Final = 10.0
_OF_WINDOWS: Final = frozenset(outcome.value for outcome in Outcome if outcome.of_window)


class Counts(NamedTuple):
    """What a worker has committed since its start, and what it holds.

    events: events with an outcome.
    windows: windows with an outcome.
    batches, commits: the micro-batches and transactions that contained them.
    open_windows: windows over event time that are open.
    in_flight_bytes: bytes of events that are read and not committed yet.
    """

    events: int
    windows: int
    batches: int
    commits: int
    open_windows: int
    in_flight_bytes: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """A backlog that a worker has processed, from when it began to read until everything was committed.

    cpu_s: CPU time of all processes of the worker.
    peak_rss_mib: the largest resident memory that was seen, the sum of all processes.
    counts: what was committed in this time. `open_windows` is the number at the end, and `in_flight_bytes` the largest that
        was seen.
    """

    seconds: float
    cpu_s: float
    peak_rss_mib: float
    counts: Counts

    @property
    def events_per_s(self) -> float:
        return self.counts.events / self.seconds

    @property
    def events_per_cpu_s(self) -> float:
        return self.counts.events / self.cpu_s


class LiveWorker:
    """Reads the status of a running worker, pauses and resumes it. Call `attach` first.

    num_processes: how many processes it supervises; 1 for a worker without a supervisor.
    """

    def __init__(self, process: WorkerProcess, clock: Clock, *, num_processes: int = 1) -> None:
        self.process = process
        self._clock = clock
        self._num_processes = num_processes
        self._meters: list[ProcessMeter] = []

    async def attach(self) -> None:
        """Wait until all of its processes are ready. Raises BrokerError."""
        await self.process.wait_ready()
        deadline_s = self._clock.monotonic_s() + READY_TIMEOUT_S
        while True:
            pids = [self.process.pid]
            if self._num_processes > 1:
                children = (await self.status()).get("processes", []) if self.process.page else []
                pids += [child["pid"] for child in children if child["state"] == "ready"]
            if len(pids) > self._num_processes or self._num_processes == 1:
                break
            self.process.check()
            if self._clock.monotonic_s() > deadline_s:
                raise stalled_error(self.process, f"{len(pids) - 1} of {self._num_processes} processes became ready")
            await asyncio.sleep(_POLL_S)
        self._meters = [ProcessMeter(pid) for pid in pids]

    async def status(self) -> Mapping[str, Any]:
        """Return the document `/status`. Raises BrokerError if the worker does not answer."""
        document: Mapping[str, Any] = json.loads(await self._request("GET", "status"))
        return document

    async def pause(self) -> None:
        """Make the worker stop reading. Raises BrokerError."""
        await self._request("POST", "pause")

    async def resume(self) -> None:
        """Make the worker read again. Raises BrokerError."""
        await self._request("POST", "resume")

    async def counts(self) -> Counts:
        """Return the counts so far. Raises BrokerError."""
        return counts_of(await self.status())

    async def model_s(self) -> float:
        """Return how long all calls of its models have taken so far. Raises BrokerError."""
        return metric_sum((await self._request("GET", "metrics")).decode(), "forebay_model_duration_seconds_sum")

    def usage(self) -> Usage:
        """Return the sum of the usages of its processes. Raises BrokerError if one has ended."""
        usages = [meter.usage() for meter in self._meters]
        running = [usage for usage in usages if usage is not None]
        if len(running) < len(usages):
            self.process.check()
            raise stalled_error(self.process, "a process of the worker has ended")
        return Usage(
            sum(usage.cpu_s for usage in running),
            sum(usage.rss_bytes for usage in running),
            sum(usage.own_bytes for usage in running),
        )

    async def drain(self, until: int, *, progress: Callable[[int], None] = lambda events: None) -> Backlog:
        """Resume reading and measure until `until` events have an outcome since the start. Raises BrokerError if they do not.

        The worker is paused, and the events are on its topic. It may have processed a few of them before: a poll that had
        begun before the pause returns the first records that arrive. These do not count for the result.
        """
        first, before, began_s = await self.counts(), self.usage(), self._clock.monotonic_s()
        await self.resume()
        peak_rss, peak_in_flight, done, changed_s = before.rss_bytes, 0, 0, began_s
        while True:
            last, usage, now_s = await self.counts(), self.usage(), self._clock.monotonic_s()
            peak_rss, peak_in_flight = max(peak_rss, usage.rss_bytes), max(peak_in_flight, last.in_flight_bytes)
            more = last.events - first.events - done
            if more:
                done, changed_s = done + more, now_s
                progress(more)
            if last.events >= until:
                break
            if now_s - changed_s > STALL_TIMEOUT_S:
                problem = f"{last.events:,} of {until:,} events have an outcome, then none for {STALL_TIMEOUT_S:g} s"
                raise stalled_error(self.process, problem)
            await asyncio.sleep(_POLL_S)
        counts = Counts(
            events=done,
            windows=last.windows - first.windows,
            batches=last.batches - first.batches,
            commits=last.commits - first.commits,
            open_windows=last.open_windows,
            in_flight_bytes=peak_in_flight,
        )
        return Backlog(now_s - began_s, usage.cpu_s - before.cpu_s, peak_rss / (1 << 20), counts)

    async def _request(self, method: str, path: str) -> bytes:
        page = self.process.page
        if page is None:
            raise stalled_error(self.process, "the worker has no admin page")

        def send() -> bytes:
            # The address is that of a worker which this process started.
            request = urllib.request.Request(f"{page.rstrip('/')}/{path}", method=method)  # noqa: S310
            with urllib.request.urlopen(request, timeout=_REQUEST_TIMEOUT_S) as answer:  # noqa: S310
                return bytes(answer.read())

        try:
            return await asyncio.to_thread(send)
        except OSError as error:
            self.process.check()
            raise BrokerError(f"the worker does not answer: {error}", kind="worker_ended") from error


def counts_of(status: Mapping[str, Any]) -> Counts:
    """Return the counts in the document `/status`."""
    totals, outcomes = status["totals"], status["totals"]["outcomes"]
    models = status.get("models", ())
    return Counts(
        events=sum(count for outcome, count in outcomes.items() if outcome not in _OF_WINDOWS),
        windows=sum(count for outcome, count in outcomes.items() if outcome in _OF_WINDOWS),
        batches=totals["batches"],
        commits=totals["commits"],
        open_windows=sum(model.get("window", {}).get("open_windows", 0) for model in models),
        in_flight_bytes=status["in_flight"]["bytes"],
    )


def metric_sum(page: str, name: str) -> float:
    """Return the sum of all series of a metric in a page in Prometheus' text format; 0 if it has none."""
    lines = (line for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return sum(float(line.rpartition("} ")[2].removeprefix(f"{name} ").split()[0]) for line in lines)

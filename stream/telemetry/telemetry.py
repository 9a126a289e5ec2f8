"""The worker's telemetry as one object: the stages' observer, the Prometheus page, and what is sent to a collector."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from stream.clock import Clock
from stream.config.sections import TelemetrySection
from stream.outcomes import Ledger
from stream.records import Chunk, Finished, MicroBatch, Partition
from stream.telemetry import catalogue as c
from stream.telemetry.book import Book
from stream.telemetry.collector import Signal, describe_process, find_collector
from stream.telemetry.conversion import to_metrics_data
from stream.telemetry.observer import CommitTimes
from stream.telemetry.page import render_page
from stream.telemetry.recording import Recorder
from stream.telemetry.resources import GpuMeter, visible_gpus
from stream.telemetry.sampling import Sampler, Watched

log = logging.getLogger(__name__)

LAG_EVERY_S: Final = 5.0
LAG_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 3.0


class Telemetry:
    """An `Observer` for one worker. model, version, device: what serves; instance: this worker's name in the group.

    `run` and `page` look at the parts that `watch` was given, and are for the event loop's thread.
    """

    def __init__(
        self,
        section: TelemetrySection,
        *,
        model: str,
        version: int,
        device: str,
        instance: str,
        transactional: bool,
        max_in_flight_events: int,
        clock: Clock,
        environ: Mapping[str, str],
    ) -> None:
        self._section = section
        self._clock = clock
        self._book = Book()
        self._recorder = Recorder(
            self._book,
            model=model,
            version=version,
            transactional=transactional,
            clock=clock,
            exemplar_of=lambda batch, value: None,
        )
        self._resource = describe_process(section, instance=instance, environ=environ)
        self._metrics_to = find_collector(section, Signal.METRICS, environ)
        self._start_ns = time.time_ns()
        self._sampler: Sampler | None = None
        self._book.set(c.READY, 0)
        self._book.set(c.IN_FLIGHT_LIMIT, max_in_flight_events)
        self._book.set(c.MODEL_INFO, 1, (model, str(version), device))
        self._book.set(c.BUILD_INFO, 1, (importlib.metadata.version("forebay"), platform.python_version()))

    # ---- what the admin server and the worker's assembly call

    def watch(self, watched: Watched) -> None:
        """Look at these parts from now on."""
        self._sampler = Sampler(
            self._book, self._recorder, watched, clock=self._clock, gpus=GpuMeter(self._book, visible=visible_gpus())
        )

    def ready(self, is_ready: bool) -> None:
        """Whether the worker is ready."""
        self._book.set(c.READY, int(is_ready))

    def page(self, *, accept: str = "") -> tuple[bytes, str]:
        """The Prometheus page and its content type. accept: the request's header; OpenMetrics where it is asked for."""
        if self._sampler is not None:
            self._sampler.sample()
        return render_page(self._book.snapshot(), accept=accept)

    async def run(self) -> None:
        """Keep the lag up to date and send what is to be sent, until cancelled. After `watch`. Never fails for a collector."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_lag(), name="lag")
            group.create_task(self._send_metrics(), name="send-metrics")

    async def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        await _in_time(self._close)

    # ---- the observer

    def polled(self, chunks: Sequence[Chunk], *, began_s: float, received_s: float) -> None:
        decoded_s = self._clock.monotonic_s()
        self._recorder.polled(chunks, received_s=received_s, decoded_s=decoded_s)

    def closed(self, batch: MicroBatch) -> None:
        self._recorder.closed(batch)

    def finished(self, finished: Finished) -> None:
        self._recorder.finished(finished)

    def committed(self, batches: Sequence[Finished], ledger: Ledger, times: CommitTimes) -> None:
        self._recorder.committed(batches, ledger, times, ())

    def commit_failed(self, batches: Sequence[Finished], error: BaseException) -> None:
        self._recorder.commit_failed(error)

    def purged(self) -> None:
        pass

    def watermarks(self, watermarks_ms: Mapping[Partition, int]) -> None:
        if self._sampler is not None:
            self._sampler.watermarks_ms = dict(watermarks_ms)

    # ---- what runs beside

    async def _follow_lag(self) -> None:
        assert self._sampler is not None
        while True:
            try:
                async with asyncio.timeout(LAG_TIMEOUT_S):
                    await self._sampler.sample_lag()
            except Exception as error:  # a cluster that is away is told of where it matters
                log.debug("cannot measure the lag: %s", error)
            await asyncio.sleep(LAG_EVERY_S)

    async def _send_metrics(self) -> None:
        if self._metrics_to is None:
            return
        assert self._sampler is not None
        exporter = self._metrics_to.metric_exporter()
        while True:
            await asyncio.sleep(self._section.metrics_interval_ms / 1000)
            self._sampler.sample()
            snapshot = self._book.snapshot()
            data = to_metrics_data(snapshot, self._resource, start_ns=self._start_ns, now_ns=time.time_ns())
            await asyncio.to_thread(exporter.export, data)

    def _close(self) -> None:
        pass


async def _in_time(close: Callable[[], None]) -> None:
    """On a daemon thread, which keeps nobody from ending."""
    thread = threading.Thread(target=close, name="telemetry-close", daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, CLOSE_TIMEOUT_S)

"""The metrics of a supervisor: the sums of its children, and its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from forebay.stream.admin.service import LAST_METRICS_SUFFIX
from forebay.stream.core.clock import Clock
from forebay.stream.supervisor.child import socket_of
from forebay.stream.supervisor.child_process import ChildProcess, ChildReport, ChildState
from forebay.stream.supervisor.metric_merging import add_ended, merge
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.metric_store import Labels, MetricStore, Snapshot
from forebay.stream.telemetry.prometheus import render_page
from forebay.stream.telemetry.resources import ProcessGauges
from forebay.stream.telemetry.snapshot_wire import decode_snapshot
from forebay.stream.telemetry.supervisor_metrics import (
    SUPERVISOR_FAILURES,
    SUPERVISOR_PROCESSES,
    SUPERVISOR_RESTARTS,
)

SUPERVISOR: Final = "supervisor"
"""The value of the label `process` for the supervisor itself."""


class GroupMetrics:
    """Adds up the metrics of the children, also of those that have ended.

    poll: returns the report of a child; None if it does not answer.
    folder: the private folder, in which a child leaves its last metrics.
    """

    def __init__(
        self, poll: Callable[[ChildProcess], Awaitable[ChildReport | None]], folder: Path, *, clock: Clock
    ) -> None:
        self._poll = poll
        self._folder = folder
        self._clock = clock
        self._ended: Snapshot | None = None
        self._store = MetricStore()
        self._process = ProcessGauges(self._store)

    async def refresh(self, children: Sequence[ChildProcess]) -> None:
        """Poll all children now, for the current values of a page."""
        await asyncio.gather(*(self._refresh(child) for child in children if child.is_running))

    async def _refresh(self, child: ChildProcess) -> None:
        pid = child.pid
        report = await self._poll(child)
        if report is not None and child.pid == pid:
            child.on_report(report, now_s=self._clock.monotonic_s())

    def on_ended(self, child: ChildProcess) -> None:
        """Keep the counters of a process that has ended: as it left them, or else as it reported them last."""
        path = socket_of(self._folder, child.number).with_suffix(LAST_METRICS_SUFFIX)
        last: bytes | None = None if child.report is None else child.report.metrics
        with contextlib.suppress(OSError):
            last = path.read_bytes()
            path.unlink()
        child.report = None
        if last is not None:
            with contextlib.suppress(ValueError):
                self._ended = add_ended(self._ended, decode_snapshot(last))

    def page(self, children: Sequence[ChildProcess], *, is_ready: bool, accept: str) -> tuple[bytes, str]:
        """Return the Prometheus page and its content type."""
        return render_page(self.snapshot(children, is_ready=is_ready), accept=accept)

    def snapshot(self, children: Sequence[ChildProcess], *, is_ready: bool) -> Snapshot:
        """Return all values. is_ready: the verdict of `/readyz`."""
        self._process.sample()
        states = Counter(child.state for child in children)
        now_s = self._clock.monotonic_s()
        self._store.replace(SUPERVISOR_PROCESSES, {(state.value,): states[state] for state in ChildState})
        for child in children:
            self._store.set_total(SUPERVISOR_RESTARTS, child.restarts, (str(child.number),))
            self._store.set(SUPERVISOR_FAILURES, child.failures(now_s=now_s), (str(child.number),))
        snapshots = {
            str(child.number): decode_snapshot(child.report.metrics) for child in children if child.report is not None
        }
        merged = merge(snapshots, self._ended)
        own = self._store.snapshot()
        gauges: dict[c.Gauge, Mapping[Labels, float]] = {**merged.gauges, c.READY: {(): float(is_ready)}}
        for gauge, values in own.gauges.items():
            is_of_process = gauge in (c.PROCESS_MEMORY, c.PROCESS_START)
            added = {(*labels, SUPERVISOR): value for labels, value in values.items()} if is_of_process else values
            gauges[gauge] = {**gauges.get(gauge, {}), **added}
        counters = dict(merged.counters)
        for counter, totals in own.counters.items():
            known = counters.get(counter, {})
            counters[counter] = {
                **known,
                **{labels: known.get(labels, 0) + total for labels, total in totals.items()},
            }
        return Snapshot(counters, gauges, merged.histograms)

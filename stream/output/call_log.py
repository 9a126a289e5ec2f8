"""The model calls of one commit, whose performance goes into an outcome delta."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import BatchResult
from forebay.stream.rollouts.performance import LatencyHistogram, Performance, ProcessUsage


@dataclass(frozen=True, slots=True)
class MeasuredLane:
    """What is the same for all calls of a lane.

    queue_delay_s: how long a micro-batch may wait for more rows.
    memory_bytes: memory of the model version in this worker; None if unknown.
    on_gpu: whether the model runs on a GPU.
    process_usage: returns what the worker process has used since the last call.
    """

    queue_delay_s: float
    memory_bytes: int | None = None
    on_gpu: bool = False
    process_usage: Callable[[], ProcessUsage] | None = None


class CallLog:
    """Collects the calls of one model as numbers for each micro-batch; `performance` computes the histograms once."""

    def __init__(self, lane: MeasuredLane) -> None:
        self._lane = lane
        self._rows: list[int] = []
        self._latency_s: list[float] = []
        self._model_s: list[float] = []
        self._cpu_s = self._gpu_s = 0.0
        self._not_finite = 0
        self._calls = 0

    def add(self, result: BatchResult) -> None:
        """Add a micro-batch, or the part of one that is committed now."""
        rows = result.batch.num_rows
        if result.is_last_part:
            # Each part of a divided micro-batch has the time of the whole.
            self._calls += bool(rows or result.model_s)
            self._cpu_s += result.cpu_s
            self._gpu_s += result.model_s - result.prepare_s
        if not rows:
            return
        self._rows.append(rows)
        self._latency_s.append(result.started_s + result.model_s - result.batch.opened_s)
        self._model_s.append(result.model_s)
        if result.failures:
            kinds = [failure.kind for failure in result.failures.values()]
            self._not_finite += kinds.count(FailureKind.OUTPUT_NOT_FINITE)

    def performance(self, *, with_process: bool = False) -> Performance | None:
        """Return the performance of all calls; None if no row went through the model.

        with_process: whether to report the worker process as well.
        """
        if not self._rows:
            return None
        process_usage = self._lane.process_usage if with_process else None
        rows = np.array(self._rows, dtype=np.int64)
        return Performance(
            rows=int(rows.sum()),
            calls=self._calls,
            not_finite=self._not_finite,
            cpu_s=self._cpu_s,
            gpu_s=self._gpu_s if self._lane.on_gpu else None,
            memory_bytes=self._lane.memory_bytes,
            queue_delay_s=self._lane.queue_delay_s,
            latency=LatencyHistogram.of(np.array(self._latency_s), rows),
            model_time=LatencyHistogram.of(np.array(self._model_s), rows),
            process=None if process_usage is None else process_usage(),
        )

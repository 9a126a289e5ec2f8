"""The objective in a worker: observes the stages for the controller, and sets the limits that it decides."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, Chunk, PartitionLag, TopicPartition
from forebay.stream.objective.controller import ObjectiveController, ObjectiveReport
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.commit_pacing import CommitPacing
from forebay.stream.pipeline.in_flight import InFlight
from forebay.stream.pipeline.lane import Lane
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.observer import CommitTimes, NullObserver

log = logging.getLogger("forebay.objective")


class ObjectiveControl(NullObserver):
    """An `Observer` that applies the controller's decisions to the micro-batchers of lanes and to the cadence of commits.

    cpu_time: returns the CPU seconds of the calling thread, which is the event loop's.
    """

    def __init__(
        self,
        controller: ObjectiveController,
        pacing: CommitPacing,
        in_flight: InFlight,
        *,
        clock: Clock,
        cpu_time: Callable[[], float] = time.thread_time,
    ) -> None:
        self._controller = controller
        self.pacing = pacing
        self._in_flight = in_flight
        self._clock = clock
        self._cpu_time = cpu_time
        self._batchers: dict[ModelRef, MicroBatcher] = {}
        self._was_met = True

    def add_lane(self, lane: Lane) -> None:
        """Control the micro-batches of a lane for single events. The limits that it has now are the upper ones."""
        self._batchers[lane.model] = lane.batcher
        lane.batcher.waits_for_device = True
        self._controller.add_lane(lane.model, max_batch_size=lane.batcher.max_batch_size)
        self._apply()

    def remove_lane(self, model: ModelRef) -> None:
        """Control a lane no longer."""
        self._batchers.pop(model, None)
        self._controller.remove_lane(model)

    def report(self) -> ObjectiveReport:
        """Return the state, for users."""
        return self._controller.report(now_s=self._clock.monotonic_s())

    def on_lags(self, lags: Mapping[TopicPartition, PartitionLag]) -> None:
        """Take the lag of the assigned partitions, when it has been polled."""
        now_s = self._clock.monotonic_s()
        self._controller.on_lag(
            {partition: lag.stable_offset for partition, lag in lags.items()},
            sum(lag.lag for lag in lags.values()),
            now_s=now_s,
        )
        self._advance(now_s)

    # ---- the observer

    def on_polled(self, chunks: Sequence[Chunk], *, began_s: float, received_s: float) -> None:
        oldest_ms: int | None = None
        for chunk in chunks:
            if chunk.model not in self._batchers:
                continue
            self._controller.on_polled(chunk.model, chunk.num_records, now_s=received_s)
            timestamp_ms = chunk.records[0].timestamp if chunk.num_rows else -1
            if timestamp_ms >= 0 and (oldest_ms is None or timestamp_ms < oldest_ms):
                oldest_ms = timestamp_ms
        if oldest_ms is not None:
            self._controller.on_read((self._clock.wall_ms() - oldest_ms) / 1000, now_s=received_s)
        self._advance(received_s)

    def on_result(self, result: BatchResult) -> None:
        self._controller.on_call(
            result.model,
            result.batch.num_rows,
            model_s=result.model_s,
            queued_s=result.started_s - result.batch.opened_s,
            now_s=result.started_s + result.model_s,
        )

    def on_commit_started(self, batches: Sequence[BatchResult]) -> None:
        now_s = self._clock.monotonic_s()
        self.pacing.record_start()
        for model, batcher in self._batchers.items():
            batcher.hold_until(now_s + self._controller.hold_s(model))

    def on_committed(self, batches: Sequence[BatchResult], ledger: Ledger, times: CommitTimes) -> None:
        timestamps = [
            of_model.record_timestamps() for model, of_model in ledger.models.items() if model in self._batchers
        ]
        timestamps_N = np.concatenate([np.empty(0, dtype=np.int64), *timestamps])
        ages_ms = self._clock.wall_ms() - timestamps_N[timestamps_N >= 0].astype(np.float64)
        num_records = sum(result.batch.num_records for result in batches)
        self._controller.on_committed(num_records, ages_ms, duration_s=times.end - times.began, now_s=times.end)
        self._advance(times.end)

    # ---- decisions

    def _advance(self, now_s: float) -> None:
        if not self._controller.advance(now_s=now_s, cpu_s=self._cpu_time(), in_flight=self._in_flight.events):
            return
        self._apply()
        if self._controller.verdict.is_met != self._was_met:
            self._was_met = self._controller.verdict.is_met
            self._log_change()

    def _apply(self) -> None:
        for model, batcher in self._batchers.items():
            limits = self._controller.limits_of(model)
            batcher.set_limits(**limits._asdict())
        self.pacing.interval_s = self._controller.commit_interval_s

    def _log_change(self) -> None:
        report = self.report()
        objective = f"objective.p99_ms = {1000 * report.objective_s:g}"
        p99 = "unknown" if report.p99_s is None else f"{1000 * report.p99_s:,.0f} ms"
        if report.verdict.is_met:
            log.info("%s is met again: the 99th percentile of the last ten seconds is %s", objective, p99)
            return
        log.warning(
            "%s is not met: the 99th percentile of the last ten seconds is %s. %s; nothing is dropped",
            objective,
            p99,
            report.verdict.detail,
        )

"""Samples, errors and warnings of the worker, collected from the stages for `/status` and the probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from forebay.stream.admin.recent_errors import ErrorSummary, RecentWarnings
from forebay.stream.admin.samples import SampleHistory
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import BatchResult, MicroBatch, TopicPartition, WindowStatus
from forebay.stream.eventtime.window_chunk import WindowChunk
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes, NullObserver


class StatusObserver(NullObserver):
    """An `Observer` that keeps what `/status` and the probes report.

    commit_failed_s: monotonic time of the last failed commit; None if a commit has succeeded since.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self.batches_finished = 0
        self.commit_failed_s: float | None = None
        self.window_statuses: Mapping[TopicPartition, WindowStatus] = {}
        self.samples = SampleHistory()
        self.errors = ErrorSummary()
        self.warnings = RecentWarnings()

    def on_result(self, result: BatchResult) -> None:
        self.batches_finished += 1

    def on_committed(self, batches: Sequence[BatchResult], ledger: Ledger, times: CommitTimes) -> None:
        wall_ms = self._clock.wall_ms()
        # A micro-batch that closes no window only completes the outcomes of events; the model does not see it.
        modelled = [(size, result.model_s) for result in batches if (size := _size(result.batch))]
        self.commit_failed_s = None
        self.samples.record_commit(
            wall_ms=wall_ms,
            outcomes=ledger.outcomes,
            batch_sizes=[size for size, _ in modelled],
            model_ms=np.array([model_s for _, model_s in modelled], dtype=np.float64) * 1000,
            latencies_ms=ledger.latencies_ms(wall_ms=wall_ms),
        )
        self.errors.record_commit(batches, ledger, wall_ms=wall_ms)

    def on_commit_failed(self, batches: Sequence[BatchResult], error: BaseException) -> None:
        self.commit_failed_s = self._clock.monotonic_s()

    def on_window_status(self, statuses: Mapping[TopicPartition, WindowStatus]) -> None:
        self.window_statuses = statuses


def _size(batch: MicroBatch) -> int:
    """Return the size that `batch.max_batch_size` limits: records, or windows if the model takes windows."""
    windowed = any(isinstance(chunk, WindowChunk) for chunk in batch.chunks)
    return batch.num_rows if windowed else batch.num_records

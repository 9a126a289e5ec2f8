"""Samples, errors and warnings of the worker, collected from the stages for `/status` and the probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.schemas.failures import Outcome
from forebay.stream.admin.recent_errors import ErrorSummary, RecentWarnings
from forebay.stream.admin.samples import SUMMARY_S, SampleHistory
from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, MicroBatch, TopicPartition, WindowStatus
from forebay.stream.eventtime.window_chunk import WindowChunk
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes, NullObserver


@dataclass(frozen=True, slots=True)
class ModelActivity:
    """What was committed for one model: totals since the start, and samples of the last seconds."""

    samples: SampleHistory
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)


class _FinishedBatch(NamedTuple):
    model: ModelRef
    size: int
    model_s: float


class StatusObserver(NullObserver):
    """An `Observer` that keeps what `/status` and the probes report.

    models: the served models. `activities` has an entry for each of them.
    is_fixed: whether no version is added or removed while the worker runs.
    commit_failed_s: monotonic time of the last failed commit; None if a commit has succeeded since.
    """

    def __init__(self, models: Sequence[ModelRef], *, clock: Clock, is_fixed: bool = True) -> None:
        self._clock = clock
        self._partial_sizes: dict[tuple[ModelRef, int], int] = {}
        self.batches_finished = 0
        self.commit_failed_s: float | None = None
        self.window_statuses: Mapping[TopicPartition, WindowStatus] = {}
        self.samples = SampleHistory()
        self.activities: dict[ModelRef, ModelActivity] = {
            # The samples of an only model are those of the worker. For others the seconds of the summary suffice.
            model: ModelActivity(self.samples) if is_fixed and len(models) == 1 else _new_activity()
            for model in models
        }
        self.errors = ErrorSummary()
        self.warnings = RecentWarnings()

    def add_model(self, model: ModelRef) -> None:
        """Keep what is committed for another version from now on."""
        self.activities.setdefault(model, _new_activity())

    def remove_model(self, model: ModelRef) -> None:
        """Drop what was kept for a version. Nothing of it is in flight any more."""
        self.activities.pop(model, None)

    def on_result(self, result: BatchResult) -> None:
        self.batches_finished += 1

    def on_committed(self, batches: Sequence[BatchResult], ledger: Ledger, times: CommitTimes) -> None:
        wall_ms = self._clock.wall_ms()
        finished = self._finished(batches)
        latencies_ms = {model: of_model.latencies_ms(wall_ms=wall_ms) for model, of_model in ledger.models.items()}
        self.commit_failed_s = None
        for model, of_model in ledger.models.items():
            activity = self.activities.get(model)
            if activity is None:
                continue  # its version was removed meanwhile
            activity.outcomes.update(of_model.outcomes)
            activity.kinds.update(of_model.kinds)
            if activity.samples is not self.samples:
                activity.samples.record_commit(
                    wall_ms=wall_ms,
                    outcomes=of_model.outcomes,
                    batch_sizes=[batch.size for batch in finished if batch.model == model],
                    model_ms=_model_ms(batch for batch in finished if batch.model == model),
                    latencies_ms=latencies_ms[model],
                )
        self.samples.record_commit(
            wall_ms=wall_ms,
            outcomes=ledger.outcomes,
            batch_sizes=[batch.size for batch in finished],
            model_ms=_model_ms(finished),
            latencies_ms=np.concatenate([np.empty(0), *latencies_ms.values()]),
        )
        self.errors.record_commit(batches, ledger, wall_ms=wall_ms)

    def on_purged(self) -> None:
        self._partial_sizes.clear()

    def _finished(self, batches: Sequence[BatchResult]) -> list[_FinishedBatch]:
        """Return the micro-batches whose last part is committed, with the sizes of all their parts.

        A micro-batch that closes no window only completes the outcomes of events. The model does not see it, so it is left out.
        """
        finished = []
        for result in batches:
            key = (result.model, result.batch.seq)
            size = self._partial_sizes.pop(key, 0) + _size(result.batch)
            if not result.is_last_part:
                self._partial_sizes[key] = size
            elif size:
                finished.append(_FinishedBatch(result.model, size, result.model_s))
        return finished

    def on_commit_failed(self, batches: Sequence[BatchResult], error: BaseException) -> None:
        self.commit_failed_s = self._clock.monotonic_s()

    def on_window_status(self, statuses: Mapping[TopicPartition, WindowStatus]) -> None:
        self.window_statuses = statuses


def _new_activity() -> ModelActivity:
    return ModelActivity(SampleHistory(history_s=SUMMARY_S + 2))


def _size(batch: MicroBatch) -> int:
    """Return the size that `batch.max_batch_size` limits: records, or windows if the model takes windows."""
    windowed = any(isinstance(chunk, WindowChunk) for chunk in batch.chunks)
    return batch.num_rows if windowed else batch.num_records


def _model_ms(batches: Iterable[_FinishedBatch]) -> npt.NDArray[np.float64]:
    return np.array([batch.model_s for batch in batches], dtype=np.float64) * 1000

"""The lane of a shadow: which events it gets, what is dropped and why, and when it is disabled.

Everything here runs on the event loop's thread, costs microseconds for a micro-batch, and never waits.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import Outgoing
from forebay.stream.core.records import BatchResult, TopicPartition
from forebay.stream.rollouts.comparison import PairedComparison
from forebay.stream.rollouts.sampling import OffsetSample
from forebay.stream.shadows.job import DropReason, ShadowExecutor, ShadowJob, ShadowOutcome, sampled_rows
from forebay.stream.shadows.share_budget import ShareBudget

log = logging.getLogger("forebay.shadows")

MAX_FAULTS: Final = 5
"""A shadow that fails on all events of this many micro-batches in a row is disabled."""


class ShadowState(StrEnum):
    """The state of a shadow on one worker."""

    LOADING = "loading"
    RUNNING = "running"
    DISABLED = "disabled"
    FAILED = "failed"


class PairSink(Protocol):
    """Takes the records of pairs (see `kafka.producer.best_effort_sink`)."""

    def offer(
        self,
        outgoing: Mapping[TopicPartition, Outgoing],
        *,
        num_bytes: int,
        num_events: int,
        on_lost: Callable[[int], None],
    ) -> None:
        """Take the records, or report them as lost, now or later. Never waits."""


@dataclass(frozen=True, slots=True)
class ShadowLimits:
    """Limits of one shadow.

    queue_batches: micro-batches that may wait or run.
    call_timeout_s: a job that runs for longer disables the shadow.
    """

    queue_batches: int
    call_timeout_s: float


@dataclass(slots=True)
class ShadowCounts:
    """Counts of events, but for `faults`.

    sampled: events of the sample. Each is waiting, dropped or compared.
    not_sent: compared events whose pairs were not written to the topic.
    faults: micro-batches without an event that the shadow could predict.
    """

    sampled: int = 0
    waiting: int = 0
    dropped: Counter[DropReason] = field(default_factory=Counter)
    not_sent: int = 0
    faults: int = 0


class ShadowLane:
    """One shadow on one worker.

    has_same_columns: returns whether the shadow takes the rows of a version as they are; None if that version is unknown.
    is_load_high: returns whether the worker is under load.
    """

    def __init__(
        self,
        ref: ModelRef,
        *,
        sample: OffsetSample,
        revision: int,
        limits: ShadowLimits,
        budget: ShareBudget,
        has_same_columns: Callable[[ModelRef], bool | None],
        is_load_high: Callable[[], bool],
        sink: PairSink,
        clock: Clock,
    ) -> None:
        self.ref = ref
        self.sample = sample
        self.revision = revision
        self.state = ShadowState.LOADING
        self.error: str | None = None
        self.counts = ShadowCounts()
        self.comparisons: dict[int, PairedComparison] = {}
        self._limits = limits
        self._budget = budget
        self._has_same_columns = has_same_columns
        self._is_load_high = is_load_high
        self._sink = sink
        self._clock = clock
        self._executor: ShadowExecutor | None = None
        self._outstanding = 0
        self._faults_in_a_row = 0

    def run_on(self, executor: ShadowExecutor) -> None:
        """Begin: the executor is started and warm."""
        self._executor = executor
        self.state = ShadowState.RUNNING

    def offer(self, result: BatchResult) -> None:
        """Take the sampled events of a micro-batch that a version has just predicted, or drop them."""
        if self.state is not ShadowState.RUNNING or result.model.version == self.ref.version:
            return
        same_columns = self._has_same_columns(result.model)
        if same_columns is None:
            return
        parts = sampled_rows(result, self.sample)
        if not parts:
            return
        now_s = self._clock.monotonic_s()
        job = ShadowJob(result, parts, has_same_columns=same_columns, revision=self.revision, offered_s=now_s)
        self.counts.sampled += job.num_events
        reason = self._drop_reason(now_s)
        if reason is not None:
            self.counts.dropped[reason] += job.num_events
        elif self._executor is not None:
            self._outstanding += 1
            self.counts.waiting += job.num_events
            self._executor.submit(job)

    def _drop_reason(self, now_s: float) -> DropReason | None:
        if self._is_load_high():
            return DropReason.LOAD
        running_s = 0.0 if self._executor is None else self._executor.running_for_s()
        if not self._budget.allows(now_s, running_s=running_s):
            return DropReason.SHARE
        if self._outstanding >= self._limits.queue_batches:
            return DropReason.QUEUE_FULL
        return None

    def on_outcome(self, outcome: ShadowOutcome) -> None:
        """Take the outcome of a job from the executor."""
        self._budget.charge(outcome.busy_s, self._clock.monotonic_s())
        if self._executor is None:
            return  # it was stopped meanwhile, and its jobs were counted as dropped
        num_events = outcome.job.num_events
        self._outstanding -= 1
        self.counts.waiting -= num_events
        if outcome.comparison is None:
            self.counts.dropped[outcome.dropped or DropReason.ERROR] += num_events
        else:
            version = outcome.job.result.model.version
            self.comparisons.setdefault(version, PairedComparison()).merge(outcome.comparison)
        if outcome.outgoing:
            num_records = sum(len(records.values) for records in outcome.outgoing.values())
            self._count_lost(num_events - num_records)
            self._sink.offer(
                outcome.outgoing, num_bytes=outcome.num_bytes, num_events=num_records, on_lost=self._count_lost
            )
        if outcome.fault is None:
            self._faults_in_a_row *= outcome.comparison is None
            return
        self.counts.faults += 1
        self._faults_in_a_row += 1
        if self._faults_in_a_row >= MAX_FAULTS:
            self.disable(f"it failed on all events of {MAX_FAULTS} micro-batches in a row; the last: {outcome.fault}")

    def check_call(self) -> None:
        """Disable the shadow if its current job hangs. A thread cannot be stopped; it ends with the process."""
        if self.state is not ShadowState.RUNNING or self._executor is None:
            return
        running_s = self._executor.running_for_s()
        if running_s > self._limits.call_timeout_s:
            self.disable(f"a call has not returned after {running_s:.1f} s")

    def disable(self, reason: str) -> None:
        """Stop predicting until a revision starts the shadow again."""
        if self.state in (ShadowState.DISABLED, ShadowState.FAILED):
            return
        self.state, self.error = ShadowState.DISABLED, reason
        log.warning("the shadow %s is disabled: %s; outcomes are not affected", self.ref, reason)
        self.stop()

    def fail(self, reason: str) -> None:
        """Record that the version could not be loaded."""
        self.state, self.error = ShadowState.FAILED, reason
        log.error("the shadow %s cannot be loaded: %s; outcomes are not affected", self.ref, reason)

    def stop(self) -> None:
        """End the executor without waiting for it."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.stop()
            self.counts.dropped[DropReason.STOPPED] += self.counts.waiting
            self._outstanding = self.counts.waiting = 0

    def _count_lost(self, num_events: int) -> None:
        self.counts.not_sent += num_events

    def status(self) -> dict[str, Any]:
        """Return the status as JSON values. rows: compared events; agreement: the share of those with the same class."""
        comparisons = self.comparisons.values()
        classified = sum(found.agreed + found.disagreed for found in comparisons)
        return {
            "version": self.ref.version,
            "sample": self.sample.share,
            "state": self.state.value,
            "rows": sum(found.events for found in comparisons),
            "agreement": sum(found.agreed for found in comparisons) / classified if classified else None,
            "error": self.error,
            "sampled": self.counts.sampled,
            "waiting": self.counts.waiting,
            "dropped": {reason.value: self.counts.dropped[reason] for reason in DropReason},
            "not_sent": self.counts.not_sent,
            "faults": self.counts.faults,
            "comparisons": {str(version): found.to_dict() for version, found in sorted(self.comparisons.items())},
        }

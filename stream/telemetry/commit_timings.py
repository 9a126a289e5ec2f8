"""Durations of the steps of commits, which a worker logs as a summary when it ends, and the bench reports."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from forebay.stream.core.percentile import percentile
from forebay.stream.core.records import BatchResult
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes, NullObserver

MAX_COMMITS: Final = 1024
STEPS: Final = CommitTimes._fields[2:]
"""The steps of the summary: all but `emit`, which does not wait for the cluster."""


class CommitTimings(NullObserver):
    """An `Observer` that keeps the times of the last `MAX_COMMITS` successful commits."""

    def __init__(self) -> None:
        self._times: deque[CommitTimes] = deque(maxlen=MAX_COMMITS)

    def __len__(self) -> int:
        return len(self._times)

    def on_committed(self, batches: Sequence[BatchResult], ledger: Ledger, times: CommitTimes) -> None:
        self._times.append(times)

    def summary(self) -> dict[str, dict[str, float]]:
        """Return `p50_ms` and `p99_ms` (nearest rank) of each step; empty if there was no commit."""
        if not self._times:
            return {}
        durations_s = [times.durations_s() for times in self._times]
        ordered_s = {step: sorted(durations[step] for durations in durations_s) for step in STEPS}
        return {
            step: {f"p{percent}_ms": round(percentile(of_step_s, percent) * 1000, 2) for percent in (50, 99)}
            for step, of_step_s in ordered_s.items()
        }

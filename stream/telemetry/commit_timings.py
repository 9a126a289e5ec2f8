"""Where commits spend their time: the summary that a worker logs when it ends, and that the bench reports."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np

from forebay.stream.observer import CommitTimes, Unobserved
from forebay.stream.outcomes import Ledger
from forebay.stream.records import Finished

MAX_COMMITS: Final = 1024
STEPS: Final = CommitTimes._fields[2:]
"""The steps of the summary: all but `emit`, which does not wait for the cluster."""


class CommitTimings(Unobserved):
    """An `Observer` that keeps the times of the last commits that succeeded, at most `MAX_COMMITS`."""

    def __init__(self) -> None:
        self._times: deque[CommitTimes] = deque(maxlen=MAX_COMMITS)

    def __len__(self) -> int:
        return len(self._times)

    def committed(self, batches: Sequence[Finished], ledger: Ledger, times: CommitTimes) -> None:
        self._times.append(times)

    def summary(self) -> dict[str, dict[str, float]]:
        """Return `p50_ms` and `p99_ms` (nearest rank) of each step; empty if there was no commit."""
        if not self._times:
            return {}
        durations_s = [times.durations_s() for times in self._times]
        took_ms = np.array([[one[step] for step in STEPS] for one in durations_s]) * 1000
        p50_ms, p99_ms = np.percentile(took_ms, [50, 99], axis=0, method="inverted_cdf").round(2).tolist()
        return {step: {"p50_ms": p50_ms[index], "p99_ms": p99_ms[index]} for index, step in enumerate(STEPS)}

"""Count the rows for which a version gave NaN or an infinite value."""

from __future__ import annotations

from collections import Counter

from forebay.schemas.failures import FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult
from forebay.stream.pipeline.observer import NullObserver


class NonFiniteCounter(NullObserver):
    """An `Observer` that counts them in the results of the versions under watch.

    Results count, not commits: a version that gives NaN must not wait for a commit.
    """

    def __init__(self) -> None:
        self._rows: dict[ModelRef, int] = {}
        self._not_finite: Counter[ModelRef] = Counter()

    def watch(self, ref: ModelRef) -> None:
        """Count the results of a version from now on, starting at 0."""
        self._rows[ref] = self._not_finite[ref] = 0

    def forget(self, ref: ModelRef) -> None:
        """Count no results of a version any more."""
        self._rows.pop(ref, None)
        del self._not_finite[ref]

    def rows(self, ref: ModelRef) -> int:
        """Return the number of rows that the version was given."""
        return self._rows.get(ref, 0)

    def not_finite(self, ref: ModelRef) -> int:
        """Return the number of rows without a finite output."""
        return self._not_finite[ref]

    def on_result(self, result: BatchResult) -> None:
        if result.model not in self._rows:
            return
        self._rows[result.model] += result.batch.num_rows
        for failure in result.failures.values():
            if failure.kind is FailureKind.OUTPUT_NOT_FINITE:
                self._not_finite[result.model] += 1

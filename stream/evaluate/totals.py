"""Running totals of an evaluator, for its metrics."""

from __future__ import annotations

from collections import Counter

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.quantities import quantity
from forebay.stream.evaluate.joins import Snapshot
from forebay.stream.quality.wire import LabelCounts


class Totals:
    """Counts since the start. All except the records and failed commits are of what was committed.

    records: that were read, including those that were read again.
    predictions, matched, evicted: by version.
    """

    def __init__(self) -> None:
        self.records = 0
        self.commits = 0
        self.failed_commits = 0
        self.predictions: Counter[ModelRef] = Counter()
        self.matched: Counter[ModelRef] = Counter()
        self.evicted: Counter[ModelRef] = Counter()
        self.labels = LabelCounts()

    def __str__(self) -> str:
        """Return the totals as a line for people."""
        predictions, matched = sum(self.predictions.values()), sum(self.matched.values())
        refused = self.labels.refused
        return (
            f"{quantity(predictions, 'prediction')} counted, {matched:,} with a label; "
            f"{quantity(self.labels.labels, 'label')}, {refused:,} refused"
        )

    def add(self, snapshot: Snapshot) -> None:
        """Add what a commit contained."""
        self.commits += 1
        for (key, _), (sums, _) in snapshot.sums.items():
            if key.slice:
                continue
            ref = ModelRef(key.model, key.version)
            self.predictions[ref] += sums.predictions
            self.matched[ref] += sums.matched
            self.evicted[ref] += sums.evicted
        for counts in snapshot.labels.values():
            self.labels.merge(counts)

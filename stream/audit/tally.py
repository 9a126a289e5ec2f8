"""Counts of audited outcomes, for comparison with the records of the other topics."""

from __future__ import annotations

from collections import Counter

import numpy as np

from forebay.stream.audit.block import Block

PREDICTIONS = frozenset({"predicted", "abstained", "window_predicted", "window_abstained"})
ACCEPTED = "accepted"
LATE = "late"
WINDOW = "window:"


class OutcomeTally:
    """Sums over all blocks.

    records: number of records of the input, by chain; a record with several events counts once.
    outcomes: number of outcomes: of events and windows.
    letters: number of rows by outcome: what has one prediction or dead letter each.
    """

    def __init__(self) -> None:
        self.records: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.letters: Counter[str] = Counter()
        self._last_offsets: dict[str, int] = {}

    def add(self, block: Block) -> None:
        """Add a block. Raises DataError if its columns cannot be read."""
        if block.is_action:
            return
        rows, name = block.rows(), str(block.head.chain)
        is_row_N = rows.row_N >= 0
        self.records[name] += int(rows.count_N[~is_row_N].sum())
        if is_row_N.any():
            offsets = np.unique(rows.offset_N[is_row_N])
            self.records[name] += len(offsets) - int(offsets[0] == self._last_offsets.get(name))
            self._last_offsets[name] = int(offsets[-1])
        count = len(rows.outcomes)
        row_counts = np.bincount(rows.outcome_N, minlength=count).tolist()
        sums = np.bincount(rows.outcome_N, weights=np.maximum(rows.count_N, 1), minlength=count).tolist()
        for outcome, num_rows, total in zip(rows.outcomes, row_counts, sums, strict=True):
            if num_rows:
                self.letters[outcome] += num_rows
                self.outcomes[outcome] += int(total)

    @property
    def num_predictions(self) -> int:
        """Number of predictions, also of windows and abstentions."""
        return sum(count for outcome, count in self.letters.items() if outcome in PREDICTIONS)

    @property
    def num_late(self) -> int:
        """Number of events that came too late for their windows."""
        return self.letters[LATE]

    @property
    def num_dead_letters(self) -> int:
        """Number of dead letters."""
        others = PREDICTIONS | {ACCEPTED, LATE}
        return sum(count for outcome, count in self.letters.items() if outcome not in others)

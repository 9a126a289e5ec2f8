"""Pairs of a shadow and the version that served whose label came, still to be added to their sums."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from forebay.stream.evaluate.columns import ShadowRef
from forebay.stream.evaluate.groups import Groups
from forebay.stream.evaluate.pending_quality import MAX_PENDING_ROWS, PairRows, PendingRows, runs
from forebay.stream.evaluate.waiting_predictions import Layout
from forebay.stream.experiments.paired_sums import PairedSums, PredictedBy
from forebay.stream.quality.keys import Task

SERVED: Final = 0
SHADOW: Final = 1


class PairedKey(NamedTuple):
    """What paired sums are counted by. window_start: ms since the Unix epoch. task: sums of different tasks do not add up."""

    ref: ShadowRef
    window_start: int
    task: Task


class PendingPaired:
    """Collects pairs with labels, and adds them to the sums of their keys.

    The scores of a row are those of the version that served and then those of the shadow; likewise the classes.
    """

    def __init__(self, groups: Groups[ShadowRef]) -> None:
        self._groups = groups
        self._pending: dict[Layout, list[PairRows]] = {}
        self._num_pending = 0
        self._sums: dict[PairedKey, PairedSums] = {}

    def add(self, layout: Layout, rows: PendingRows) -> None:
        """Add rows of one layout. Without a label, there is nothing to count."""
        if not isinstance(rows, PairRows):
            return
        self._pending.setdefault(layout, []).append(rows)
        self._num_pending += len(rows.groups)
        if self._num_pending >= MAX_PENDING_ROWS:
            self._fold()

    def take(self) -> dict[PairedKey, PairedSums]:
        """Return the sums since the last call."""
        self._fold()
        taken, self._sums = self._sums, {}
        return taken

    def _fold(self) -> None:
        for layout, parts in self._pending.items():
            columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
            rows = PairRows(*columns)
            versions = self._groups.refs_of(rows.groups)
            for (version, window, sign), at in runs(versions, rows.windows, rows.signs.astype(np.int64)):
                key = PairedKey(self._groups.refs.values[version], window, layout.task)
                if key not in self._sums:
                    self._sums[key] = PairedSums(layout.task, served=key.ref.served)
                served = PredictedBy(rows.scores[at, : layout.num_scores], rows.classes[at, SERVED])
                shadow = PredictedBy(rows.scores[at, layout.num_scores :], rows.classes[at, SHADOW])
                self._sums[key].add_pairs(rows.blocks[at], served, shadow, rows.actual[at], sign=sign)
        self._pending.clear()
        self._num_pending = 0

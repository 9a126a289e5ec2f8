"""Rows of several segments, read and changed as if they were one.

Shapes: M = selected rows; a row is selected once for each of its labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple

import numpy as np

from forebay.stream.evaluate.checkpoint import Mark
from forebay.stream.evaluate.columns import Blocks, Integers, Scores
from forebay.stream.evaluate.pairing import Floats, Mask
from forebay.stream.evaluate.waiting_predictions import Column, LabelOrigins, Rows, Segment

_ROW_BITS: Final = 32


class Part(NamedTuple):
    """Rows of one segment."""

    segment: Segment
    rows_M: Rows


@dataclass(slots=True)
class Selection:
    """Selected predictions of one layout. ids_M: in the order of the segments and their rows.

    labels_M: their labels so far; NaN for none.
    """

    segments: Sequence[Segment]
    ids_M: Integers
    times_M: Integers
    groups_M: Column
    blocks_M: Blocks
    scores_MO: Scores
    classes_MC: Column
    labels_M: Floats

    def __len__(self) -> int:
        return len(self.ids_M)

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Selection:
        """Return the rows of these segments."""

        def gathered(column: Callable[[Segment, Rows], Column]) -> Column:
            found = [column(segment, rows) for segment, rows in parts]
            return found[0] if len(found) == 1 else np.concatenate(found)

        return cls(
            segments=[segment for segment, _ in parts],
            ids_M=np.concatenate([rows + (number << _ROW_BITS) for number, (_, rows) in enumerate(parts)]),
            times_M=gathered(lambda segment, rows: segment.times(rows)),
            groups_M=gathered(lambda segment, rows: segment.groups_N[rows]),
            blocks_M=gathered(lambda segment, rows: segment.blocks_N[rows]),
            scores_MO=gathered(lambda segment, rows: segment.scores_NO[rows]),
            classes_MC=gathered(lambda segment, rows: segment.classes_NC[rows]),
            labels_M=gathered(lambda segment, rows: segment.labels(rows)),
        )

    def take(self, chosen: Rows) -> Selection:
        """Return some of the selected rows."""
        columns: dict[str, Any] = {
            field.name: getattr(self, field.name)[chosen] for field in fields(self) if field.name != "segments"
        }
        return replace(self, **columns)

    def is_not_after(self, limits_M: Integers) -> Mask:
        """Return whether the maximum at each row is at most the limit."""
        if all(segment.maxima_N is None for segment in self.segments):
            return np.ones(len(self), bool)
        found = np.empty(len(self), bool)
        for segment, rows, at in self._by_segment():
            found[at] = segment.is_not_after(rows, limits_M[at])
        return found

    def label_origins(self) -> LabelOrigins:
        """Return what came with the labels so far."""
        found = LabelOrigins(np.zeros(len(self), np.int64), np.zeros(len(self), np.int64))
        for segment, rows, at in self._by_segment():
            if segment.label_slices_N is not None:
                found.slices_M[at], found.delays_M[at] = segment.label_origins(rows)
        return found

    def set_labels(self, values_M: Floats, origins: LabelOrigins, labels_from: Mark) -> None:
        """Set the labels, one for each row. labels_from: the position of the first of them."""
        for segment, rows, at in self._by_segment():
            segment.set_labels(rows, values_M[at], origins.take(at), labels_from)

    def _by_segment(self) -> list[tuple[Segment, Rows, Rows]]:
        numbers = self.ids_M >> _ROW_BITS
        rows = self.ids_M & ((1 << _ROW_BITS) - 1)
        if len(self.segments) == 1:
            return [(self.segments[0], rows, np.arange(len(rows)))]
        found: list[tuple[Segment, Rows, Rows]] = []
        for number in np.unique(numbers).tolist():
            at = np.flatnonzero(numbers == number)
            found.append((self.segments[number], rows[at], at))
        return found

"""Predictions and pairs that are still to be added to the sums of their keys.

Rows are collected until there are many: adding a few rows at a time to the sums of many windows and slices would cost more
than the join.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.evaluate.columns import Integers, Scores
from forebay.stream.evaluate.groups import Groups
from forebay.stream.evaluate.interning import Codes, Interner, SliceSets
from forebay.stream.evaluate.pairing import Floats
from forebay.stream.evaluate.waiting_predictions import Column, Layout, Rows
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.sums import QualitySums

MAX_PENDING_ROWS: Final = 1 << 16


class BlockCounter(Protocol):
    """Sums by block of keys."""

    def add_predictions(self, blocks_B: npt.NDArray[np.uint16]) -> None: ...

    def add_pairs(
        self,
        blocks_B: npt.NDArray[np.uint16],
        scores_BO: Scores,
        classes_B: npt.NDArray[Any],
        actual_B: Floats,
        sign: int = 1,
    ) -> None: ...


class PredictionRows(NamedTuple):
    """Predictions that arrived, of one layout."""

    groups: Codes
    windows: Integers
    blocks: npt.NDArray[np.uint16]
    scores: Scores
    classes: Column


class PairRows(NamedTuple):
    """Pairs of a prediction and its label, of one layout.

    actual: the label.
    delays: to count the pair with: the time of the prediction's first label - its own.
    label_slices, label_delays: codes of the slices that came with the labels, and the delays to count under them: those of
        the labels that they came with.
    signs: 1, or -1 for a pair that is taken back.
    """

    groups: Column
    windows: Integers
    blocks: npt.NDArray[np.uint16]
    scores: Scores
    classes: Column
    actual: Floats
    delays: Integers
    label_slices: Integers
    label_delays: Integers
    signs: npt.NDArray[np.int8]

    def with_sign(self, sign: int) -> PairRows:
        """Return the rows with this sign."""
        chosen = self.signs == sign
        columns: list[Any] = [column[chosen] for column in self]
        return PairRows(*columns)


class EvictedRows(NamedTuple):
    """Predictions that were evicted, of one layout."""

    groups: Column
    windows: Integers


PendingRows = PredictionRows | PairRows | EvictedRows


class SumsKey(NamedTuple):
    """What sums are kept by: a version's predictions may have another task or number of classes, and those do not add up.

    num_classes: 0 for a regression, 2 for two classes.
    """

    key: QualityKey
    num_classes: int


Sums = dict[SumsKey, tuple[QualitySums, BlockCounter | None]]


class PendingQuality:
    """Collects rows, and adds them to the sums of their keys.

    new_blocks: returns empty sums by block; None if they are not counted.
    """

    def __init__(
        self, groups: Groups[ModelRef], label_slices: SliceSets, new_blocks: Callable[[Task], BlockCounter] | None
    ) -> None:
        self._groups = groups
        self._label_slices = label_slices
        self._new_blocks = new_blocks
        self._names: Interner[str] = Interner()
        self._pending: dict[tuple[Layout, type[PendingRows]], list[PendingRows]] = {}
        self._num_pending = 0
        self._sums: Sums = {}

    def add(self, layout: Layout, rows: PendingRows) -> None:
        """Add rows of one layout."""
        self._pending.setdefault((layout, type(rows)), []).append(rows)
        self._num_pending += len(rows.groups)
        if self._num_pending >= MAX_PENDING_ROWS:
            self._fold()

    def take(self) -> Sums:
        """Return the sums since the last call."""
        self._fold()
        taken, self._sums = self._sums, {}
        return taken

    def _fold(self) -> None:
        for (layout, kind), parts in self._pending.items():
            rows = kind(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
            if isinstance(rows, PredictionRows):
                self._fold_predictions(layout, rows)
            elif isinstance(rows, PairRows):
                self._fold_pairs(layout, rows)
            else:
                self._fold_evicted(layout, rows)
        self._pending.clear()
        self._num_pending = 0

    def _fold_predictions(self, layout: Layout, rows: PredictionRows) -> None:
        for key, chosen in self._by_key(rows):
            sums, blocks = self._at(key, layout)
            sums.add_predictions(rows.scores[chosen], rows.classes[chosen, 0])
            if blocks is not None:
                blocks.add_predictions(rows.blocks[chosen])

    def _fold_pairs(self, layout: Layout, rows: PairRows) -> None:
        for sign in (1, -1):
            signed = rows.with_sign(sign)
            for key, at in self._by_key(signed):
                self._add_pairs(key, layout, signed, at)
            if signed.label_slices.any():
                # A correction can move a pair from one slice to another, so each has the delay of its own label.
                signed = signed._replace(delays=signed.label_delays)
                versions = self._groups.refs_of(signed.groups)
                own = self._names_in_predictions(signed.groups)
                for key, at in self._by_slice(signed, versions, self._label_slices, signed.label_slices, own=own):
                    self._add_pairs(key, layout, signed, at)

    def _add_pairs(self, key: QualityKey, layout: Layout, rows: PairRows, at: Rows) -> None:
        sign = int(rows.signs[at[0]])
        scores, classes, actual = rows.scores[at], rows.classes[at, 0], rows.actual[at]
        sums, blocks = self._at(key, layout)
        sums.add_pairs(scores, classes, actual, rows.delays[at], sign=sign)
        if blocks is not None:
            blocks.add_pairs(rows.blocks[at], scores, classes, actual, sign=sign)

    def _fold_evicted(self, layout: Layout, rows: EvictedRows) -> None:
        empty_scores, empty_classes = np.zeros((0, layout.num_scores), np.float32), np.zeros(0, np.int32)
        for key, chosen in self._by_key(rows):
            self._at(key, layout)[0].add_predictions(empty_scores, empty_classes, evicted=len(chosen))

    def _by_key(self, rows: PendingRows) -> Iterator[tuple[QualityKey, Rows]]:
        """Yield the rows of each version and window, and then those of each of their slices."""
        versions = self._groups.refs_of(rows.groups)
        for (version, window), chosen in runs(versions, rows.windows):
            yield self._key(version, window), chosen
        yield from self._by_slice(rows, versions, self._groups.slices, self._groups.slices_of(rows.groups))

    def _by_slice(
        self,
        rows: PendingRows,
        versions: Integers,
        slices: SliceSets,
        sets: Integers,
        *,
        own: Integers | None = None,
    ) -> Iterator[tuple[QualityKey, Rows]]:
        """Yield the rows of each slice. own: codes of names of each row that are left out, because its prediction has them."""
        names = None if own is None else self._name_codes(slices)
        for texts in slices.table()[sets].T:
            is_present = texts >= 0
            if own is not None and names is not None:
                is_present &= ~(own == names[texts][:, None]).any(axis=1)
            present = np.flatnonzero(is_present)
            for (version, window, text), chosen in runs(versions[present], rows.windows[present], texts[present]):
                yield self._key(version, window, slices.texts.values[text]), present[chosen]

    def _names_in_predictions(self, groups: Column) -> Integers:
        """Return the codes of the names of the slices that predictions carry, [rows, slices]; -1 for none."""
        slices = self._groups.slices
        return self._name_codes(slices)[slices.table()[self._groups.slices_of(groups)]]

    def _name_codes(self, slices: SliceSets) -> Integers:
        """Return the code of the name of each text, and -1 last, for the code -1."""
        codes = [self._names.code(text.partition("=")[0]) for text in slices.texts.values]
        return np.array([*codes, -1], np.int64)

    def _key(self, version: int, window: int, text: str = "") -> QualityKey:
        ref = self._groups.refs.values[version]
        return QualityKey(ref.name, ref.version, window, text)

    def _at(self, key: QualityKey, layout: Layout) -> tuple[QualitySums, BlockCounter | None]:
        sums_key = SumsKey(key, layout.num_classes)
        found = self._sums.get(sums_key)
        if found is None:
            blocks = None if key.slice or self._new_blocks is None else self._new_blocks(layout.task)
            found = self._sums[sums_key] = (QualitySums(layout.task, layout.num_classes), blocks)
        return found


def runs(*columns: Integers) -> Iterator[tuple[tuple[int, ...], Rows]]:
    """Yield each distinct combination of the columns, with its rows in ascending order."""
    order = np.lexsort(columns)
    if not len(order):
        return
    ordered = [column[order] for column in columns]
    differs = np.any([column[1:] != column[:-1] for column in ordered], axis=0)
    starts = [0, *(np.flatnonzero(differs) + 1).tolist(), len(order)]
    for start, end in pairwise(starts):
        yield tuple(int(column[start]) for column in ordered), order[start:end]

"""Counting rows in bins, compared with counting each value."""

from __future__ import annotations

import numpy as np
import pytest

from forebay.schemas.errors import DataError
from forebay.stream.drift.counts import ColumnCounts
from tests.drift.build import COLOURS, CountingWorker, bins_of, key_of, signature_of

NUM_ROWS = 3_000


def rows(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x_NF = rng.normal(size=(NUM_ROWS, 3)).astype(np.float32)
    x_NF[:, 2] = np.round(x_NF[:, 2])
    x_NF[rng.random((NUM_ROWS, 3)) < 0.05] = np.nan
    codes = rng.integers(0, 4, NUM_ROWS).astype(np.float32)
    codes[:40] = np.nan
    return np.column_stack([x_NF, codes])


def test_counts_are_those_of_each_value() -> None:
    signature = signature_of(3, categories=COLOURS)
    worker = CountingWorker(bins_of(signature, rows(0)))
    x_NF = rows(1)
    x_NF[:5, 0] = [np.inf, -np.inf, 1e30, -1e30, 0.25]
    counts = worker.count(key_of(0), x_NF, np.linspace(0, 1, NUM_ROWS, dtype=np.float32))
    assert (counts.rows, counts.seen) == (NUM_ROWS, NUM_ROWS)
    for bins, column in zip(worker.bins.features[:3], counts.columns, strict=False):
        values = x_NF[:, bins.index]
        present = values[~np.isnan(values)]
        places = np.searchsorted(np.array(bins.edges, np.float32), present, side="right")
        assert column.counts_C.tolist() == np.bincount(places, minlength=bins.num_bins).tolist()
        assert column.missing == len(values) - len(present)
        assert (column.below, column.above) == ((present < bins.low).sum(), (present >= bins.high).sum())
    assert counts.columns[1].total == pytest.approx(np.nansum(x_NF[:, 1], dtype=np.float64))
    assert np.isfinite(counts.columns[0].total), "infinity is left out"
    assert (counts.columns[0].below, counts.columns[0].above) == (2, 2)
    colour = counts.columns[3]
    codes = x_NF[:, 3]
    bins = worker.bins.features[3]
    by_label = dict(zip(bins.labels, colour.counts_C.tolist(), strict=True))
    assert by_label == {name: int((codes == code).sum()) for code, name in enumerate(COLOURS)}
    assert (colour.unseen, colour.missing) == (int((codes == 3).sum()), 40)
    assert counts.columns[4].counts_C.sum() == NUM_ROWS
    assert counts.columns[5].counts_C.tolist() == [NUM_ROWS / 2, NUM_ROWS / 2]


def test_parts_add_up_and_a_take_begins_from_zero() -> None:
    signature = signature_of(3, categories=COLOURS)
    bins = bins_of(signature, rows(0))
    x_NF = rows(2)
    whole = CountingWorker(bins).count(key_of(0), x_NF)
    worker = CountingWorker(bins)
    parts = [worker.count(key_of(0), x_NF[start : start + 700]) for start in range(0, NUM_ROWS, 700)]
    total = parts[0]
    for part in parts[1:]:
        total.merge(part)
    assert [flat(column) for column in total.columns] == [flat(column) for column in whole.columns]
    assert worker.count(key_of(1), x_NF[:0]).is_empty


def test_counts_of_other_bins_are_refused() -> None:
    x_NF = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    first = CountingWorker(bins_of(signature_of(2), x_NF)).count(key_of(0), x_NF)
    constant = CountingWorker(bins_of(signature_of(2), x_NF * 0)).count(key_of(0), x_NF)
    with pytest.raises(DataError, match="other columns or bins"):
        first.merge(constant)


def flat(column: ColumnCounts) -> tuple[object, ...]:
    return column.name, column.counts_C.tolist(), column.missing, column.unseen, column.below, column.above

"""The statistics of a column, against pandas and NumPy."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.models.statistics.column import ColumnStatistics
from forebay.models.statistics.number_distribution import histogram_of
from forebay.models.statistics.table import describe
from tests.conftest import examples

SHARES = (0.25, 0.5, 0.75)


def column_of(
    values: list[Any], data_type: Any, splits: tuple[int, ...] = (), max_exact: int = 100_000
) -> ColumnStatistics:
    """Return the statistics of values that arrive in batches that end at `splits`."""
    statistics = ColumnStatistics("x", data_type, max_exact)
    array = pa.array(values, data_type)
    ends = (0, *sorted(min(split, len(array)) for split in splits), len(array))
    for start, end in pairwise(ends):
        statistics.add(array.slice(start, end - start))
    return statistics


def state(statistics: ColumnStatistics) -> dict[str, Any]:
    """Return everything that is exact, for comparisons."""
    known: dict[str, Any] = {
        name: getattr(statistics, name)
        for name in (
            "rows",
            "nulls",
            "nans",
            "positive_infinities",
            "negative_infinities",
            "empty_texts",
            "num_distinct",
        )
    }
    for distribution in (statistics.numbers, statistics.texts and statistics.texts.lengths):
        if distribution is not None:
            values, counts = distribution.counted()
            known |= {"values": values.tolist(), "counts": counts.tolist(), "least": distribution.minimum}
    if statistics.texts is not None:
        known["frequent"] = statistics.texts.most_frequent(5)
    return known


floats = st.floats(width=64, allow_nan=True, allow_infinity=True)
splits = st.lists(st.integers(0, 40), max_size=4).map(tuple)


@given(st.lists(st.none() | floats, max_size=40), splits)
@settings(max_examples=examples(60), deadline=None)
def test_floats_agree_with_pandas(values: list[float | None], splits: tuple[int, ...]) -> None:
    found = column_of(values, pa.float64(), splits)
    assert (found.rows, found.nulls) == (len(values), sum(value is None for value in values))
    numbers = [value for value in values if value is not None]
    assert found.nans == sum(map(math.isnan, numbers))
    assert found.positive_infinities == numbers.count(math.inf)
    assert found.negative_infinities == numbers.count(-math.inf)
    assert found.num_distinct == pd.Series(numbers, dtype="float64").nunique()
    assert found.numbers is not None
    finite = np.array([value for value in numbers if math.isfinite(value)])
    if not len(finite):
        assert found.numbers.minimum is None and found.numbers.quantiles(SHARES) is None
        return
    assert (found.numbers.minimum, found.numbers.maximum) == (finite.min(), finite.max())
    counts = Counter(finite.tolist())
    assert {one.value: one.count for one in found.numbers.most_frequent(50)} == counts
    scale = float(np.abs(finite).max())
    if scale < 1e150:  # numpy's own mean and variance overflow beyond
        assert found.numbers.moments.mean == pytest.approx(finite.mean(), rel=1e-12, abs=1e-12 * scale)
        deviation = found.numbers.moments.standard_deviation
        if len(finite) > 1 and scale > 1e-140:
            assert deviation == pytest.approx(finite.std(ddof=1), rel=1e-9, abs=1e-12 * scale)
        quartiles = np.percentile(finite, [25, 50, 75])
        assert found.numbers.quantiles(SHARES) == pytest.approx(quartiles, rel=1e-12, abs=1e-12 * scale)


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), max_size=40), splits)
@settings(max_examples=examples(50), deadline=None)
def test_whole_numbers_are_exact(values: list[int | None], splits: tuple[int, ...]) -> None:
    found = column_of(values, pa.int64(), splits)
    numbers = [value for value in values if value is not None]
    assert found.numbers is not None
    assert found.num_distinct == len(set(numbers))
    assert {one.value: one.count for one in found.numbers.most_frequent(50)} == Counter(numbers)
    histogram = histogram_of(found.numbers, 20)
    if not numbers:
        assert histogram is None
        return
    assert (found.numbers.minimum, found.numbers.maximum) == (min(numbers), max(numbers))
    assert found.numbers.moments.mean == pytest.approx(np.array(numbers, np.float64).mean(), rel=1e-12, abs=2e4)
    assert histogram is not None
    bins = [
        sum(low <= one < high for one in numbers)
        for low, high in zip(histogram.edges, histogram.edges[1:], strict=False)
    ]
    assert list(histogram.counts) == bins
    assert sum(bins) == len(numbers) and len(bins) <= 20


@given(
    st.lists(
        st.none() | st.text(max_size=4) | st.sampled_from(["", "x", "日本", "🦀" * 70, "a" * 300, "\x00"]), max_size=30
    ),
    splits,
)
@settings(max_examples=examples(50), deadline=None)
def test_texts_are_exact(values: list[str | None], splits: tuple[int, ...]) -> None:
    found = column_of(values, pa.string(), splits)
    texts = [value for value in values if value is not None]
    assert found.texts is not None
    assert found.num_distinct == len(set(texts))
    assert found.empty_texts == texts.count("")
    lengths = [len(text) for text in texts]
    assert found.texts.lengths.minimum == min(lengths, default=None)
    assert found.texts.lengths.maximum == max(lengths, default=None)
    expected = sorted(Counter(texts).values(), reverse=True)
    assert [one.count for one in found.texts.most_frequent(50)] == expected
    assert all(len(str(one.value)) <= 140 for one in found.texts.most_frequent(50))


@given(
    st.lists(st.none() | st.sampled_from([0.0, -0.0, 1.5, math.inf, math.nan]) | floats, max_size=60),
    st.integers(0, 60),
    st.sampled_from([3, 100_000]),
    st.booleans(),
)
@settings(max_examples=examples(50), deadline=None)
def test_merged_parts_equal_one_pass(values: list[float | None], split: int, max_exact: int, swap: bool) -> None:
    parts = [column_of(part, pa.float64(), max_exact=max_exact) for part in (values[:split], values[split:])]
    merged, added = reversed(parts) if swap else parts
    before = state(added)
    merged.merge(added)
    once = column_of(values, pa.float64(), (split,), max_exact)
    assert state(added) == before
    assert state(merged) == state(once)
    assert merged.numbers is not None and once.numbers is not None
    assert merged.numbers.is_exact == once.numbers.is_exact == (once.numbers.num_distinct <= max_exact)
    first, second = merged.numbers.moments, once.numbers.moments
    finite = [abs(value) for value in values if value is not None and math.isfinite(value)]
    assert first.count == second.count == len(finite)
    if finite and max(finite) < 1e150:
        assert first.mean == pytest.approx(second.mean, rel=1e-9, abs=1e-12 * max(finite))
        assert first.squares == pytest.approx(second.squares, rel=1e-9, abs=1e-12 * max(finite) ** 2)


@given(st.lists(st.text("abc", max_size=3), max_size=40), st.integers(0, 40), st.sampled_from([2, 100_000]))
@settings(max_examples=60, deadline=None)
def test_merged_texts_equal_one_pass(values: list[str], split: int, max_exact: int) -> None:
    merged, added = (column_of(part, pa.string(), max_exact=max_exact) for part in (values[:split], values[split:]))
    merged.merge(added)
    once = column_of(values, pa.string(), max_exact=max_exact)
    assert {**state(merged), "frequent": ()} == {**state(once), "frequent": ()}
    assert merged.texts is not None and merged.texts.is_exact == (len(set(values)) <= max_exact)


def test_a_long_column_stays_within_the_stated_errors() -> None:
    values = np.random.default_rng(5).lognormal(size=300_000)
    values[::3] = 7.0
    table = describe(pa.table({"x": values}).to_batches(65_536))
    assert table is not None
    numbers = table.columns[0].numbers
    assert numbers is not None and not numbers.is_exact
    assert numbers.rank_error <= 0.005 and numbers.distinct_error <= 0.02
    assert abs(numbers.num_distinct / len(np.unique(values)) - 1) <= numbers.distinct_error
    ordered = np.sort(values)
    for share, value in zip(SHARES, numbers.quantiles(SHARES) or (), strict=True):
        low, high = (np.searchsorted(ordered, value, side=side) / len(ordered) for side in ("left", "right"))
        assert low - numbers.rank_error <= share <= high + numbers.rank_error
    (often,) = numbers.most_frequent(5)
    assert often.value == 7.0 and 0 <= 100_000 - often.count <= numbers.max_missed
    assert numbers.moments.mean == pytest.approx(values.mean(), rel=1e-12)
    assert numbers.moments.standard_deviation == pytest.approx(values.std(ddof=1), rel=1e-12)
    histogram = histogram_of(numbers, 20)
    assert histogram is not None and sum(histogram.counts) == 300_000
    exact = np.cumsum(np.histogram(values, histogram.edges)[0])
    assert np.abs(np.cumsum(histogram.counts) - exact).max() <= numbers.rank_error * 300_000


def test_close_numbers_far_from_zero_keep_their_deviation() -> None:
    values = 1e12 + np.random.default_rng(1).standard_normal(10_000).round(3)
    found = column_of(values.tolist(), pa.float64(), (10, 500, 7_000)).numbers
    assert found is not None
    assert found.moments.standard_deviation == pytest.approx((values - 1e12).std(ddof=1), rel=1e-12)


def test_a_constant_has_no_deviation_and_one_bin() -> None:
    found = column_of([0.1] * 1000, pa.float64(), (3, 600)).numbers
    assert found is not None
    assert (found.moments.mean, found.moments.standard_deviation, found.num_distinct) == (0.1, 0.0, 1)
    histogram = histogram_of(found, 20)
    assert histogram is not None and histogram.counts == (1000,) and histogram.edges[0] == 0.1


@pytest.mark.parametrize(
    ("values", "data_type", "kind", "least", "greatest"),
    [
        ([True, None, False, True], pa.bool_(), "boolean", 0, 1),
        ([2**64 - 1, 0], pa.uint64(), "number", 0, 2**64 - 1),
        ([1.5, None], pa.float16(), "number", 1.5, 1.5),
        ([-5, 3], pa.int8(), "number", -5, 3),
        ([Decimal("1.25"), Decimal("-3.50")], pa.decimal128(5, 2), "number", -3.5, 1.25),
        ([date(1970, 1, 3), date(1969, 12, 31)], pa.date32(), "timestamp", -1, 2),
        ([datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)], pa.timestamp("ms", "UTC"), "timestamp", 1000, 1000),
        ([time(0, 1)], pa.time32("s"), "number", 60, 60),
        ([time(0, 1)], pa.time64("us"), "number", 60_000_000, 60_000_000),
        ([timedelta(seconds=2)], pa.duration("ms"), "number", 2000, 2000),
    ],
)
def test_every_type_of_number_is_described(
    values: list[Any], data_type: Any, kind: str, least: Any, greatest: Any
) -> None:
    found = column_of(values, data_type, (1,))
    assert found.kind == kind and found.numbers is not None
    assert (found.numbers.minimum, found.numbers.maximum) == (least, greatest)
    assert found.rows - found.nulls == found.numbers.moments.count


@pytest.mark.parametrize("data_type", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_every_type_of_text_is_described(data_type: Any) -> None:
    found = column_of(["b", None, "a", "b"], data_type, (2,))
    assert found.kind == "text" and found.texts is not None
    assert [(one.value, one.count) for one in found.texts.most_frequent(5)] == [("b", 2), ("a", 1)]


@pytest.mark.parametrize(
    ("values", "data_type"),
    [
        ([None, None], pa.null()),
        ([[1], None], pa.list_(pa.int8())),
        ([b"\xff", None], pa.binary()),
        ([], pa.struct([])),
    ],
)
def test_other_types_are_only_counted(values: list[Any], data_type: Any) -> None:
    found = column_of(values, data_type)
    assert (found.kind, found.rows, found.nulls) == ("other", len(values), values.count(None))
    assert found.num_distinct is None and found.numbers is None and found.texts is None


@pytest.mark.parametrize("data_type", [pa.float64(), pa.int64(), pa.bool_(), pa.string(), pa.timestamp("us")])
def test_columns_without_values_are_described(data_type: Any) -> None:
    for values in ([], [None] * 3):
        found = column_of(values, data_type)
        assert (found.rows, found.nulls, found.num_distinct) == (len(values), len(values), 0)


def test_different_columns_are_not_merged() -> None:
    with pytest.raises(ValueError, match="cannot be merged"):
        column_of([1], pa.int64()).merge(column_of([1.0], pa.float64()))

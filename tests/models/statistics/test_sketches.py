"""The sketches: their error bounds, and that splitting and merging keep them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forebay.models.statistics.counted_values import count_values
from forebay.models.statistics.distinct_sketch import ERROR, DistinctSketch, hash_numbers, hash_texts
from forebay.models.statistics.frequent_sketch import KEPT, FrequentSketch
from forebay.models.statistics.quantile_sketch import QuantileSketch

RANDOM = np.random.default_rng(20_261_128)
NUM = 600_000

STREAMS = {
    "normal": RANDOM.standard_normal(NUM),
    "ascending": np.arange(NUM),
    "descending": np.arange(NUM)[::-1].copy(),
    "heavy tail": RANDOM.pareto(0.5, NUM),
    "half zero": np.where(RANDOM.random(NUM) < 0.5, 0.0, RANDOM.standard_normal(NUM)),
    "huge whole numbers": RANDOM.integers(-(2**63), 2**63 - 1, NUM),
}


def quantiles(parts: list[NDArray[Any]]) -> QuantileSketch:
    sketch = QuantileSketch()
    for part in parts:
        sketch.add(*count_values(part))
    return sketch


def worst_rank_difference(sketch: QuantileSketch, stream: NDArray[Any]) -> int:
    """Return the largest difference between the ranks in a sketch and the true ones."""
    values, counts = sketch.counted()
    estimated, ordered = np.cumsum(counts), np.sort(stream)
    below = estimated - counts
    upper = np.abs(estimated - np.searchsorted(ordered, values, side="right"))
    lower = np.abs(below - np.searchsorted(ordered, values, side="left"))
    # A value that the sketch does not hold has the rank of the next lower one that it holds.
    probes = ordered[:: len(ordered) // 5000]
    places = np.searchsorted(values, probes, side="right")
    between = np.abs(np.concatenate(([0], estimated))[places] - np.searchsorted(ordered, probes, side="right"))
    return int(max(upper.max(), lower.max(), between.max()))


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("rows", [65_536, 1_000])
def test_ranks_are_within_the_stated_error(name: str, rows: int) -> None:
    stream = STREAMS[name] if rows > 1_000 else STREAMS[name][:100_000]
    sketch = quantiles([stream[start : start + rows] for start in range(0, len(stream), rows)])
    assert sketch.counted()[1].sum() == len(stream)
    assert worst_rank_difference(sketch, stream) <= sketch.max_rank_difference
    assert 0 < sketch.max_rank_difference <= 0.005 * len(stream)


@pytest.mark.parametrize("name", ["normal", "ascending", "half zero"])
def test_merged_sketches_are_within_the_stated_error(name: str) -> None:
    stream = STREAMS[name]
    parts = [quantiles([part]) for part in np.array_split(stream, 23)]
    for order in (parts, parts[::-1]):
        merged = QuantileSketch()
        for part in order:
            merged.merge(part)
        assert merged.counted()[1].sum() == len(stream)
        assert worst_rank_difference(merged, stream) <= merged.max_rank_difference <= 0.005 * len(stream)


def test_the_sketch_of_the_same_batches_is_the_same() -> None:
    first, second = (quantiles(np.array_split(STREAMS["normal"], 9)).counted() for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_sketch_needs_little_memory() -> None:
    sketch = quantiles(np.array_split(STREAMS["normal"], 9))
    assert len(sketch.counted()[0]) < 60_000


@pytest.mark.parametrize("distinct", [100_001, 300_000, 1_000_000])
@pytest.mark.parametrize("kind", ["counter", "small steps", "texts"])
def test_distinct_counts_are_within_the_stated_error(distinct: int, kind: str) -> None:
    if kind == "texts":
        hashes = hash_texts([f"user-{number}" for number in range(distinct)])
    else:
        hashes = hash_numbers(np.arange(distinct) if kind == "counter" else np.arange(distinct) / 1024)
    sketch = DistinctSketch()
    for part in np.array_split(hashes, 17):
        sketch.add(part)
        sketch.add(part[:100])
    assert 0 < abs(sketch.estimate() / distinct - 1) <= ERROR <= 0.02


def test_the_distinct_count_does_not_depend_on_order_and_split() -> None:
    hashes = hash_numbers(RANDOM.standard_normal(500_000))
    once = DistinctSketch()
    once.add(hashes)
    merged = DistinctSketch()
    for part in np.array_split(RANDOM.permutation(hashes), 7):
        other = DistinctSketch()
        other.add(part)
        merged.merge(other)
    assert merged.estimate() == once.estimate()


def test_few_distinct_values_are_counted_exactly() -> None:
    sketch = DistinctSketch()
    for _ in range(3):
        sketch.add(hash_numbers(np.arange(50_000)))
    assert sketch.estimate() == 50_000


@pytest.mark.parametrize("parts", [1, 40])
def test_frequent_values_are_found_with_the_stated_error(parts: int) -> None:
    # Every number below 20 is more than 1/1025 of all, in a sea of numbers that occur once.
    common = np.repeat(np.arange(20), np.arange(1_000, 3_000, 100))
    stream = RANDOM.permutation(np.concatenate([common, np.arange(1_000, 301_000)]))
    sketch = FrequentSketch()
    for part in np.array_split(stream, parts):
        other = FrequentSketch()
        other.add(*count_values(part))
        sketch.merge(other)
    assert sketch.max_missed <= len(stream) / (KEPT + 1)
    found = sketch.counts()
    assert len(found) <= KEPT
    for value in range(20):
        assert 0 <= 1_000 + 100 * value - found[value] <= sketch.max_missed
    assert all(found.get(value, 0) <= 1 for value in range(1_000, 301_000))


def test_frequent_texts_are_found() -> None:
    sketch = FrequentSketch()
    for start in range(0, 20_000, 2_000):
        texts = ["often", *(f"once {number}" for number in range(start, start + 2_000))]
        sketch.add(texts, np.array([50] + [1] * 2_000))
    assert sketch.counts() == {"often": 500 - sketch.max_missed}

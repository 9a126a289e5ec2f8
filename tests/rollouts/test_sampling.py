"""The choice of the events that a shadow gets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.records import TopicPartition
from forebay.stream.rollouts.sampling import BLOCK, OffsetSample

PARTITION = TopicPartition("features", 3)


def offsets(sample: OffsetSample, first: int, stop: int) -> list[int]:
    return [offset for part in sample.ranges(PARTITION, first, stop) for offset in part]


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=20), st.integers(0, 2**53 - 1), st.floats(0.01, 1))
def test_the_same_events_are_chosen_however_the_log_is_cut(cuts: list[int], seed: int, share: float) -> None:
    sample, edges = OffsetSample(share, seed), sorted({0, *cuts, 5_000})
    pieces = [offset for first, stop in pairwise(edges) for offset in offsets(sample, first, stop)]
    assert pieces == offsets(sample, 0, 5_000)


def test_the_sample_has_the_share_asked_for() -> None:
    blocks = 20_000
    found = len(offsets(OffsetSample(0.1, 7), 0, blocks * BLOCK)) / BLOCK
    assert abs(found - 0.1 * blocks) < 3.3 * (blocks * 0.1 * 0.9) ** 0.5  # 99.9 % of a binomial distribution


def test_a_larger_share_contains_the_smaller_one_and_another_seed_does_not() -> None:
    small, large = set(offsets(OffsetSample(0.1, 7), 0, 100_000)), set(offsets(OffsetSample(0.3, 7), 0, 100_000))
    assert small < large
    assert not small <= set(offsets(OffsetSample(0.3, 8), 0, 100_000))


def test_partitions_and_topics_are_sampled_independently() -> None:
    sample = OffsetSample(0.5, 7)
    chosen = {
        tuple(sample.ranges(TopicPartition(topic, number), 0, 10_000)) for topic in ("a", "b") for number in (0, 1)
    }
    assert len(chosen) == 4


def test_all_events_are_one_range_at_a_share_of_one() -> None:
    assert OffsetSample(1.0, 7).ranges(PARTITION, 10, 1_000) == [range(10, 1_000)]


def test_neighbouring_blocks_are_joined() -> None:
    parts = OffsetSample(0.9, 7).ranges(PARTITION, 0, 100 * BLOCK)
    assert all(before.stop < after.start for before, after in pairwise(parts))

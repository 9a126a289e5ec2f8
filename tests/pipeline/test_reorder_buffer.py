"""The reorder buffer returns the contiguous finished prefix of each partition, in any order of results."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.records import MicroBatch, TopicPartition
from forebay.stream.output.encoder import output_bytes
from forebay.stream.pipeline.reorder_buffer import ReorderBuffer
from tests.core.build import P0, P1, chunk, finish


def batch(seq: int, *partitions: TopicPartition, at: int = 0) -> MicroBatch:
    return MicroBatch(seq, tuple(chunk([at + seq], partition=partition) for partition in partitions), "size", 0.0)


def test_a_result_waits_for_earlier_ones_of_its_partition() -> None:
    buffer = ReorderBuffer()
    first, second, other = batch(0, P0), batch(1, P0), batch(2, P1)
    for micro_batch in (first, second, other):
        buffer.add(micro_batch)
    buffer.on_result(finish(second))
    buffer.on_result(finish(other))
    assert [f.batch.seq for f in buffer.take(max_records=100, max_bytes=10**9)] == [2]
    buffer.on_result(finish(first))
    assert [f.batch.seq for f in buffer.take(max_records=100, max_bytes=10**9)] == [0, 1]


def test_take_is_limited_but_returns_at_least_one() -> None:
    buffer = ReorderBuffer()
    for seq in range(3):
        buffer.add(batch(seq, P0, P1))
    for seq in range(3):
        buffer.on_result(finish(batch(seq, P0, P1)))
    assert [f.batch.seq for f in buffer.take(max_records=1, max_bytes=10**9)] == [0]
    assert [f.batch.seq for f in buffer.take(max_records=4, max_bytes=10**9)] == [1, 2]


def test_a_purged_batch_is_no_longer_contained() -> None:
    buffer = ReorderBuffer()
    micro_batch = batch(0, P0)
    buffer.add(micro_batch)
    assert buffer.contains(micro_batch)
    buffer.purge()
    assert not buffer.contains(micro_batch)
    buffer.add(batch(1, P0))
    assert not buffer.contains(micro_batch)


@given(st.data())
def test_each_partition_stays_in_order_for_any_order_of_results(data: st.DataObject) -> None:
    places = [TopicPartition("features", number) for number in range(3)]
    partition_sets = data.draw(st.lists(st.sets(st.sampled_from(places), min_size=1), min_size=1, max_size=12))
    batches = [batch(seq, *sorted(partitions)) for seq, partitions in enumerate(partition_sets)]
    buffer = ReorderBuffer()
    for micro_batch in batches:
        buffer.add(micro_batch)
    taken: list[MicroBatch] = []
    for micro_batch in data.draw(st.permutations(batches)):
        buffer.on_result(finish(micro_batch))
        limit = data.draw(st.integers(1, 20))
        taken_now = [result.batch for result in buffer.take(max_records=limit, max_bytes=10**9)]
        assert sum(micro_batch.num_records for micro_batch in taken_now) <= limit or len(taken_now) == 1
        taken += taken_now
    while taken_now := buffer.take(max_records=100, max_bytes=10**9):
        taken += [result.batch for result in taken_now]
    assert sorted(micro_batch.seq for micro_batch in taken) == list(range(len(batches)))
    for place in places:
        seqs = [micro_batch.seq for micro_batch in taken if place in {c.partition for c in micro_batch.chunks}]
        assert seqs == sorted(seqs)


def test_take_is_limited_by_the_bytes_of_outputs() -> None:
    buffer = ReorderBuffer()
    for seq in range(4):
        micro_batch = batch(seq, P0)
        buffer.add(micro_batch)
        buffer.on_result(finish(micro_batch))
    size = output_bytes(finish(batch(0, P0)))
    assert [f.batch.seq for f in buffer.take(max_records=100, max_bytes=size - 1)] == [0], "at least one"
    assert [f.batch.seq for f in buffer.take(max_records=100, max_bytes=2 * size)] == [1, 2]

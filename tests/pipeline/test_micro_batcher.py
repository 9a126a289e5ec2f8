"""Micro-batches: when they close, and that no record is lost or reordered."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.records import Chunk, Epoch, MicroBatch
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from tests.core.build import EPOCH, JULY, P0, P1, chunk


def batcher(size: int = 4, num_bytes: int = 1000, delay_ms: float = 5) -> MicroBatcher:
    return MicroBatcher(max_batch_size=size, max_batch_bytes=num_bytes, max_queue_delay_ms=delay_ms)


def add(micro_batcher: MicroBatcher, part: Chunk, now_s: float = 0.0) -> list[MicroBatch]:
    return micro_batcher.add(part, now_s=now_s, wall_ms=JULY)


def test_a_full_batch_closes_and_the_rest_stays() -> None:
    micro_batcher = batcher()
    closed = add(micro_batcher, chunk(range(10)))
    assert [(b.num_records, b.reason) for b in closed] == [(4, "size"), (4, "size")]
    assert micro_batcher.size == 2
    assert [b.seq for b in [*closed, *micro_batcher.flush()]] == [0, 1, 2]


def test_the_delay_starts_with_the_first_event_not_with_the_last_flush() -> None:
    micro_batcher = batcher()
    assert micro_batcher.close_at_s() == math.inf
    assert micro_batcher.poll(now_s=1000) == []
    add(micro_batcher, chunk([0]), now_s=1000)
    add(micro_batcher, chunk([1]), now_s=1000.004)
    assert micro_batcher.close_at_s() == 1000.005
    assert micro_batcher.poll(now_s=1000.0049) == []
    (batch,) = micro_batcher.poll(now_s=1000.005)
    assert (batch.num_records, batch.reason, batch.opened_s) == (2, "delay", 1000)


def test_a_batch_closes_before_it_exceeds_the_bytes() -> None:
    micro_batcher = batcher(size=100, num_bytes=100)
    assert add(micro_batcher, chunk(range(3), size=30)) == []
    (first,) = add(micro_batcher, chunk(range(3, 6), size=30))
    assert (first.num_records, first.num_bytes, first.reason) == (3, 90, "bytes")
    assert micro_batcher.size == 3


def test_a_record_larger_than_a_batch_forms_its_own_batch() -> None:
    micro_batcher = batcher(size=100, num_bytes=100)
    add(micro_batcher, chunk([0], size=10))
    closed = add(micro_batcher, chunk([1, 2], size=500))
    assert [b.num_records for b in closed] == [1, 1, 1]


def test_a_deadline_closes_early_enough_to_leave_the_model_time() -> None:
    micro_batcher = batcher(delay_ms=20)
    add(micro_batcher, chunk([0], deadlines={0: JULY + 1000}), now_s=50)
    assert micro_batcher.close_at_s() == 50.02
    add(micro_batcher, chunk([1], deadlines={0: JULY + 30}), now_s=50)
    assert abs(micro_batcher.close_at_s() - 50.01) < 1e-9
    (batch,) = micro_batcher.poll(now_s=50.0101)
    assert batch.reason == "deadline"


def test_records_of_two_epochs_never_share_a_batch() -> None:
    micro_batcher = batcher()
    add(micro_batcher, chunk([0]))
    later = Epoch(2, "member", None, 2)
    (batch,) = add(micro_batcher, chunk([1], epoch=later))
    assert batch.epoch == EPOCH and batch.reason == "epoch"
    assert micro_batcher.flush()[0].epoch == later


def test_purge_drops_records_but_does_not_reuse_sequence_numbers() -> None:
    micro_batcher = batcher()
    add(micro_batcher, chunk(range(4)))
    add(micro_batcher, chunk([4]))
    micro_batcher.purge()
    assert micro_batcher.flush() == [] and micro_batcher.close_at_s() == math.inf
    add(micro_batcher, chunk([4]))
    assert micro_batcher.flush()[0].seq == 1


def test_rejected_records_alone_close_batches() -> None:
    micro_batcher = batcher()
    (batch,) = add(micro_batcher, chunk(range(4), rejected=range(4)))
    assert batch.num_rows == 0 and batch.num_records == 4
    assert batch.features().shape == (0, 1)


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.sampled_from([P0, P1]), st.sets(st.integers(0, 8)), st.integers(0, 40)),
        max_size=12,
    ),
    st.integers(1, 6),
    st.integers(20, 200),
)
def test_every_record_is_in_exactly_one_batch(
    polls: list[tuple[int, object, set[int], int]], size: int, num_bytes: int
) -> None:
    micro_batcher = batcher(size=size, num_bytes=num_bytes)
    next_offsets = {P0: 0, P1: 0}
    came: dict[object, list[int]] = {P0: [], P1: []}
    batches: list[MicroBatch] = []
    for count, partition, rejected, length in polls:
        start = next_offsets[partition]  # type: ignore[index]
        offsets = range(start, start + count)
        next_offsets[partition] += count  # type: ignore[index]
        came[partition].extend(offsets)
        bad = [start + index for index in rejected if index < count]
        batches += add(micro_batcher, chunk(offsets, partition=partition, rejected=bad, size=length))  # type: ignore[arg-type]
    batches += micro_batcher.flush()
    offsets_by_partition: dict[object, list[int]] = {P0: [], P1: []}
    for batch in batches:
        assert 0 < batch.num_records <= size
        assert batch.num_bytes <= num_bytes or batch.num_records == 1
        for part in batch.chunks:
            records = [(r.index, r.record.offset) for r in part.rejections]
            places = iter(sorted(set(range(part.num_records)) - {index for index, _ in records}))
            records += [(next(places), record.offset) for record in part.records]
            offsets = [offset for _, offset in sorted(records)]
            assert part.next_offset == offsets[-1] + 1
            assert part.x_BF[:, 0].tolist() == [record.offset for record in part.records]
            offsets_by_partition[part.partition].extend(offsets)
    assert offsets_by_partition == came


def test_other_limits_apply_to_the_open_batch_too() -> None:
    micro_batcher = batcher(size=100, delay_ms=50)
    add(micro_batcher, chunk(range(6)), now_s=10)
    micro_batcher.set_limits(max_batch_size=4, max_queue_delay_s=0.002, sufficient_size=4)
    assert micro_batcher.close_at_s() == 10.002
    micro_batcher.set_limits(max_batch_size=4, max_queue_delay_s=0.05, sufficient_size=4)
    assert micro_batcher.close_at_s() == 10.002, "it does not wait longer than it was to wait"
    closed = add(micro_batcher, chunk(range(6, 11)), now_s=10.001)
    assert [(b.num_records, b.reason) for b in closed] == [(6, "size"), (4, "size")]
    assert micro_batcher.size == 1


def test_a_batch_of_a_sufficient_size_waits_for_no_more() -> None:
    micro_batcher = batcher(size=100, delay_ms=50)
    micro_batcher.set_limits(max_batch_size=100, max_queue_delay_s=0.05, sufficient_size=4)
    add(micro_batcher, chunk(range(3)), now_s=10)
    assert micro_batcher.close_at_s() == 10.05
    add(micro_batcher, chunk(range(3, 5)), now_s=10.01)
    assert [b.num_records for b in micro_batcher.poll(now_s=10.01)] == [5]


def test_a_held_batch_closes_by_size_but_not_by_time() -> None:
    micro_batcher = batcher(delay_ms=5)
    micro_batcher.hold_until(10.02)
    assert micro_batcher.close_at_s() == math.inf
    add(micro_batcher, chunk(range(3)), now_s=10)
    assert micro_batcher.close_at_s() == 10.02
    assert micro_batcher.poll(now_s=10.01) == []
    assert [b.num_records for b in add(micro_batcher, chunk([3]), now_s=10.01)] == [4]
    add(micro_batcher, chunk([4]), now_s=10.01)
    assert [b.num_records for b in micro_batcher.poll(now_s=10.02)] == [1]

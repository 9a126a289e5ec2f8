"""The records that a drain has not committed, without those that other workers now read."""

from __future__ import annotations

from forebay.stream.core.records import MicroBatch
from forebay.stream.pipeline.uncommitted import Uncommitted
from tests.core.build import P0, P1, chunk, finish


def test_uncommitted_events_must_be_read_again_after_a_rewind() -> None:
    uncommitted = Uncommitted()
    first, second = chunk([0, 1, 2]), chunk([3, 4])
    uncommitted.record_taken(first)
    uncommitted.record_taken(second)
    assert not uncommitted.is_behind({P0: 5})
    uncommitted.record_committed([finish(MicroBatch(0, (first,), "size", 0.0))])
    uncommitted.record_dropped(2)
    assert uncommitted.num_to_read_again == 2
    assert uncommitted.is_behind({P0: 3}) and uncommitted.is_behind(None)
    uncommitted.record_taken(second)
    assert uncommitted.num_to_read_again == 0 and not uncommitted.is_behind({P0: 5})
    uncommitted.record_committed([finish(MicroBatch(1, (second,), "size", 0.0))])
    assert not uncommitted.is_behind(None)


def test_nothing_is_read_again_if_the_commit_had_succeeded() -> None:
    uncommitted = Uncommitted()
    uncommitted.record_taken(chunk([0, 1, 2]))
    uncommitted.record_dropped(3)
    assert not uncommitted.is_behind({P0: 3}) and uncommitted.num_to_read_again == 3
    uncommitted.record_all_read()
    assert uncommitted.num_to_read_again == 0


def test_partitions_of_other_members_do_not_count() -> None:
    uncommitted = Uncommitted()
    uncommitted.record_taken(chunk([0, 1, 2]))
    uncommitted.record_taken(chunk([7], partition=P1))
    uncommitted.record_dropped(4)
    assert uncommitted.is_behind({P0: 0})
    assert not uncommitted.is_behind({})


def test_a_partition_assigned_again_has_nothing_to_read_again() -> None:
    uncommitted = Uncommitted()
    uncommitted.record_taken(chunk([0, 1, 2]))
    uncommitted.record_dropped(3)
    uncommitted.keep_assigned(None)
    assert uncommitted.is_behind({P0: 0})
    uncommitted.keep_assigned({})
    assert not uncommitted.is_behind({P0: 0}), "its topic may have been created again, with fewer records"

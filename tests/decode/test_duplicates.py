"""Duplicates among the chunks of polls become rejections; everything else of a chunk stays as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from forebay.schemas.failures import FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk, Epoch
from forebay.stream.decode.duplicates import DuplicateFilter, reject_duplicates
from forebay.stream.decode.seen_ids import DuplicateWindow
from tests.core.build import EPOCH, P1, chunk


def with_ids(ids: str, first: int = 0, **others: object) -> Chunk:
    """Return a chunk with an event for each letter; a dot is a rejected record."""
    offsets = range(first, first + len(ids))
    rejected = [offset for offset, letter in zip(offsets, ids, strict=True) if letter == "."]
    return replace(chunk(offsets, rejected=rejected, **others), ids=list(ids.replace(".", "")))  # type: ignore[arg-type]


def filtered(duplicates: DuplicateFilter, *chunks: Chunk) -> list[list[int]]:
    """Return the offsets that are rejected as duplicates, for each chunk."""
    return [
        [rejection.record.offset for rejection in part.rejections if rejection.kind is FailureKind.DUPLICATE]
        for part in duplicates.filter(chunks)
    ]


def test_a_chunk_keeps_everything_but_its_duplicates() -> None:
    before = replace(with_ids("ab.ac", 10), keys={0: b"k", 3: b"m"}, deadlines={1: 5, 2: 6})
    (after,) = DuplicateFilter(DuplicateWindow(100)).filter([before])
    assert after.ids == ["a", "b", "c"] and [record.offset for record in after.records] == [10, 11, 14]
    assert after.x_BF[:, 0].tolist() == [10, 11, 14] and list(after.timestamps) == [
        before.timestamps[row] for row in (0, 1, 3)
    ]
    assert [(r.index, r.kind) for r in after.rejections] == [(2, FailureKind.NOT_JSON), (3, FailureKind.DUPLICATE)]
    assert after.rejections[1].message == "the event at offset 10 of this partition has the same id"
    assert after.keys == {0: b"k", 2: b"m"} and after.deadlines == {1: 5}
    assert (after.num_records, after.num_bytes, after.next_offset) == (5, before.num_bytes, 15)
    assert after.num_rows + after.num_rejected == after.num_records and after.x_BF.dtype == np.float32


def test_a_chunk_without_duplicates_is_not_copied() -> None:
    before = with_ids("abc")
    assert DuplicateFilter(DuplicateWindow(100)).filter([before])[0] is before


def test_partitions_and_models_have_their_own_ids() -> None:
    duplicates = DuplicateFilter(DuplicateWindow(100))
    other = ModelRef("other", 1)
    assert filtered(duplicates, with_ids("ab"), with_ids("ab", partition=P1), with_ids("ab", 2, model=other)) == [
        [],
        [],
        [],
    ]
    assert filtered(duplicates, with_ids("a", 4), with_ids("a", 4, partition=P1), with_ids("c", 5)) == [[4], [4], []]
    assert duplicates.num_ids == 7


def test_versions_of_a_model_share_their_ids_in_the_order_of_the_log() -> None:
    duplicates = DuplicateFilter(DuplicateWindow(100))
    odd = replace(chunk([1, 3], model=ModelRef("m", 2)), ids=["a", "b"])
    even = replace(chunk([0, 2, 4]), ids=["b", "a", "c"])
    assert filtered(duplicates, odd, even) == [[3], [2]]


def test_replayed_events_are_no_duplicates_but_their_ids_count() -> None:
    duplicates = DuplicateFilter(DuplicateWindow(1))
    replay = [("Forebay.Replay.Count", b"1")]
    assert filtered(duplicates, with_ids("a"), with_ids("a", 1, headers=replay)) == [[], []]
    assert filtered(duplicates, with_ids("a", 2)) == [[2]]


def test_after_a_rebalance_only_what_no_other_worker_has_read_is_remembered() -> None:
    def later(ids: str, first: int, generation: int, **others: object) -> Chunk:
        return with_ids(ids, first, epoch=replace(EPOCH, generation=generation), **others)

    duplicates = DuplicateFilter(DuplicateWindow(100))
    filtered(duplicates, with_ids("ab"), with_ids("ab", partition=P1))
    assert filtered(duplicates, later("a", 2, 2)) == [[2]], "this worker kept the partition"
    assert filtered(duplicates, later("ax", 4, 3)) == [[]], "another worker has read offset 3"
    assert filtered(duplicates, later("ax", 5, 4)) == [[5]], "offset 5 is read again; 4 is remembered"
    assert duplicates.num_ids == 2, "the other partition is not remembered for ever"


def test_a_filter_is_not_confused_by_many_polls() -> None:
    """Split polls of a log with repeated ids in any way: the same events are rejected."""
    ids = "".join("abcdefghij"[number * number % 17 % 10] if number % 3 else "." for number in range(60))

    def rejected(sizes: Sequence[int]) -> list[int]:
        duplicates, found, at = DuplicateFilter(DuplicateWindow(5)), list[int](), 0
        for size in sizes:
            found += filtered(duplicates, with_ids(ids[at : at + size], at))[0]
            at += size
        return found

    assert rejected([60]) == rejected([1] * 60) == rejected([7] * 8 + [4]) == rejected([20, 40]) != []


def test_nothing_is_left_of_a_chunk_of_duplicates() -> None:
    after = reject_duplicates(with_ids("aa"), {0: 7, 1: 7})
    assert after.num_rows == 0 and after.x_BF.shape == (0, 1) and after.num_rejected == 2
    assert Epoch(1, "member", None, 1) == after.epoch

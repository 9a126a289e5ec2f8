"""The ranges of back-fills in the metadata of committed offsets."""

from __future__ import annotations

import pytest

from forebay.schemas.errors import BrokerError, ForebayError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Committed, TopicPartition
from forebay.stream.kafka.consumer.frozen_ranges import (
    FrozenRange,
    FrozenRanges,
    RangeRestorer,
    join_range,
    split_range,
)

P0, P1 = TopicPartition("features", 0), TopicPartition("features", 1)
RANGE = FrozenRange(3, 90, "backfill-a.", (ModelRef("fraud", 3), ModelRef("churn", 12)))
WINDOWS = "forebay1 abc 5 - 17 | forebay-audit1 17 9f86"


@pytest.mark.parametrize("inner", ["", WINDOWS, "with\nline | and bar"])
def test_a_range_and_the_metadata_of_the_worker_are_read_as_they_were_written(inner: str) -> None:
    text = join_range(RANGE, inner)
    assert split_range(P0, Committed(40, text)) == (RANGE, Committed(40, inner))


@pytest.mark.parametrize(
    "text",
    [
        "",
        WINDOWS,
        "forebay-backfill2 3 90 backfill-a. fraud@3",
        "forebay-backfill1 90 3 backfill-a. fraud@3",
        "forebay-backfill1 3 90 backfill-a. fraud",
        "forebay-backfill1 3 90 backfill-a.",
    ],
)
def test_metadata_without_a_valid_range_is_an_error(text: str) -> None:
    with pytest.raises(BrokerError, match="does not say where it ends"):
        split_range(P0, Committed(40, text))


def test_metadata_that_is_too_long_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ForebayError, match="4096"):
        join_range(RANGE, "x" * 4080)


def test_what_remains_is_counted_from_the_start() -> None:
    assert [RANGE.remaining(position) for position in (0, 3, 4, 90, 95)] == [87, 87, 86, 0, 0]


class Inner:
    """Records what it is asked to restore."""

    def restore(self, committed: dict[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        self.committed = committed
        return {partition: 7 for partition in committed}


def test_others_see_only_their_part_of_the_metadata() -> None:
    ranges, inner = FrozenRanges(), Inner()
    committed = {P0: Committed(40, join_range(RANGE, WINDOWS)), P1: Committed(3, join_range(RANGE, ""))}
    assert RangeRestorer(inner, ranges).restore(committed) == {P0: 7, P1: 7}  # type: ignore[arg-type]
    assert inner.committed == {P0: Committed(40, WINDOWS), P1: Committed(3, "")}
    assert ranges.end(P1) == 90 and split_range(P0, Committed(50, ranges.metadata(P0, "more")))[1].metadata == "more"


def test_a_partition_that_was_added_later_is_not_part_of_it() -> None:
    with pytest.raises(BrokerError, match="features-1 is not part of the back-fill"):
        FrozenRanges().restore({P0: Committed(40, join_range(RANGE, "")), P1: None})

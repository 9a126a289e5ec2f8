"""Ranges of offsets between two bounds."""

from __future__ import annotations

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.consumer.read_bounds import Log, ReadBound, resolve_ranges

P0, P1 = TopicPartition("features", 0), TopicPartition("features", 1)
LOGS = {P0: Log(10, 50, {1: 20, 2: None, 3: 5}), P1: Log(0, 0, {1: None, 2: None, 3: None})}
BEGINNING, END = ReadBound("beginning"), ReadBound("end")


def at(time_ms: int) -> ReadBound:
    return ReadBound("time", time_ms=time_ms)


def offset(number: int, partition: TopicPartition = P0) -> ReadBound:
    return ReadBound("offsets", offsets={partition: number})


@pytest.mark.parametrize(
    ("begin", "end", "first", "second"),
    [
        (BEGINNING, END, range(10, 50), range(0)),
        (at(1), END, range(20, 50), range(0)),
        (at(2), END, range(50, 50), range(0)),
        (at(3), at(1), range(10, 20), range(0)),
        (END, BEGINNING, range(50, 50), range(0)),
        (offset(12), END, range(12, 50), range(0)),
        (BEGINNING, offset(12), range(10, 12), range(0)),
        (offset(12), offset(30), range(12, 30), range(0)),
        (offset(0, P1), END, range(50, 50), range(0)),
    ],
)
def test_ranges_between_bounds(begin: ReadBound, end: ReadBound, first: range, second: range) -> None:
    assert resolve_ranges(LOGS, begin, end) == {P0: first, P1: second}


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        (offset(9), "10 to 50, and not 9"),
        (offset(51), "and not 51"),
        (offset(0, TopicPartition("features", 7)), "features-7"),
    ],
)
def test_offsets_that_do_not_exist_are_refused(bound: ReadBound, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_ranges(LOGS, bound, END)
    with pytest.raises(ConfigError, match=message):
        resolve_ranges(LOGS, BEGINNING, bound)

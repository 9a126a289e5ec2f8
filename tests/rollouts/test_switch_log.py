"""For each offset the switch log gives the revision that routed its event."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas.errors import DataError
from forebay.stream.core.records import TopicPartition
from forebay.stream.rollouts.switch_log import Switch, SwitchLog, decode_switch
from forebay.stream.rollouts.wire import NEWER_FORMAT

PLACE = TopicPartition("features", 3)


def switch(
    revision: int, first_offset: int, *, model: str = "fraud", switched_ms: int = 0, partition: int = 3
) -> Switch:
    return Switch(
        model=model,
        topic="features",
        partition=partition,
        revision=revision,
        first_offset=first_offset,
        switched_ms=switched_ms,
        worker="w-0",
    )


def log_of(*switches: Switch) -> SwitchLog:
    log = SwitchLog()
    for each in switches:
        log.add(each)
    return log


def test_a_switch_survives_encoding() -> None:
    assert decode_switch(*switch(7, 12_345).encode()) == switch(7, 12_345)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"revision": 0}, "$.revision"),
        ({"first_offset": -1}, "$.first_offset"),
        ({"partition": -1}, "$.partition"),
        ({"topic": ""}, "$.topic"),
        ({"model": "churn"}, "model: 'churn' differs from the record key"),
    ],
)
def test_a_wrong_field_is_refused_with_its_place(fields: dict[str, object], place: str) -> None:
    key, value = switch(7, 1).encode()
    with pytest.raises(DataError) as refused:
        decode_switch(key, msgspec.json.encode(msgspec.json.decode(value) | fields))
    assert refused.value.message.startswith("switch of model 'fraud': ") and place in refused.value.message


def test_a_later_format_is_an_error() -> None:
    with pytest.raises(DataError) as refused:
        decode_switch(b"fraud", b'{"format":2}')
    assert refused.value.kind == NEWER_FORMAT


def test_before_the_first_switch_the_configuration_applies() -> None:
    log = log_of(switch(2, 100), switch(5, 250))
    found = [log.revision_at("fraud", PLACE, offset) for offset in (0, 99, 100, 249, 250, 10**12)]
    assert found == [0, 0, 2, 2, 5, 5]
    assert log.revision_at("churn", PLACE, 100) == 0
    assert log.revision_at("fraud", TopicPartition("features", 4), 100) == 0
    assert log.partitions("fraud") == [PLACE]
    assert [found.revision for found in log.switches("fraud", PLACE)] == [2, 5]


def test_the_revision_at_a_time() -> None:
    log = log_of(switch(2, 100, switched_ms=1000), switch(5, 250, switched_ms=2000))
    assert [log.revision_at_time("fraud", PLACE, ms) for ms in (999, 1000, 1999, 2000)] == [0, 2, 2, 5]


def test_a_repeated_switch_replaces_what_it_overlaps() -> None:
    log = log_of(switch(1, 50), switch(2, 100), switch(2, 80))
    assert [log.revision_at("fraud", PLACE, offset) for offset in (60, 79, 80, 100)] == [1, 1, 2, 2]
    assert not log.reversals


def test_a_switch_to_an_older_revision_is_reported() -> None:
    back = switch(1, 200)
    log = log_of(switch(2, 100), back)
    assert list(log.reversals) == [back]
    assert log.revision_at("fraud", PLACE, 200) == 1


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 20)), max_size=20), st.integers(0, 400))
@settings(max_examples=100, deadline=None)
def test_it_agrees_with_a_search_through_all_switches(gaps: list[tuple[int, int]], offset: int) -> None:
    revision = first = 0
    switches = []
    for more, further in gaps:
        revision, first = revision + more, first + further
        switches.append(switch(revision, first))
    expected = max((each.revision for each in switches if each.first_offset <= offset), default=0)
    assert log_of(*switches).revision_at("fraud", PLACE, offset) == expected


def test_records_that_are_not_switches_are_kept_aside() -> None:
    log = SwitchLog()
    key, value = switch(3, 10).encode()
    assert log.add_record(key, b"hello", offset=4, timestamp_ms=9) is None
    assert log.add_record(key, value, offset=5, timestamp_ms=9) == switch(3, 10)
    assert [(record.offset, record.timestamp_ms) for record in log.invalid] == [(4, 9)]
    assert log.revision_at("fraud", PLACE, 10) == 3
    with pytest.raises(DataError, match="record at offset 6 of the rollout-switches topic"):
        log.add_record(key, b'{"format":2}', offset=6, timestamp_ms=9)

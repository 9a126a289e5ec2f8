"""Raw records are the records that the client would return, with the same positions."""

from __future__ import annotations

import asyncio
import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.errors import BrokerError
from forebay.stream.kafka.patches.crc32c import crc32c
from forebay.stream.kafka.patches.raw_records import PollBudget, ReadLimits, use_raw_records

TP = TopicPartition("features", 0)
READ_COMMITTED = 1
BASE_OFFSET_BYTES = 8
CHECKSUM_AT = 17
LIMITS = ReadLimits()


class Position:
    """The state that the client keeps for an assigned partition."""

    paused = False

    def __init__(self, position: int) -> None:
        self.position = position

    def consumed_to(self, position: int) -> None:
        self.position = position


def log_of(sizes: list[tuple[int, int, bool]]) -> bytes:
    """Return a sequence of record batches from (records, producer id or -1 for none, transactional)."""
    log, offset = b"", 0
    for size, producer_id, transactional in sizes:
        builder = DefaultRecordBatchBuilder(2, 0, transactional, producer_id, 0, 0, 1 << 20)
        for number in range(size):
            builder.append(number, 1000 + offset + number, b"k", b"%d" % (offset + number), [("h", b"v")])
        batch = bytes(builder.build())
        log += offset.to_bytes(BASE_OFFSET_BYTES, "big") + batch[BASE_OFFSET_BYTES:]  # not covered by the checksum
        offset += size
    return log


def fetched(log: bytes, position: int, aborted: list[tuple[int, int]]) -> tuple[FetchResult, Position]:
    state = Position(position)
    assignment: Any = SimpleNamespace(active=True, state_value=lambda _partition: state)
    records = PartitionRecords(TP, MemoryRecords(log), aborted, position, None, None, True, READ_COMMITTED)
    return FetchResult(TP, assignment=assignment, partition_records=records, backoff=0), state


async def patch_fetch(result: FetchResult, log: bytes, limits: ReadLimits = LIMITS) -> PollBudget:
    """Patch a fetch result as if it came from a response with `log`."""
    results = [result]

    class Client:
        async def send(self, _node_id: int, _request: Any) -> Any:
            return SimpleNamespace(topics=[(TP.topic, [(TP.partition, 0, 100, 100, [], log)])])

    async def proc_fetch_request(_assignment: Any, node_id: int, request: Any) -> bool:
        await fetcher._client.send(node_id, request)
        while results:  # the first time; the patch must not hold a reference to it
            fetcher._records[TP] = results.pop()
        return True

    fetcher = SimpleNamespace(_records={}, _proc_fetch_request=proc_fetch_request, _client=Client())
    budget = use_raw_records(SimpleNamespace(_fetcher=fetcher), limits)  # type: ignore[arg-type]
    assert await fetcher._proc_fetch_request(None, 0, object())
    assert await fetcher._proc_fetch_request(None, 0, object())  # a second response, for another partition
    fetcher._records.clear()
    return budget


def take_all(result: FetchResult, state: Position, max_records: int) -> list[tuple[list[tuple[object, ...]], int]]:
    """Return the result of each call and the position after it."""
    taken = []
    while result.has_more():
        records = result.getall(max_records)
        taken.append(([(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in records], state.position))
    return [one for one in taken if one[0]] + [([], state.position)]


batches = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from([-1, 7, 8]), st.just(True)).map(lambda b: (b[0], b[1], b[1] >= 0)),
    min_size=1,
    max_size=8,
)


@given(batches, st.data())
def test_records_and_positions_are_those_of_the_client(sizes: list[tuple[int, int, bool]], data: st.DataObject) -> None:
    log, end = log_of(sizes), sum(size for size, _, _ in sizes)
    position = data.draw(st.integers(0, end - 1))
    aborted = data.draw(st.lists(st.tuples(st.sampled_from([7, 8]), st.integers(0, end)), max_size=2))
    max_records = data.draw(st.integers(1, 10))
    theirs, ours = fetched(log, position, list(aborted)), fetched(log, position, list(aborted))
    asyncio.run(patch_fetch(ours[0], log))
    assert take_all(*ours, max_records) == take_all(*theirs, max_records)


@given(batches, st.data())
def test_a_changed_byte_is_detected_where_the_client_detects_it(
    sizes: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    log = log_of(sizes)
    # Not in the first 17 bytes of a batch: its length and format determine where the next one begins and how to read it.
    begins = [len(log_of(sizes[:number])) for number in range(len(sizes))]
    places = [at for at in range(len(log)) if at - max(begin for begin in begins if begin <= at) >= CHECKSUM_AT]
    at = data.draw(st.sampled_from(places))
    log = log[:at] + bytes([log[at] ^ data.draw(st.integers(1, 255))]) + log[at + 1 :]
    theirs, ours = fetched(log, 0, []), fetched(log, 0, [])
    asyncio.run(patch_fetch(ours[0], log))
    good: list[list[int]] = []
    for result, _ in (theirs, ours):
        offsets: list[int] = []
        with pytest.raises((CorruptRecordException, BrokerError)) as raised:
            while result.has_more():
                offsets += [record.offset for record in result.getall(1)]
        good.append(offsets)
    assert good[0] == good[1]
    assert raised.value.message.startswith(f"features-0@{len(good[1])}: ")  # type: ignore[union-attr]


def test_old_formats_are_checked_by_the_client() -> None:
    builder = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    builder.append(0, timestamp=1000, key=b"k", value=b"v")
    log = bytes(builder.build())
    result, state = fetched(log, 0, [])
    asyncio.run(patch_fetch(result, log))
    assert take_all(result, state, 5) == [([(0, 1000, b"k", b"v", [])], 1), ([], 1)]


async def test_a_new_position_or_a_pause_drops_fetched_records() -> None:
    for disturb in (lambda state: setattr(state, "position", 3), lambda state: setattr(state, "paused", True)):
        log = log_of([(5, -1, False)])
        result, state = fetched(log, 0, [])
        await patch_fetch(result, log)
        assert [record.offset for record in result.getall(2)] == [0, 1] and state.position == 2
        disturb(state)
        assert result.getall(2) == [] and not result.has_more()


async def test_returned_records_are_freed_without_garbage_collection() -> None:
    """The worker rarely collects garbage, so a reference cycle would keep the bytes of each fetch response for minutes."""
    gc.collect()
    gc.disable()
    try:
        log = log_of([(5, -1, False), (5, -1, False)])
        result, state = fetched(log, 0, [])
        await patch_fetch(result, log)
        left = [weakref.ref(result), weakref.ref(result._partition_records)]
        take_all(result, state, 4)
        del result
        assert [ref() for ref in left] == [None, None]
    finally:
        gc.enable()


@given(st.binary(max_size=300))
def test_the_checksum_equals_the_clients(data: bytes) -> None:
    assert crc32c(data) == calc_crc32c(data)


async def test_a_consumer_that_was_not_started_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="started consumer"):
        use_raw_records(SimpleNamespace(_fetcher=None), LIMITS)  # type: ignore[arg-type]

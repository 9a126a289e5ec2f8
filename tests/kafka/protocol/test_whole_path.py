"""From the bytes of a log to the commit: each offset has one outcome, or reading stops at it."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.errors import BrokerError
from forebay.stream.core.records import MicroBatch, TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.kafka.patches.raw_records import ReadLimits
from forebay.stream.kafka.protocol.record_batch import BatchHeader
from tests.core.build import EPOCH, MODEL, P0, event, finish, signature
from tests.kafka.patches.test_raw_records import TP, fetched, patch_fetch
from tests.kafka.protocol.build import batch, record, with_checksum, with_lengths
from tests.output.test_emitter import emitter

LIMITS = ReadLimits(max_unpacked_bytes=50_000, max_poll_bytes=60_000)


def polled(log: bytes, max_records: int) -> tuple[list[list[Any]], int, BrokerError | None]:
    """Return the result of each poll, the position after the last one, and the error that ended it."""
    result, state = fetched(log, 0, [])

    async def go() -> tuple[list[list[Any]], BrokerError | None]:
        budget = await patch_fetch(result, log, LIMITS)
        polls = []
        try:
            while result.has_more():
                budget.begin_poll()
                polls.append(result.getall(max_records))
        except BrokerError as error:
            return polls, error
        return polls, None

    polls, error = asyncio.run(go())
    return [records for records in polls if records], state.position, error


def outcomes(records: list[Any]) -> tuple[int, int]:
    """Return the number of outcomes of a poll's records, and the position that is committed with them."""
    decoder = Decoder([DecodedModel(MODEL, signature())], max_event_bytes=1000)
    (chunk,) = decoder.decode({TopicPartition(*TP): records}, EPOCH)
    emission = emitter().emit([finish(MicroBatch(0, (chunk,), "size", 0.0))])
    assert emission.ledger.unbalanced() == {}
    return emission.ledger.outcomes.total(), emission.positions[P0]


@given(
    st.lists(st.tuples(st.integers(1, 5), st.sampled_from(range(5))), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=6),
    st.booleans(),
    st.integers(1, 20),
)
def test_each_offset_has_one_outcome_or_reading_stops_at_it(
    batches: list[tuple[int, int]], changes: list[tuple[int, int]], inside: bool, max_records: int
) -> None:
    log, offset = b"", 0
    for number, (count, codec) in enumerate(batches):
        records = bytearray(with_lengths([record(index, event(f"e{offset + index}")) for index in range(count)]))
        mine = changes[number :: len(batches)]
        if inside:
            for at, byte in mine:
                records[at % len(records)] = byte
        raw = bytearray(batch(bytes(records), count, base=offset, codec=codec))
        if not inside:
            # Not the attributes that make it a control batch or transactional, because clients cannot write these.
            for at, byte in mine:
                raw[23 + at % (len(raw) - 23)] = byte
        log += with_checksum(bytes(raw))
        offset = BatchHeader.read(raw).last + 1 if BatchHeader.read(raw).is_plausible else offset + count
    polls, position, error = polled(log, max_records)
    committed = 0
    for records_of_poll in polls:
        count, after = outcomes(records_of_poll)
        assert after > committed
        assert count <= after - committed
        committed = after
    if error is not None:
        place = int(error.message.removeprefix("features-0@").split(":")[0])
        assert place == committed if inside else place >= committed  # there may be gaps between them
    else:
        assert position == offset
    if inside and error is None:  # no batch has gaps
        assert sum(outcomes(records_of_poll)[0] for records_of_poll in polls) == committed == offset


def test_a_checksum_mismatch_stops_reading_after_the_records_before_it() -> None:
    good = batch(with_lengths([record(0, event()), record(1, event())]), 2, base=0)
    bad = bytearray(batch(with_lengths([record(0, event())]), 1, base=2))
    bad[-1] ^= 1
    polls, position, error = polled(good + bytes(bad), 100)
    assert [len(records) for records in polls] == [2] and position == 2
    assert error is not None and error.kind == "corrupt_batch" and error.remedy is not None
    assert error.message == "features-0@2: the record batch does not match its checksum"


def test_a_poll_keeps_its_budget_and_several_bombs_take_several_polls() -> None:
    bomb = with_lengths([record(index, b"x" * 1000) for index in range(100)])
    log = b"".join(batch(bomb, 100, base=100 * number, codec=4) for number in range(6))
    polls, position, error = polled(log, 1000)
    assert error is None and position == 600
    assert [len(records) for records in polls] == [2, 2, 2]  # each is counted with the size of the bound
    many = b"".join(batch(with_lengths([record(0, b"x" * 900)]), 1, base=number) for number in range(200))
    sizes = [len(records) for records in polled(many, 1000)[0]]
    assert sum(sizes) == 200 and 55 <= sizes[0] <= 66


def test_a_record_with_too_many_headers_is_not_read() -> None:
    raw = batch(with_lengths([record(0, event(), headers=[(b"", b"")] * 300_000)]), 1, base=0)
    ((unread,),), _, _ = polled(raw, 10)
    assert len(unread.headers) == 1 and len(unread.value) > 600_000
    assert outcomes([unread]) == (1, 1)

"""Each record of a batch is yielded exactly once, valid or not, in pieces of bounded size."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch, LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.failures import FailureKind
from forebay.stream.core.record_columns import RecordColumns
from forebay.stream.core.records import Unreadable
from forebay.stream.kafka.protocol.batch_pieces import MAX_RECORDS, ImplausibleBatch, pieces
from forebay.stream.kafka.protocol.decompression import CODEC_NAMES
from forebay.stream.kafka.protocol.record_batch import (
    MAX_HEADERS,
    BatchHeader,
    read_records,
)
from tests.kafka.protocol.build import (
    MAX_BYTES,
    batch,
    budget,
    nullable,
    offsets_of,
    record,
    records_of,
    varint,
    with_checksum,
    with_lengths,
    zstd_of,
)

NOT_UTF8 = [(b"\xff\xfe", b"1")]
BAD_RECORDS = {
    "header name not UTF-8": record(1, headers=NOT_UTF8),
    "no end of a number": b"\0\0\2" + b"\xff" * 12,
    "cut": record(1)[:-2],
    "nothing at all": b"",
    "key beyond the end": b"\0\0\2" + varint(1000) + b"k",
    "value beyond the end": b"\0\0\2" + nullable(b"k") + varint(1000),
    "negative number of headers": b"\0\0\2" + nullable(b"k") + nullable(b"v") + varint(-1),
    "more headers than there are": b"\0\0\2" + nullable(b"k") + nullable(b"v") + varint(3),
    "header without a name": b"\0\0\2" + nullable(b"k") + nullable(b"v") + varint(1) + varint(-1) + nullable(b"x"),
    "header beyond the end": b"\0\0\2" + nullable(b"k") + nullable(b"v") + varint(1) + nullable(b"n") + varint(99),
    "bytes after it": record(1) + b"more",
    "an offset that is not its own": record(7),
    "an offset before it": record(0),
}


def plain(each: Any) -> tuple[object, ...]:
    return (each.offset, each.timestamp, each.key, each.value, list(each.headers))


@pytest.mark.parametrize("codec", range(5))
@pytest.mark.parametrize("bad", BAD_RECORDS.values(), ids=BAD_RECORDS.keys())
def test_an_invalid_record_keeps_its_bytes_and_the_others_are_read(bad: bytes, codec: int) -> None:
    first, unreadable, last = records_of(batch(with_lengths([record(0), bad, record(2, b"w")]), 3, codec=codec))
    assert plain(first) == (100, 1000, b"k", b"v", [])
    assert plain(last) == (102, 1000, b"k", b"w", [])
    assert isinstance(unreadable, Unreadable)
    assert unreadable.kind is FailureKind.UNREADABLE_RECORD and unreadable.value == bad
    assert (unreadable.first_offset, unreadable.offset, unreadable.count) == (101, 101, 1)


def test_an_invalid_record_keeps_its_key_if_it_can_be_read() -> None:
    (unreadable,) = records_of(batch(with_lengths([record(0, key=b"flight", headers=NOT_UTF8, timestamp=5)]), 1))
    assert (unreadable.key, unreadable.timestamp) == (b"flight", 1005)
    assert "not UTF-8" in unreadable.message


@pytest.mark.parametrize("length", [varint(-5), varint(1000), b"\xff" * 11, b"\xff"])
def test_records_after_an_impossible_length_are_one_unreadable(length: bytes) -> None:
    raw = batch(with_lengths([record(0)]) + length + with_lengths([record(2)]), 3)
    good, rest = records_of(raw)
    assert good.offset == 100
    assert isinstance(rest, Unreadable) and rest.kind is FailureKind.UNREADABLE_BATCH
    assert (rest.first_offset, rest.offset, rest.count) == (101, 102, 2)
    assert rest.value == raw
    assert rest.description.startswith("offsets 101 to 102 (2 records): record 2 of 3")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(batch(b"", 3, codec=codec, packed=b"\x01nothing that any codec makes"), id=str(codec))
        for codec in range(1, 8)
    ],
)
def test_a_batch_that_cannot_be_unpacked_is_one_unreadable(raw: bytes) -> None:
    (letter,) = records_of(raw)
    assert letter.kind is FailureKind.UNREADABLE_BATCH and letter.value == raw
    assert (letter.first_offset, letter.offset, letter.count) == (100, 102, 3)


def test_a_batch_that_unpacks_to_too_much_is_one_unreadable_of_the_limits_size() -> None:
    raw = batch(b"", 1_000_000, codec=4, packed=zstd_of(50_000_000))
    (piece,) = budget(raw, max_bytes=1_000_000)
    (letter,) = piece.records
    assert letter.kind is FailureKind.BATCH_TOO_LARGE and letter.value == raw and len(raw) < 10_000
    assert (letter.first_offset, letter.offset, letter.count) == (100, 1_000_099, 1_000_000)
    assert piece.num_bytes == 1_000_000
    later = piece.from_offset(600_000).records[0]
    assert (later.first_offset, later.offset, later.count) == (600_000, 1_000_099, 400_100)


def test_a_record_with_too_many_headers_is_not_read() -> None:
    few, many = [(b"", b"")] * MAX_HEADERS, [(b"", b"")] * (MAX_HEADERS + 1)
    records = [record(0, headers=few), record(1, headers=many), record(2, b"x" * 9000)]
    first, unread, last = records_of(batch(with_lengths(records), 3))
    assert len(first.headers) == MAX_HEADERS
    assert unread.kind is FailureKind.TOO_MANY_HEADERS and unread.value == records[1] and unread.offset == 101
    assert plain(last) == (102, 1000, b"k", b"x" * 9000, [])


def test_many_records_are_split_into_pieces() -> None:
    count = 3 * MAX_RECORDS - 1
    raw = batch(with_lengths([record(number) for number in range(count)]), count, codec=4)
    found = budget(raw)
    assert [len(piece.records) for piece in found] == [MAX_RECORDS, MAX_RECORDS, MAX_RECORDS - 1]
    records = [each for piece in found for each in piece.records]
    assert offsets_of(records) == list(range(100, 100 + count))
    assert all(isinstance(piece.records, RecordColumns) for piece in found)


@pytest.mark.parametrize("first", [record(0), BAD_RECORDS["cut"]], ids=["good", "bad"])
def test_reading_can_resume_in_the_middle_of_a_batch(first: bytes) -> None:
    count = 2 * MAX_RECORDS
    raw = batch(with_lengths([first, *map(record, range(1, count))]), count)
    all_of_it = records_of(raw)
    for position in (0, 100, 101, 100 + MAX_RECORDS, 99 + count):
        found_pieces = [
            piece.from_offset(position)
            for piece in pieces(DefaultRecordBatch(raw), memoryview(raw), MAX_BYTES, position=position)
            if piece.offset >= position
        ]
        found = [each for piece in found_pieces for each in piece.records]
        assert offsets_of(found) == list(range(max(100, position), 100 + count))
        assert [each.value for each in found] == [each.value for each in all_of_it[-len(found) :]]
        if position > 100:  # earlier records are not parsed
            assert all(isinstance(piece.records, RecordColumns) for piece in found_pieces)


def test_records_before_the_position_are_not_parsed() -> None:
    records = list(
        read_records(BatchHeader.read(raw := batch(b"", 3)), raw, with_lengths([b"", b"", record(2)]), skip=2)
    )
    assert offsets_of(records) == [102] and not isinstance(records[0], Unreadable)


def test_pieces_of_large_records_have_fewer_records() -> None:
    raw = batch(with_lengths([record(number, bytes(2 << 20)) for number in range(8)]), 8, codec=4)
    assert [len(piece.records) for piece in budget(raw)] == [1] * 8


def test_headers_count_with_their_size_in_memory() -> None:
    """A header takes as few as two bytes of a batch, and many of them, all zeros, compress to almost nothing."""
    headers = [(b"", b"")] * MAX_HEADERS
    raw = batch(with_lengths([record(number, headers=headers) for number in range(100)]), 100, codec=4)
    for piece in budget(raw):
        assert piece.num_bytes >= 100 * MAX_HEADERS * len(piece.records)
        assert len(piece.records) * MAX_HEADERS <= 600_000


def test_an_inconsistent_header_is_an_error() -> None:
    for count, last_delta in ((3, -1), (3, 1), (-1, 4)):
        with pytest.raises(ImplausibleBatch, match=f"{count} records from offset 100"):
            records_of(batch(b"", count, last_delta=last_delta))


def test_gaps_of_compaction_are_kept() -> None:
    raw = batch(with_lengths([record(2), record(5, headers=NOT_UTF8), record(7)]), 3, last_delta=9)
    found = records_of(raw)
    assert [each.offset for each in found] == [102, 105, 107] and isinstance(found[1], Unreadable)


def test_records_of_a_compacted_batch_out_of_order_get_offsets_in_order() -> None:
    found = records_of(batch(with_lengths([record(5), record(2), record(90), record(7)]), 4, last_delta=9))
    assert [each.offset for each in found] == [105, 106, 107, 108]
    assert [isinstance(each, Unreadable) for each in found] == [False, True, True, True]


BODIES = st.lists(
    st.builds(
        lambda value, key, headers, timestamp: (value, key, headers, timestamp),
        st.none() | st.binary(max_size=300),
        st.none() | st.binary(max_size=5),
        st.lists(st.tuples(st.text(max_size=5).map(str.encode), st.none() | st.binary(max_size=5)), max_size=3),
        st.integers(-(2**31), 2**31),
    ),
    min_size=1,
    max_size=8,
)


@given(BODIES, st.sampled_from(range(5)))
def test_the_slow_parser_reads_the_same_records_as_the_client(bodies: list[Any], codec: int) -> None:
    bodies_of = [record(index, *body) for index, body in enumerate(bodies)]
    raw = batch(with_lengths(bodies_of), len(bodies), codec=codec)
    theirs = [plain(each) for each in DefaultRecordBatch(raw)]
    assert [plain(each) for each in records_of(raw)] == theirs
    data = with_lengths(bodies_of)
    assert [plain(each) for each in read_records(BatchHeader.read(raw), raw, data)] == theirs


@given(BODIES, st.sampled_from(range(5)), st.booleans(), st.data())
def test_each_offset_is_yielded_once_for_any_bytes(
    bodies: list[Any], codec: int, inside: bool, data: st.DataObject
) -> None:
    """Otherwise, the batch is refused as a whole. Header bytes up to the checksum come from the broker and are trusted."""
    records = bytearray(with_lengths([record(index, *body) for index, body in enumerate(bodies)]))
    changes = data.draw(st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=5))
    if inside:  # before they are compressed
        for at, byte in changes:
            records[at % len(records)] = byte
    raw = bytearray(batch(bytes(records), len(bodies), codec=codec))
    if not inside:
        for at, byte in changes:
            raw[21 + at % (len(raw) - 21)] = byte
    whole = with_checksum(bytes(raw))
    header = BatchHeader.read(whole)
    try:
        found = records_of(whole, max_bytes=100_000)
    except ImplausibleBatch:
        assert not header.is_plausible
        return
    offsets = offsets_of(found) if (header.last - header.first < 10_000) else []
    assert offsets == sorted(set(offsets))
    if header.is_dense and (header.last - header.first < 10_000):
        assert offsets == list(range(header.first, header.last + 1))
    assert sum(each.count if isinstance(each, Unreadable) else 1 for each in found) == header.num_records


def old_message(magic: int, codec: int) -> bytes:
    builder = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
    for offset in range(3):
        builder.append(offset, timestamp=1000, key=b"k", value=b"v%d" % offset)
    return (2).to_bytes(8, "big") + bytes(builder.build())[8:]  # the broker gives the set its last offset


def old_records(raw: bytes, max_bytes: int = MAX_BYTES) -> list[Any]:
    return [
        each for piece in pieces(LegacyRecordBatch(raw, raw[16]), memoryview(raw), max_bytes) for each in piece.records
    ]


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [1, 2])
def test_old_formats_are_limited_too(magic: int, codec: int) -> None:
    raw = old_message(magic, codec)
    last = int.from_bytes(raw[:8], "big")
    assert [each.value for each in old_records(raw)] == [b"v0", b"v1", b"v2"]
    assert {each.timestamp for each in old_records(raw)} == {-1 if magic == 0 else 1000}
    (letter,) = old_records(raw, 10)
    assert letter.kind is FailureKind.BATCH_TOO_LARGE and (letter.offset, letter.value) == (last, raw)
    broken = raw[:40] + b"\xff" * (len(raw) - 40)
    (letter,) = old_records(broken)
    assert letter.kind is FailureKind.UNREADABLE_BATCH and letter.from_offset(last).count == 1


def test_the_codecs_have_their_names() -> None:
    assert CODEC_NAMES == ("none", "gzip", "snappy", "lz4", "zstd")

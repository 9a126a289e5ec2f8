"""The compiled reader of record batches and its twin read the same records, and both those that the client's parser reads."""

from __future__ import annotations

import contextlib
import tracemalloc
from random import Random
from typing import Any

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatch

from forebay.stream import native
from forebay.stream.core.record_columns import RecordColumns
from forebay.stream.kafka.protocol.record_batch import HEADER_BYTES, MAX_HEADERS, BatchHeader
from forebay.stream.kafka.protocol.record_reader import RecordReader
from tests.kafka.protocol.build import batch, nullable, record, varint, with_lengths

LOG_APPEND_TIME_AT, LOG_APPEND_TIME = 22, 8
READERS = ["compiled", "in Python"]
LARGEST = 2**63 - 1


def read(raw: bytes, *, compiled: bool, step: int = 3) -> tuple[list[object], int]:
    """Return all that is read of a batch, and the number of records."""
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr(native, "record_columns", None)
        elif native.record_columns is None:
            pytest.skip("the compiled part is not built")
        reader = RecordReader(BatchHeader.read(raw), memoryview(raw)[HEADER_BYTES:])
        parts: list[object] = []
        while (columns := reader.read(step)) is not None:
            parts += facts(columns)
        return parts, reader.num_read


def facts(columns: RecordColumns) -> list[object]:
    return [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in columns]


def theirs(raw: bytes) -> list[object]:
    """Return what the client's parser reads, up to the record at which it fails."""
    records: list[Any] = []
    with contextlib.suppress(Exception):  # of any kind
        records.extend(DefaultRecordBatch(raw))
    return [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in records]


def drawn_record(rng: Random, offset_delta: int) -> bytes:
    """Return the body of a record: most are small and have no headers."""
    texts = [None if rng.random() < 0.1 else rng.randbytes(rng.choice((0, 1, 5, 40, 200))) for _ in range(2)]
    names = rng.choice((b"", b"n", "ä\U0001f600".encode(), b"\xff", b"\xed\xa0\x80"))
    headers = [(names, rng.choice((None, b"", b"value")))] * rng.choice((0, 0, 0, 1, 3))
    timestamp = rng.choice((0, 1, -1, rng.randrange(-(2**40), 2**40), LARGEST, -LARGEST - 1))
    if rng.random() >= 0.3:
        timestamp = offset_delta
    return record(offset_delta, texts[0], texts[1], headers, timestamp=timestamp)


def check_batches(seed: int, count: int) -> None:
    """Read batches, most of them with a changed byte, with the compiled reader, its twin and the client's parser."""
    rng = Random(seed)
    for number in range(count):
        size = rng.randrange(1, 12)
        deltas = sorted(rng.sample(range(size + rng.choice((0, 0, 5))), size))
        body = bytearray(with_lengths([drawn_record(rng, delta) for delta in deltas]))
        is_changed = rng.random() < 0.7
        if is_changed:
            for _ in range(rng.randrange(1, 4)):
                place = rng.randrange(len(body)) if rng.random() < 0.6 else rng.randrange(min(len(body), 12))
                if rng.random() < 0.2:
                    del body[place:]
                    break
                body[place : place + rng.randrange(2)] = rng.choice(
                    (bytes([rng.randrange(256)]), varint(rng.randrange(-3, 300)), b"\xff" * rng.randrange(1, 12))
                )
                if not body:
                    break
        raw = bytearray(batch(bytes(body), size, last_delta=deltas[-1], timestamp=rng.choice((1000, 0, LARGEST))))
        if rng.random() < 0.2:
            raw[LOG_APPEND_TIME_AT] |= LOG_APPEND_TIME
        whole, step = bytes(raw), rng.randrange(1, 14)
        ours, twins = (read(whole, compiled=compiled, step=step) for compiled in (True, False))
        assert ours == twins, (seed, number)
        assert ours[0] == theirs(whole)[: ours[1]], (seed, number)


def test_mutated_batches_are_read_alike() -> None:
    check_batches(3, 400)


@pytest.mark.parametrize("compiled", [True, False], ids=READERS)
def test_plain_records_are_all_read(compiled: bool) -> None:
    bodies = [
        record(0),
        record(1, None, None, timestamp=-7),
        record(2, b"x" * 70_000, b"", [("ä".encode(), None), (b"n", b"c")], timestamp=2**40),
        record(3, b"", headers=[(b"", b"")] * MAX_HEADERS),
        record(4, headers=[(b"n", b"")]),
    ]
    raw = batch(with_lengths(bodies), 5)
    assert read(raw, compiled=compiled) == (theirs(raw), 5)
    assert read(raw, compiled=compiled, step=100) == (theirs(raw), 5)


@pytest.mark.parametrize("compiled", [True, False], ids=READERS)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(record(1, headers=[(b"", b"")] * (MAX_HEADERS + 1)), id="headers"),
        pytest.param(record(2), id="offset"),
        pytest.param(record(1, timestamp=LARGEST), id="timestamp"),
        pytest.param(record(1) + b"\0", id="bytes after it"),
        pytest.param(b"\0\0\2" + nullable(b"k") + varint(2**62) + b"v\0", id="length"),
        pytest.param(b"\0\0\2" + nullable(b"k") + varint(-(2**62)) + b"\0\0", id="null and bytes after it"),
        pytest.param(b"\0\0\2" + b"\xfe" + b"\xff" * 8 + b"\x01", id="largest length"),
        pytest.param(b"\0\0\2" + b"\xff" * 9 + b"\x02", id="number of 65 bits"),
        pytest.param(b"\x80\0\0\2" + nullable(b"k") + nullable(b"v") + b"\0", id="attributes"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_reading_stops_at_the_first_record_that_is_not_plain(body: bytes, compiled: bool) -> None:
    raw = batch(with_lengths([record(0), body, record(2)]), 3)
    found, num_read = read(raw, compiled=compiled)
    assert num_read == 1 and found == theirs(batch(with_lengths([record(0)]), 1))


@pytest.mark.parametrize("compiled", [True, False], ids=READERS)
def test_offsets_leave_room_for_the_records_after_them(compiled: bool) -> None:
    """In a batch with gaps, the offset of a record must not take one that a later record needs."""
    deltas = [0, 3, 4, 8]
    for step in (1, 2, 9):
        raw = batch(with_lengths([record(delta) for delta in deltas]), 4, last_delta=8)
        assert [r[0] for r in read(raw, compiled=compiled, step=step)[0]] == [100, 103, 104, 108]  # type: ignore[index]
        raw = batch(with_lengths([record(delta) for delta in (0, 7, 8, 9)]), 4, last_delta=8)
        assert read(raw, compiled=compiled, step=step)[1] == 1


@pytest.mark.parametrize("compiled", [True, False], ids=READERS)
def test_offsets_beyond_64_bits_are_not_read(compiled: bool) -> None:
    raw = batch(with_lengths([record(0), record(1)]), 2, base=LARGEST)
    assert read(raw, compiled=compiled) == ([], 0)


def test_the_compiled_reader_refuses_what_does_not_fit() -> None:
    if native.record_columns is None:
        pytest.skip("the compiled part is not built")
    others: Any = {"first": 0, "lowest": 0, "room": 0, "first_timestamp": 0, "append_time": None}
    for begin in (-1, 4, 2**62):
        with pytest.raises(ValueError, match="do not begin in the data"):
            native.record_columns.read(b"abc", np.zeros((7, 1), np.int64), begin=begin, **others)
    for fields in (np.zeros((6, 1), np.int64), np.zeros((7, 1), np.int32)):
        with pytest.raises(ValueError, match="seven rows"):
            native.record_columns.read(b"abc", fields, begin=0, **others)
    with pytest.raises((ValueError, BufferError)):
        native.record_columns.read(b"abc", np.zeros((7, 4), np.int64)[:, ::2], begin=0, **others)


def test_the_compiled_reader_keeps_no_memory() -> None:
    if native.record_columns is None:
        pytest.skip("the compiled part is not built")
    good = record(0, b"v" * 100, headers=[(b"n", b"c")])
    raw = batch(with_lengths([good, record(1, headers=[(b"n", b"c"), (b"\xff", b"c")])]), 2)
    read(raw, compiled=True)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(300):
            read(raw, compiled=True)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000

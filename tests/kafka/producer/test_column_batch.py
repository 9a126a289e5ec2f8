"""Record batches from columns are those of the client's builder, with and without the compiled part."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream import native
from forebay.stream.core.outputs import Outgoing
from forebay.stream.kafka.producer.column_batch import CODECS, BatchOptions, ColumnBatch, next_batch

NOW = 1_790_000_000_000
PRODUCER = (17, 3, 4242)
COMPILED = native.record_writer is not None

TEXTS = st.none() | st.binary(max_size=4) | st.sampled_from([b"x" * 63, b"y" * 64, b"z" * 8192, bytes(20_000)])
HEADERS = st.lists(st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=3)), max_size=3)
RECORDS = st.lists(st.tuples(TEXTS, TEXTS, HEADERS), min_size=1, max_size=40)


def outgoing(records: list[tuple[Any, Any, Any]]) -> Outgoing:
    keys, values, headers = zip(*records, strict=True)
    return Outgoing(list(keys), list(values), list(headers))


def batches(records: Outgoing, options: BatchOptions, *, compiled: bool) -> list[tuple[bytes, int, int]]:
    """Return the bytes of each batch, its size before it is built, and its number of records."""
    built = []
    start = 0
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr(native, "record_writer", None)
        while start < len(records.values):
            batch, end = next_batch(records, start, options, timestamp_ms=NOW)
            assert isinstance(batch, ColumnBatch if compiled else BatchBuilder)
            assert batch.record_count() == end - start
            size = batch.size()
            batch._set_producer_state(*PRODUCER)
            batch.close()
            assert batch.closed()
            built.append((bytes(batch._build()), size, batch.record_count()))
            assert batch._build() is batch._build() and batch.size() == len(built[-1][0])
            start = end
    return built


@pytest.mark.skipif(not COMPILED, reason="the compiled part is not built")
@given(
    RECORDS,
    st.sampled_from([None, "snappy", "lz4", "zstd"]),
    st.sampled_from([100, 700, 30_000, 1 << 20]),
    st.booleans(),
)
def test_the_bytes_are_those_of_the_clients_builder(
    records: list[tuple[Any, Any, Any]], compression: str | None, max_bytes: int, is_transactional: bool
) -> None:
    options = BatchOptions(compression, max_bytes, is_transactional=is_transactional)
    ours, twins = (batches(outgoing(records), options, compiled=compiled) for compiled in (True, False))
    assert ours == twins


@pytest.mark.parametrize(
    "compiled", [pytest.param(True, marks=pytest.mark.skipif(not COMPILED, reason="not built")), False]
)
@pytest.mark.parametrize("compression", CODECS)
def test_a_batch_holds_its_records(compression: str | None, compiled: bool) -> None:
    records = [(b"k%d" % number, b"v" * 300, [("n", b"c"), ("ä", None)] if number % 3 else []) for number in range(50)]
    ((raw, _, count),) = batches(
        outgoing(records), BatchOptions(compression, 1 << 20, is_transactional=True), compiled=compiled
    )
    batch = DefaultRecordBatch(raw)
    assert count == 50 and batch.validate_crc() and batch.is_transactional
    assert (batch.compression_type, batch.next_offset) == (CODECS[compression][0], 50)
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == PRODUCER
    found = [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in batch]
    assert found == [(number, NOW, *record) for number, record in enumerate(records)]


@pytest.mark.skipif(not COMPILED, reason="the compiled part is not built")
def test_wrong_columns_are_errors() -> None:
    options = BatchOptions(None, 1 << 20, is_transactional=False)
    with pytest.raises(ValueError, match="different lengths"):
        next_batch(Outgoing([None], [b"v", b"v"], [[], []]), 0, options, timestamp_ms=NOW)
    for start in (-1, 1):
        with pytest.raises(IndexError):
            next_batch(outgoing([(None, b"v", [])]), start, options, timestamp_ms=NOW)
    for record in ((1, b"v", []), (None, "text", []), (None, b"v", [(b"name", b"")]), (None, b"v", [("n", 1)])):
        with pytest.raises(TypeError):
            next_batch(outgoing([record]), 0, options, timestamp_ms=NOW)

"""Rows of Arrow IPC: columns say the same as documents, and no bytes do harm."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas.failures import FailureKind
from forebay.stream.core.rows import RowOrigin, RowRecord, key_id, position_id
from forebay.stream.decode.formats.arrow import ArrowFormat, RowsOfSchema
from forebay.stream.decode.formats.arrow_messages import ArrowLimits
from forebay.stream.decode.formats.document_columns import lookup
from forebay.stream.decode.formats.payload import Column, InvalidPayload, Path
from tests.core.build import FakeRecord

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def payload(
    *batches: pa.RecordBatch, compression: str | None = None, file: bool = False, schema: pa.Schema | None = None
) -> bytes:
    sink = io.BytesIO()
    options = ipc.IpcWriteOptions(compression=compression)
    schema = batches[0].schema if schema is None else schema
    with (ipc.new_file if file else ipc.new_stream)(sink, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def rows_of(*values: bytes, limits: ArrowLimits | None = None) -> RowsOfSchema:
    read, unreadable = ArrowFormat(*([limits] if limits else [])).read(
        [FakeRecord(offset, value, key=b"k") for offset, value in enumerate(values)], "features-0"
    )
    assert not unreadable
    (rows,) = read
    return rows


def refusal(value: bytes, limits: ArrowLimits | None = None) -> InvalidPayload:
    with pytest.raises(InvalidPayload) as caught:
        ArrowFormat(*([limits] if limits else [])).batch(value)
    return caught.value


def plain(column: Column, row: int) -> object:
    """Return a value of a column as a document has it."""
    if column.missing_B is not None and column.missing_B[row]:
        return None
    value = column.values[row]
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if column.unit is not None:
        per_s = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[column.unit]
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value * 1_000_000 // per_s)
    return value


_MICROSECONDS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))
_TEXTS = st.text(st.characters(codec="utf-8"), max_size=4)
TYPES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int8(), st.integers(-128, 127)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float16(), st.floats(width=16, allow_nan=False)),
    (pa.float32(), st.floats(width=32, allow_nan=False)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.bool_(), st.booleans()),
    (pa.null(), st.none()),
    (pa.string(), _TEXTS),
    (pa.large_string(), _TEXTS),
    (pa.string_view(), _TEXTS),
    (pa.binary(), st.binary(max_size=4)),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.dictionary(pa.int8(), pa.string()), _TEXTS),
    (pa.dictionary(pa.int32(), pa.int64()), st.integers(0, 3)),
    *((pa.timestamp(unit), _MICROSECONDS.map(lambda t: t.replace(microsecond=0))) for unit in ("s", "ms", "us", "ns")),
    (pa.timestamp("us", tz="Europe/Berlin"), _MICROSECONDS.map(lambda t: t.replace(tzinfo=UTC))),
    (pa.date32(), st.dates()),
    (pa.time32("ms"), st.times().map(lambda t: t.replace(microsecond=0))),
    (pa.time64("ns"), st.times()),
    (pa.duration("ns"), st.integers(-(10**9), 10**9).map(lambda n: timedelta(microseconds=n))),
    (pa.decimal128(10, 2), st.decimals(-1000, 1000, places=2)),
    (pa.list_(pa.float32()), st.lists(st.floats(width=32, allow_nan=False), max_size=3)),
    (pa.list_(pa.int64(), 2), st.lists(st.integers(0, 9), min_size=2, max_size=2)),
    (pa.large_list(pa.timestamp("us")), st.lists(_MICROSECONDS, max_size=2)),
    (
        pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))]),
        st.fixed_dictionaries({"a": st.none() | st.integers(0, 9), "b": st.none() | st.lists(_TEXTS, max_size=2)}),
    ),
    (
        pa.map_(pa.string(), pa.int32()),
        st.lists(st.tuples(_TEXTS, st.integers(0, 9)), max_size=2, unique_by=lambda p: p[0]),
    ),
]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_columns_equal_documents(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=4))
    counts = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    names = [f"c{index}" for index in range(len(kinds))]
    schema = pa.schema(list(zip(names, [kind for kind, _ in kinds], strict=True)))
    values, expected = [], []
    for count in counts:
        drawn = [
            data.draw(
                st.lists(st.none() | values, min_size=count, max_size=count)
                if data.draw(st.booleans())
                else st.lists(values, min_size=count, max_size=count)
            )
            for _, values in kinds
        ]
        batch = pa.record_batch([pa.array(v, k) for v, (k, _) in zip(drawn, kinds, strict=True)], schema=schema)
        cut = data.draw(st.integers(0, count))
        parts = [part for part in (batch.slice(0, cut), batch.slice(cut)) if part.num_rows]
        compression = data.draw(st.sampled_from([None, "lz4", "zstd"]))
        is_file = data.draw(st.booleans()) and not any(pa.types.is_dictionary(kind) for kind, _ in kinds)
        values.append(payload(*parts, compression=compression, file=is_file))
        expected += drawn_rows(drawn)
    (row_format, rows) = rows_of(*values)
    paths: list[Path] = [(name,) for name in names] + [(), ("absent",), ("c0", "a"), ("c0", "b", "0")]
    chosen = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1), min_size=1)))
    taken = rows.take(np.array(chosen))
    columns = row_format.columns_of_rows(taken, paths).columns
    for place, (row, record) in enumerate(zip(chosen, taken, strict=True)):
        document = record.source.document_of(record.row)
        alone = ArrowFormat().document(record.value)
        assert document == alone
        for path in paths:
            assert plain(columns[path], place) == lookup(document, path), path
        for name, value, (kind, _) in zip(names, expected[row], kinds, strict=True):
            if not pa.types.is_temporal(kind) and not pa.types.is_map(kind) and not pa.types.is_large_list(kind):
                assert document[name] == value


def drawn_rows(columns: Sequence[Sequence[object]]) -> list[tuple[object, ...]]:
    return list(zip(*columns, strict=True))


def test_times_and_other_values_are_those_of_documents() -> None:
    batch = pa.record_batch(
        {
            "naive": pa.array([datetime(2026, 11, 28, 12)], pa.timestamp("ns")),
            "zoned": pa.array([NOON], pa.timestamp("s", tz="America/New_York")),
            "far": pa.array([2**62], pa.timestamp("s")),
            "day": pa.array([date(2026, 11, 28)]),
            "later": pa.array([2**31 - 1], pa.int32()).view(pa.date32()),
            "at": pa.array([time(1, 2, 3)], pa.time32("s")),
            "for": pa.array([timedelta(seconds=5)], pa.duration("ns")),
            "price": pa.array([Decimal("1.50")]),
            "pairs": pa.array([[(1, 2)]], pa.map_(pa.int8(), pa.int8())),
            "who": pa.array([b"\x12\x34\x56\x78" * 4], pa.binary(16)),
        }
    )
    document = ArrowFormat().document(payload(batch))
    assert document == {
        "naive": NOON,
        "zoned": NOON,
        "far": 2**62,
        "day": date(2026, 11, 28),
        "later": "date32[day] out of range",
        "at": time(1, 2, 3),
        "for": timedelta(seconds=5),
        "price": Decimal("1.50"),
        "pairs": [[1, 2]],
        "who": b"\x12\x34\x56\x78" * 4,
    }


def test_lists_of_numbers_of_equal_length_are_a_matrix() -> None:
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 2), pa.large_list(pa.float32())):
        batch = pa.record_batch({"features": pa.array([[9, 9], [1, 2], [3, 4]], kind)}).slice(1)
        row_format, rows = rows_of(payload(batch), payload(batch))
        column = row_format.columns_of_rows(rows, [("features",)]).columns["features",]
        assert column.values.tolist() == [[1, 2], [3, 4]] * 2 and column.values.dtype == np.float32
    ragged = pa.record_batch({"features": pa.array([[1.0], [2.0, 3.0, 4.0]])})
    row_format, rows = rows_of(payload(ragged))
    assert row_format.columns_of_rows(rows, [("features",)]).columns["features",].values.dtype == object


def test_a_row_alone_keeps_the_place_that_it_is_from() -> None:
    batch = pa.record_batch({"x": [1, 2, 3], "airport": pa.array(["a", "b", "a"]).dictionary_encode()})
    row = rows_of(payload(batch), payload(batch)).rows[4]
    assert (row.offset, row.row) == (1, 1)
    assert position_id(row, "features-0") == "features-0-1-1" and key_id(row, "k") == "k-1"
    (again,) = rows_of(row.value).rows
    assert again.source.document_of(0) == {"x": 2, "airport": "b"}
    assert again.source.origin == RowOrigin("features-0-1", 1)
    assert position_id(again, "features-0") == "features-0-1-1" and key_id(again, "k") == "k-1"
    # A second copy names the same row.
    assert rows_of(again.value).rows[0].source.origin == again.source.origin
    assert position_id(FakeRecord(7, b""), "features-0") == "features-0-7" and key_id(FakeRecord(7, b""), "k") == "k"


def test_fields_say_which_feature_or_role_they_have() -> None:
    fields = [
        pa.field("years", pa.int8(), metadata={"forebay.feature": "age"}),
        pa.field("number", pa.int8(), metadata={"forebay.role": "id"}),
    ]
    roles = rows_of(payload(pa.record_batch([[1], [2]], schema=pa.schema(fields)))).format.roles
    assert roles.features == {"age": ("years",)} and roles.roles == {"id": ("number",)}


def test_records_are_grouped_by_schema_and_unreadable_ones_apart() -> None:
    one, other = payload(pa.record_batch({"x": [1]})), payload(pa.record_batch({"x": [1.5], "y": [2]}))
    records = [FakeRecord(offset, value) for offset, value in enumerate([one, other, one, b"", None, one[:-20]])]
    read, unreadable = ArrowFormat().read(records, "t-0")
    assert [[row.offset for row in rows] for _, rows in read] == [[0, 2], [1]]
    assert [record.offset for record in unreadable] == [3, 4, 5]


def test_the_number_of_rows_is_limited() -> None:
    limits = ArrowLimits(max_rows=3, max_bytes=1 << 20)
    two = pa.record_batch({"x": [1, 2]})
    assert ArrowFormat(limits).batch(payload(two))[1].num_rows == 2
    fault = refusal(payload(two, two), limits)
    assert fault.kind is FailureKind.TOO_LARGE and "input.max_rows_per_record is 3" in fault.message
    fault = refusal(payload(two.slice(0, 0)))
    assert (fault.kind, fault.message) == (FailureKind.EMPTY_VALUE, "the value has no rows")
    with pytest.raises(InvalidPayload, match="has 2 rows"):
        ArrowFormat().document(payload(two))


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_buffers_that_would_become_too_large_are_refused_before(compression: str) -> None:
    value = payload(pa.record_batch({"x": np.zeros(60_000)}), compression=compression)
    assert len(value) < 10_000
    limits = ArrowLimits(max_rows=65_536, max_bytes=400_000)
    assert refusal(value, limits).kind is FailureKind.TOO_LARGE
    # What a buffer says of itself is not trusted.
    size = struct.pack("<q", 8 * 60_000)
    for lie in (2**62, 2**40, -5):
        assert value.count(size) == 1
        fault = refusal(value.replace(size, struct.pack("<q", lie)))
        assert fault.kind in (FailureKind.TOO_LARGE, FailureKind.INVALID_PAYLOAD)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.list_(pa.null()), [[None] * 100]),
        (pa.list_(pa.list_(pa.null())), [[[None]]]),
        (pa.list_(pa.struct([])), [[{}]]),
        (pa.list_(pa.list_(pa.int8(), 0)), [[[]]]),
        (pa.list_(pa.dictionary(pa.int8(), pa.string())), [["a"]]),
        (pa.list_(pa.string_view()), [["a"]]),
        (pa.list_view(pa.int8()), [[1]]),
        (pa.run_end_encoded(pa.int32(), pa.int8()), [1]),
        (pa.month_day_nano_interval(), [(1, 2, 3)]),
        (pa.binary(0), [b""]),
    ],
)
def test_types_whose_values_take_no_memory_are_refused_by_name(kind: pa.DataType, values: list[object]) -> None:
    fault = refusal(payload(pa.record_batch([pa.array(values, kind)], names=["column"])))
    assert fault.kind is FailureKind.INVALID_PAYLOAD and "column 'column' has the type" in fault.message


def test_names_must_differ() -> None:
    twice = pa.record_batch([[1], [2]], names=["x", "x"])
    assert "two columns named 'x'" in refusal(payload(twice)).message
    inner = pa.struct([pa.field("a", pa.int8()), pa.field("a", pa.int8())])
    nested = pa.record_batch(
        [pa.StructArray.from_arrays([pa.array([1], pa.int8())] * 2, fields=list(inner))], names=["s"]
    )
    assert "column 's' has two columns named 'a'" in refusal(payload(nested)).message
    assert "0 columns" in refusal(payload(pa.RecordBatch.from_arrays([], names=[]))).message


def test_texts_that_share_their_memory_are_limited() -> None:
    dictionary = pa.DictionaryArray.from_arrays(np.zeros(1000, dtype=np.int8), ["x" * 1000])
    view = pa.array(["x" * 1000] * 4, pa.string_view())
    limits = ArrowLimits(max_rows=65_536, max_bytes=100_000)
    assert refusal(payload(pa.record_batch({"a": dictionary})), limits).kind is FailureKind.TOO_LARGE
    assert ArrowFormat(limits).batch(payload(pa.record_batch({"a": view})))[1].num_rows == 4


def test_a_dictionary_index_out_of_range_is_found() -> None:
    array = pa.DictionaryArray.from_arrays(np.array([7, 0], dtype=np.int8), ["a", "b"], safe=False)
    assert refusal(payload(pa.record_batch({"a": array}))).kind is FailureKind.INVALID_PAYLOAD


def test_dictionaries_may_grow_from_batch_to_batch() -> None:
    def batch(texts: list[str]) -> pa.RecordBatch:
        return pa.record_batch({"a": pa.array(texts).dictionary_encode()})

    row_format, rows = rows_of(payload(batch(["x", "y"]), batch(["x", "y", "z"])), payload(batch(["q", "x"])))
    column = row_format.columns_of_rows(rows, [("a",)]).columns["a",]
    assert column.values.tolist() == ["x", "y", "x", "y", "z", "q", "x"]


def test_bytes_that_are_no_stream_are_refused() -> None:
    value = payload(pa.record_batch({"x": [1]}))
    for damaged in (
        b"",
        b"\0" * 100,
        b"{}",
        b"ARROW1\0\0",
        value[8:],
        value[: len(value) // 2],
        b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    ):
        assert refusal(damaged).kind is FailureKind.INVALID_PAYLOAD
    # What follows the end of the stream, as in a file, is ignored.
    assert ArrowFormat().batch(value + value)[1].num_rows == 1


def test_any_mutation_gives_rows_or_a_refusal() -> None:
    rng = random.Random(21)
    batch = pa.record_batch(
        {
            "id": pa.array(["a", "bb", None]),
            "x": [1.5, None, 2.0],
            "airport": pa.array(["a", "b", "a"]).dictionary_encode(),
            "features": pa.array([[1.0], [2.0, 3.0], None]),
            "when": pa.array([NOON] * 3, pa.timestamp("ns", tz="UTC")),
            "user": [{"age": 1}, None, {"age": 2}],
        }
    )
    values = [
        payload(batch),
        payload(batch, compression="zstd"),
        payload(batch.drop_columns(["airport"]), compression="lz4"),
    ]
    reader = ArrowFormat(ArrowLimits(max_rows=1000, max_bytes=1 << 20))
    num_read = 0
    for number in range(3000):
        damaged = bytearray(rng.choice(values))
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(damaged))
            if rng.random() < 0.2:
                damaged[place : place + 8] = struct.pack("<q", rng.choice([-1, 0, 2**31, 2**40, 2**63 - 1]))
            else:
                damaged[place] = rng.randrange(256)
        read, unreadable = reader.read([FakeRecord(number, bytes(damaged))], "t-0")
        assert sum(len(rows.sources) for _, rows in read) + len(unreadable) == 1
        for row_format, rows in read:
            num_read += 1
            paths: list[Path] = [("id",), ("x",), ("airport",), ("features",), ("when",), ("user", "age")]
            columns = row_format.columns_of_rows(rows, paths).columns
            for row, record in enumerate(rows):
                assert isinstance(record, RowRecord)
                document = record.source.document_of(record.row)
                assert repr([plain(columns[path], row) for path in paths if columns[path].unit is None])
                assert document.keys() == ArrowFormat().document(record.value).keys()
    assert num_read > 100

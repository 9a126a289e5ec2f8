"""Parquet: an event has exactly the value in the file, for every type, or its row is refused with a reason."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.data.input_row import InputRow
from forebay.models.data.parquet_rows import parquet_rows, python_values
from forebay.models.data.values import Instant, LocalTime, Unreadable
from forebay.schemas.definitions import MAX_TIMESTAMP_MS
from forebay.schemas.errors import DataError
from forebay.schemas.failures import FailureKind
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.publish.event_builder import Columns, EventBuilder, Message
from forebay.stream.publish.event_times import TimeRule, parse_zone
from forebay.stream.publish.row_fault import RowFault
from tests.core.build import EPOCH, MODEL, P0, FakeRecord

UTC = TimeRule(parse_zone("UTC"))
PER_MS = {"s": 0.001, "ms": 1, "us": 1_000, "ns": 1_000_000}


def parquet_of(**columns: pa.Array) -> io.BytesIO:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    file.seek(0)
    return file


def rows_of(file: io.BytesIO) -> list[InputRow]:
    rows = list(parquet_rows(file, "file", lambda columns: None))
    assert all(isinstance(row, InputRow) for row in rows)
    return rows  # type: ignore[return-value]


def outcomes(file: io.BytesIO, columns: Columns | None = None) -> list[Message | RowFault]:
    """Return the message or fault of each row."""
    builder = EventBuilder("file", now_ms=lambda: 0, columns=columns, times=UTC)
    results: list[Message | RowFault] = []
    for row in rows_of(file):
        try:
            results.append(builder.build(row))
        except RowFault as fault:
            results.append(fault)
    return results


def text_of(values: Sequence[bytes | None]) -> pa.Array:
    """Return text whose bytes are not checked, as other Parquet writers produce it."""
    binary = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(binary), binary.buffers())


def ticks(kind: pa.DataType, values: Sequence[int | None]) -> pa.Array:
    return pa.array(values, pa.int32() if pa.types.is_date32(kind) else pa.int64()).view(kind)


@pytest.mark.parametrize(
    ("array", "values"),
    [
        (pa.array([1, None], pa.uint64()), [1, None]),
        (pa.array([Decimal("1.50")], pa.decimal256(60, 2)), [Decimal("1.50")]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
        (pa.array(["a"], pa.large_string()), ["a"]),
        (pa.array(["a"], pa.string_view()), ["a"]),
        (text_of([b"good", b"\xff", None]), ["good", Unreadable("text that is not UTF-8"), None]),
        (ticks(pa.timestamp("ns"), [1_500_000, 1_499_999, -1]), [LocalTime(2), LocalTime(1), LocalTime(0)]),
        (ticks(pa.timestamp("us", "Mars/Olympus"), [5_000, None]), [Instant(5), None]),
        (ticks(pa.timestamp("s", "UTC"), [10**15]), [Instant(10**18)]),
        (ticks(pa.date32(), [1, None]), [LocalTime(86_400_000), None]),
        (ticks(pa.date64(), [86_400_000]), [LocalTime(86_400_000)]),
        (pa.array([5, None], pa.time64("ns")), [Unreadable("a time of day, which is not supported"), None]),
        (pa.array([5], pa.duration("ns")), [Unreadable("a duration, which is not supported")]),
        (pa.array([[1, 2], [], None, [3]]), [[1, 2], [], None, [3]]),
        (pa.array([[1, 2], [3, 4], None], pa.list_(pa.int8(), 2)), [[1, 2], [3, 4], None]),
        (pa.array([[1], None, [2, 3]], pa.list_view(pa.int8())), [[1], None, [2, 3]]),
        (pa.array([{"a": 1, "b": "x"}, None]), [{"a": 1, "b": "x"}, None]),
        (pa.array([[("k", 1), ("l", 2)], None], pa.map_(pa.string(), pa.int8())), [{"k": 1, "l": 2}, None]),
        (
            pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int8())),
            [Unreadable("a map with a repeated key")],
        ),
        (pa.array([[(1, 1)]], pa.map_(pa.int8(), pa.int8())), [Unreadable("a map whose keys are not text")]),
        (pa.nulls(2), [None, None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_the_values_of_every_type(array: pa.Array, values: list[object]) -> None:
    assert python_values(array) == values
    padded = pa.concat_arrays([array, array])
    if not pa.types.is_list_view(array.type):
        assert python_values(padded.slice(len(array))) == values, "a slice of an array is read as that slice"


def test_nested_times_are_times() -> None:
    times = ticks(pa.timestamp("ns"), [1_000_000, 2_000_000])
    assert python_values(pa.ListArray.from_arrays([0, 2], times)) == [[LocalTime(1), LocalTime(2)]]
    assert python_values(pa.StructArray.from_arrays([times], ["t"])) == [{"t": LocalTime(1)}, {"t": LocalTime(2)}]


def test_an_image_in_nested_lists_arrives_in_its_shape() -> None:
    image = [[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]]
    kind = pa.list_(pa.list_(pa.list_(pa.float32(), 3), 2))
    (message,) = outcomes(parquet_of(features=pa.array([image], kind)))
    assert isinstance(message, Message) and orjson.loads(message.value)["features"] == image
    of = Signature((), (1, 2, 3), "multiclass", 2)
    record = FakeRecord(0, message.value)
    (chunk,) = Decoder([DecodedModel(MODEL, of)], max_event_bytes=10_000).decode({P0: [record]}, EPOCH)
    assert chunk.x_BF.tolist() == [[0, 1, 2, 3, 4, 5]]


def test_a_bad_value_invalidates_only_its_row_and_names_the_column() -> None:
    first, second, third = outcomes(parquet_of(x=text_of([b"a", b"\xff", b"c"])))
    assert isinstance(first, Message) and isinstance(third, Message)
    assert isinstance(second, RowFault) and second.reason == "column x is text that is not UTF-8"


def test_a_repeated_name_is_refused_at_any_depth() -> None:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"]), file)
    with pytest.raises(DataError, match="several columns have the name 'x'"):
        rows_of(file)
    inner = pa.struct([pa.field("y", pa.int8()), pa.field("y", pa.int8())])
    nested = pa.StructArray.from_arrays([pa.array([1], pa.int8())] * 2, fields=list(inner))
    with pytest.raises(DataError, match=r"several fields of s have the name 'y'"):
        rows_of(parquet_of(s=pa.ListArray.from_arrays([0, 1], nested)))


def test_a_damaged_file_is_reported_with_the_last_good_row() -> None:
    file = io.BytesIO()
    pq.write_table(
        pa.table({"x": list(range(5000))}), file, row_group_size=2000, compression="none", use_dictionary=False
    )
    data = bytearray(file.getvalue())
    second = pq.ParquetFile(file).metadata.row_group(1).column(0).data_page_offset
    data[second : second + 40] = b"\xff" * 40
    rows = parquet_rows(io.BytesIO(bytes(data)), "file", lambda columns: None)
    with pytest.raises(DataError, match=r"^file, after row \d+: the file cannot be read as Parquet"):
        list(rows)


# An array, and for each of its values the number that the event must have (None: null).
Source = tuple[pa.Array, list[object]]


def numbers_of(kind: pa.DataType, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Source]:
    def source(values: list[Any]) -> Source:
        array = pa.array(values, kind)
        return array, [None if value is None or value != value else value for value in array.to_pylist()]

    return st.lists(values | st.none(), min_size=1, max_size=4).map(source)


def times_of(kind: pa.DataType, per_ms: float) -> st.SearchStrategy[Source]:
    """Return times over the whole range of the type, most of them in the range of an event."""
    # Parquet has no seconds: they are written as milliseconds.
    bits = 31 if pa.types.is_date32(kind) else 53 if kind.unit == "s" else 63
    usual = min(2**bits - 1, int(MAX_TIMESTAMP_MS * per_ms) + 10)
    values = st.integers(0, usual) | st.integers(-(2**bits), 2**bits - 1)

    def source(values: list[int | None]) -> Source:
        exact = [
            None if value is None else value / per_ms if per_ms >= 1 else value * round(1 / per_ms) for value in values
        ]
        return ticks(kind, values), exact

    return st.lists(values | st.none(), min_size=1, max_size=4).map(source)


INTEGERS = [
    numbers_of(kind, st.integers(np.iinfo(name).min, np.iinfo(name).max))
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    for kind in [pa.type_for_alias(name)]
]
FLOATS = [
    numbers_of(pa.float64(), st.floats()),
    numbers_of(pa.float32(), st.floats(width=32)),
    numbers_of(pa.float16(), st.floats(width=16).map(np.float16)),
]
DECIMALS = [
    numbers_of(pa.decimal128(38, scale), st.decimals(-(10**20), 10**20, places=scale, allow_nan=False))
    for scale in (0, 2)
]
TIMES = [
    times_of(pa.timestamp(unit, zone), PER_MS[unit])
    for unit in ("s", "ms", "us", "ns")
    for zone in (None, "UTC", "Mars/Olympus")
] + [times_of(pa.date32(), 1 / 86_400_000)]
BOOLEANS = numbers_of(pa.bool_(), st.booleans())


def nest(source: Source, how: str) -> tuple[pa.Array, Callable[[Any], Any]]:
    """Put each value into a list, struct or map; return also the function that gets it from the event."""
    array, _ = source
    offsets = pa.array(range(len(array) + 1), pa.int32())
    if how == "list":
        return pa.ListArray.from_arrays(offsets, array), lambda features: features[0]
    if how == "struct":
        return pa.StructArray.from_arrays([array], ["v"]), lambda features: features["v"]
    names = pa.array(["v"] * len(array))
    return pa.MapArray.from_arrays(offsets, names, array), lambda features: features["v"]


@given(st.one_of(*INTEGERS, *FLOATS, *DECIMALS, *TIMES, BOOLEANS), st.sampled_from(["plain", "list", "struct", "map"]))
def test_a_feature_arrives_exactly_or_its_row_is_refused(source: Source, how: str) -> None:
    array, expected = source
    if how == "plain":
        file, value_of = parquet_of(x=array), lambda features: features["x"]
    else:
        nested, value_of = nest(source, how)
        file = parquet_of(features=nested)
    for outcome, value in zip(outcomes(file), expected, strict=True):
        if isinstance(outcome, RowFault):
            assert isinstance(value, float | Decimal) and math.isinf(float(value)), outcome.reason
            assert "is infinite" in outcome.reason and outcome.remedy
            continue
        sent = value_of(orjson.loads(outcome.value)["features"])
        if value is None:
            assert sent is None
        elif pa.types.is_temporal(array.type):
            assert abs(sent - value) <= max(0.5, abs(value) * 1e-15)
        elif isinstance(value, Decimal):
            assert sent == float(value)
        else:
            assert sent == value
        check_decoded(outcome.value, how, sent)


def check_decoded(event: bytes, how: str, sent: object) -> None:
    """Check that the decoder accepts the event, with the value rounded to float32."""
    name = "x" if how == "plain" else "v"
    signature = Signature((Feature(name, nullable=True),), (1,), "regression", 1)
    (chunk,) = Decoder([DecodedModel(MODEL, signature)], max_event_bytes=10_000).decode(
        {P0: [FakeRecord(0, event)]}, EPOCH
    )
    if chunk.rejections:
        assert isinstance(sent, int | float) and abs(sent) > 3.4e38
        assert chunk.rejections[0].kind is FailureKind.OUT_OF_RANGE
    else:
        np.testing.assert_array_equal(chunk.x_BF[0, 0], np.float32(np.nan if sent is None else sent))


TEXTS = st.lists(st.text(max_size=5) | st.none(), min_size=1, max_size=4)


@given(st.one_of(*INTEGERS, *FLOATS, *DECIMALS, TEXTS.map(lambda values: (pa.array(values, pa.string()), values))))
def test_an_id_and_a_key_arrive_exactly_or_their_row_is_refused(source: tuple[pa.Array, list[object]]) -> None:
    array, expected = source
    file = parquet_of(k=array, features=pa.array([[1]] * len(array)))
    for number, (outcome, value) in enumerate(zip(outcomes(file, Columns(key="k")), expected, strict=True), start=1):
        if isinstance(outcome, Message):
            text = None if value is None else str(value)
            assert outcome.key == (None if text is None else text.encode())
            assert orjson.loads(outcome.value)["id"] == f"file:{number}"
        else:
            assert isinstance(value, float | Decimal) and "k is" in outcome.reason
            assert isinstance(value, float) or value.as_tuple().exponent != 0
    file.seek(0)
    for number, (outcome, value) in enumerate(zip(outcomes(file, Columns(id="k")), expected, strict=True), start=1):
        if isinstance(outcome, Message):
            assert orjson.loads(outcome.value)["id"] == (f"file:{number}" if value is None else str(value))
        else:
            assert value == "" or isinstance(value, float | Decimal)


@given(st.one_of(*TIMES, *INTEGERS))
def test_a_timestamp_arrives_exactly_or_its_row_is_refused(source: Source) -> None:
    array, expected = source
    for outcome, value in zip(outcomes(parquet_of(timestamp=array, x=array)), expected, strict=True):
        if isinstance(outcome, Message):
            sent = orjson.loads(outcome.value)["timestamp"]
            assert sent == 0 if value is None else abs(sent - value) <= max(0.5, abs(value) * 1e-15)  # type: ignore[operator]
        else:
            assert not -0.5 <= value <= MAX_TIMESTAMP_MS  # type: ignore[operator]
            assert outcome.reason.startswith("timestamp") and outcome.remedy

"""Predictions in Avro and Protobuf: other libraries read from them what the JSON says."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import fastavro
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas.binary_outputs import avro_text
from forebay.stream.core.decisions import ABSTENTIONS
from forebay.stream.core.records import BatchResult, Chunk, MicroBatch, TopicPartition
from forebay.stream.core.rows import RowRecords
from forebay.stream.eventtime.window_chunk import WindowLabel
from forebay.stream.output.avro_wire import AvroWire
from forebay.stream.output.binary_encoder import BinaryPredictionEncoder
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.output.protobuf_wire import ProtobufWire
from forebay.stream.output.slices import SliceColumn
from forebay.stream.output.varints import varint, varint_matrix, varints, zigzag, zigzags
from forebay.stream.output.wire import Wire
from tests.core.build import FakeSource, chunk
from tests.schemas.protoc import message_class

FRAMING: Final = b"\0\0\0\0\7"
SCHEMA: Final = fastavro.parse_schema(json.loads(avro_text("prediction")))
SLICES: Final = (SliceColumn("x", 0, ("missing", "a", "ü")), SliceColumn("y", 1, ("missing", "q1"), ()))


def read_avro(value: bytes) -> dict[str, Any]:
    assert value[:5] == FRAMING
    stream = io.BytesIO(value[5:])
    document: Any = fastavro.schemaless_reader(stream, SCHEMA, None)
    assert not stream.read(), "bytes after the prediction"
    if document["source"]["row"] is None:
        del document["source"]["row"]
    return {name: part for name, part in document.items() if part is not None}


def read_protobuf(value: bytes) -> dict[str, Any]:
    assert value[:6] == FRAMING + b"\0"
    message = message_class("prediction").FromString(value[6:])
    document = {
        "id": message.id,
        "model": message.model,
        "version": message.version,
        "prediction": list(message.prediction),
        "source": fields_of(message.source, ("topic", "partition", "offset", "timestamp")),
    }
    if message.source.HasField("row"):
        document["source"]["row"] = message.source.row
    for name in ("confidence", "class", "label", "decision", "reason"):
        if message.HasField(name):
            document[name] = getattr(message, name)
    if message.HasField("window"):
        document["window"] = fields_of(message.window, ("key", "start", "end", "events", "dropped"))
    if message.slices:
        document["slices"] = dict(message.slices)
    return document


def fields_of(message: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(message, name) for name in names}


FORMATS: Final = pytest.mark.parametrize(
    ("wire", "read"), [(AvroWire(), read_avro), (ProtobufWire(), read_protobuf)], ids=["avro", "protobuf"]
)


def expected(value: bytes) -> dict[str, Any]:
    """Return the fields of a prediction in JSON that are not null, with numbers as float32 has them."""
    document = {name: part for name, part in orjson.loads(value).items() if part is not None}
    document["prediction"] = [float(np.float32(score)) for score in document["prediction"]]
    if "confidence" in document:
        document["confidence"] = float(np.float32(document["confidence"]))
    return document


def encoders(
    wire: Wire, labels: Sequence[str], num_classes: int, slices: Sequence[SliceColumn]
) -> tuple[PredictionEncoder, BinaryPredictionEncoder]:
    model: Any = {"model": 'mödel "1"', "version": 300, "labels": labels, "num_classes": num_classes, "slices": slices}
    return PredictionEncoder(**model), BinaryPredictionEncoder(wire, framing=FRAMING, **model)


_INT64 = st.integers(-(2**63), 2**63 - 1)
_EDGES = st.sampled_from([0, 63, 64, 127, 128, 8191, 8192, 2**31, 2**40, 1_372_636_800_000])
_FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def results(draw: st.DrawFn) -> tuple[BatchResult, Chunk, int]:
    """Draw a chunk, the result of a micro-batch in which it follows one other row, and the number of its classes."""
    ids = draw(st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=4))
    rows = len(ids)
    offsets = sorted(draw(st.lists(_EDGES | st.integers(0, 2**62), min_size=rows, max_size=rows, unique=True)))
    times = draw(st.lists(_EDGES | st.integers(-(10**6), 2**47), min_size=rows, max_size=rows))
    x_BF = np.array(draw(st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=2 * rows, max_size=2 * rows)))
    events = replace(
        chunk(offsets, partition=TopicPartition("töpic", draw(st.sampled_from([0, 1, 4_000])))),
        ids=ids,
        timestamps=times,
        x_BF=x_BF.reshape(rows, 2).astype(np.float32),
    )
    if draw(st.booleans()):
        numbers = draw(st.lists(st.sampled_from([-1, 0, 64, 65_535]), min_size=rows, max_size=rows))
        own = [
            FakeSource(record.offset, 1) if n >= 0 else record
            for n, record in zip(numbers, events.records, strict=True)
        ]
        events = replace(events, records=RowRecords(own, np.arange(rows), np.array(numbers)))
    outputs = draw(st.integers(1, 3))
    values_BO = np.array(draw(st.lists(_FLOATS, min_size=(rows + 1) * outputs, max_size=(rows + 1) * outputs)))
    num_classes = draw(st.sampled_from([0, 2, 3]))
    codes = [0, *ABSTENTIONS]
    result = BatchResult(
        MicroBatch(0, (events,), "size", 0.0),
        values_BO=values_BO.reshape(rows + 1, outputs).astype(np.float32),
        classes_B=np.array([i % num_classes for i in range(rows + 1)]) if num_classes else None,
        confidences_B=np.linspace(0.1, 0.9, rows + 1, dtype=np.float32) if num_classes else None,
        failures={},
        model_s=0.0,
        decisions_B=np.array(draw(st.lists(st.sampled_from(codes), min_size=rows + 1, max_size=rows + 1)), np.uint8)
        if draw(st.booleans())
        else None,
    )
    return result, events, num_classes


@FORMATS
@settings(max_examples=40)
@given(drawn=results(), with_slices=st.booleans(), only_some=st.booleans())
def test_a_prediction_says_the_same_in_all_formats(
    wire: Wire,
    read: Callable[[bytes], dict[str, Any]],
    drawn: tuple[BatchResult, Chunk, int],
    with_slices: bool,
    only_some: bool,
) -> None:
    result, events, num_classes = drawn
    as_json, as_bytes = encoders(wire, ("no", "yes ü")[:num_classes], num_classes, SLICES if with_slices else ())
    rows = list(range(len(events.ids)))[1:] if only_some else None
    values = as_bytes.encode(result, events, 1, rows)
    assert list(map(read, values)) == list(map(expected, as_json.encode(result, events, 1, rows)))
    assert as_bytes.encode(result, events, 1, []) == []


@FORMATS
@given(
    keys=st.lists(st.text(max_size=20), min_size=1, max_size=3),
    start=st.sampled_from([-60_000, 0, 1_372_636_800_000]),
    offset=_EDGES,
    regression=st.booleans(),
)
@settings(max_examples=25)
def test_a_window_says_the_same_in_all_formats(
    wire: Wire,
    read: Callable[[bytes], dict[str, Any]],
    keys: list[str],
    start: int,
    offset: int,
    regression: bool,
) -> None:
    windows = [
        WindowLabel(f"{key}|{start}", key, start, start + 60_000, first_offset=offset, num_events=3, dropped=i)
        for i, key in enumerate(keys)
    ]
    result = BatchResult(
        MicroBatch(0, (), "size", 0.0),
        values_BO=np.ones((len(keys), 2), np.float32),
        classes_B=None if regression else np.ones(len(keys), np.int64),
        confidences_B=None if regression else np.ones(len(keys), np.float32),
        failures={},
        model_s=0.0,
        decisions_B=np.arange(len(keys), dtype=np.uint8) % 2 * max(ABSTENTIONS),
    )
    as_json, as_bytes = encoders(wire, (), 0 if regression else 2, ())
    for rows in (None, [len(keys) - 1]):
        values = as_bytes.encode_windows(result, TopicPartition("t", 0), first_row=0, windows=windows, rows=rows)
        same = as_json.encode_windows(result, TopicPartition("t", 0), first_row=0, windows=windows, rows=rows)
        assert list(map(read, values)) == list(map(expected, same))


@given(st.lists(_INT64 | _EDGES, min_size=1, max_size=5))
def test_columns_of_integers_are_what_single_ones_are(values: list[int]) -> None:
    zigzags_B = zigzags(np.array(values, np.int64))
    assert zigzags_B.tolist() == [zigzag(value) for value in values]
    single = [varint(zigzag(value)) for value in values]
    assert varints(zigzags_B) == single
    matrix = varint_matrix(zigzags_B)
    if len({len(text) for text in single}) == 1:
        assert matrix is not None and [bytes(row) for row in matrix] == single
    else:
        assert matrix is None


def test_integers_are_written_as_both_formats_specify() -> None:
    assert [varint(number) for number in (0, 1, 127, 128, 300)] == [b"\0", b"\1", b"\x7f", b"\x80\1", b"\xac\2"]
    assert [zigzag(number) for number in (0, -1, 1, -2, 2147483647)] == [0, 1, 2, 3, 4294967294]

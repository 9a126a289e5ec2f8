"""The same events of 32 features in several formats, for topics that are filled before a measurement."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, Final

import fastavro
import msgspec
import numpy as np
import orjson
import pyarrow as pa

from benchmarks.formats import event_schema
from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.decode.formats.protobuf_schema import message_class
from forebay.stream.schema_registry.framing import frame
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef

NUM_FEATURES: Final = 32
NUM_TEXTS: Final = 4
TEXTS: Final = ("red", "green", "blue", "äther")
NULL_SHARE: Final = 0.1
ARROW_ROWS: Final = 256
"""The rows of a record in Arrow."""
DISTINCT_ROWS: Final = 1_024
NAMES: Final = tuple(f"f{number}" for number in range(NUM_FEATURES))
TEXT_NAMES: Final = NAMES[-NUM_TEXTS:]

NUMBERS: Final = Signature(tuple(map(Feature, NAMES)), (NUM_FEATURES,), "multiclass", 2)
MIXED: Final = Signature(
    tuple(
        Feature(name, "category", TEXTS, nullable=True) if name in TEXT_NAMES else Feature(name, nullable=True)
        for name in NAMES
    ),
    (NUM_FEATURES,),
    "multiclass",
    2,
)

AVRO_FLOATS: Final = event_schema(*((name, "float") for name in NAMES))
AVRO_NULLABLE: Final = event_schema(*((name, ["null", "string" if name in TEXT_NAMES else "double"]) for name in NAMES))
PROTOBUF: Final = (
    'syntax = "proto3"; import "google/protobuf/timestamp.proto"; '
    "message Event { string id = 1; google.protobuf.Timestamp timestamp = 2; "
    + " ".join(
        f"{'string' if name in TEXT_NAMES else 'float'} {name} = {number};"
        for number, name in enumerate(NAMES, start=5)
    )
    + " }"
)


class FormatEvents:
    """Generates events by number. Their features are encoded once, so that topics are filled quickly.

    rows: the encoded features, which are used in turn.
    encode: returns an event, given its id, its time in milliseconds and its features.
    """

    def __init__(self, rows: Sequence[bytes], encode: Callable[[str, int, bytes], bytes]) -> None:
        self._rows = rows
        self._encode = encode

    def key(self, number: int) -> bytes:
        """Return the record key of event `number`."""
        return b"key-%d" % (number % DISTINCT_ROWS)

    def value(self, number: int, timestamp_ms: int) -> bytes:
        """Return the record value of event `number`."""
        return self._encode(f"event-{number}", timestamp_ms, self._rows[number % len(self._rows)])


class ArrowEvents:
    """Generates records by number, each with `ARROW_ROWS` events."""

    def __init__(self) -> None:
        x_NF = number_rows()
        self._blocks = [x_NF[start : start + ARROW_ROWS] for start in range(0, DISTINCT_ROWS, ARROW_ROWS)]

    def key(self, number: int) -> bytes:
        """Return the key of record `number`."""
        return b"key-%d" % (number % DISTINCT_ROWS)

    def value(self, number: int, timestamp_ms: int) -> bytes:
        """Return record `number` as a stream of Arrow IPC."""
        first = number * ARROW_ROWS
        block_RF = self._blocks[number % len(self._blocks)]
        batch = pa.record_batch(
            {
                "id": [f"event-{row}" for row in range(first, first + ARROW_ROWS)],
                "timestamp": pa.array(np.full(ARROW_ROWS, timestamp_ms), pa.timestamp("ms", "UTC")),
                **{name: np.ascontiguousarray(block_RF[:, column]) for column, name in enumerate(NAMES)},
            }
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return bytes(sink.getvalue().to_pybytes())


def number_rows() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the features of the events as float32 [DISTINCT_ROWS, NUM_FEATURES]."""
    return np.random.default_rng(1).normal(size=(DISTINCT_ROWS, NUM_FEATURES)).round(4).astype(np.float32)


def mixed_rows(*, null_share: float) -> list[dict[str, Any]]:
    """Return the features of the events, with texts as the last `NUM_TEXTS`. null_share: the share that is None."""
    rng = np.random.default_rng(2)
    rows = []
    for numbers in rng.normal(size=(DISTINCT_ROWS, NUM_FEATURES)).round(4).tolist():
        row = dict(zip(NAMES, numbers, strict=True)) | {name: TEXTS[rng.integers(len(TEXTS))] for name in TEXT_NAMES}
        rows.append({name: None if rng.random() < null_share else value for name, value in row.items()})
    return rows


def json_list() -> FormatEvents:
    """Return Forebay's JSON with the features as an array."""
    return FormatEvents([orjson.dumps(row) for row in _short(number_rows())], _encode_json)


def json_by_name() -> FormatEvents:
    """Return Forebay's JSON with the features as an object."""
    rows = [orjson.dumps(dict(zip(NAMES, row, strict=True))) for row in _short(number_rows())]
    return FormatEvents(rows, _encode_json)


def avro_floats(schema_id: int) -> FormatEvents:
    """Return Avro of `AVRO_FLOATS` with the prefix of a schema registry's serializer."""
    documents = [dict(zip(NAMES, row, strict=True)) for row in number_rows().tolist()]
    return _avro(AVRO_FLOATS, documents, schema_id)


def avro_nullable(schema_id: int) -> FormatEvents:
    """Return Avro of `AVRO_NULLABLE` with the prefix of a schema registry's serializer."""
    return _avro(AVRO_NULLABLE, mixed_rows(null_share=NULL_SHARE), schema_id)


def protobuf(schema_id: int) -> FormatEvents:
    """Return messages of `PROTOBUF` with the prefix of a schema registry's serializer."""
    event = protobuf_class()
    rows = [event(**row).SerializeToString() for row in mixed_rows(null_share=0.0)]

    def encode(event_id: str, timestamp_ms: int, features: bytes) -> bytes:
        head = event(id=event_id)
        head.timestamp.FromMilliseconds(timestamp_ms)
        return frame(schema_id, head.SerializeToString() + features, (0,))  # fields that follow are of the same message

    return FormatEvents(rows, encode)


def protobuf_class() -> type[Any]:
    """Return the class of the messages of `PROTOBUF`."""
    found: type[Any] = message_class(RegisteredSchema(SchemaRef(id=1), "PROTOBUF", PROTOBUF), (0,))
    return found


def msgpack_by_name() -> FormatEvents:
    """Return Forebay's event in MessagePack, with the features as a map."""
    rows = [msgspec.msgpack.encode(dict(zip(NAMES, row, strict=True))) for row in _short(number_rows())]
    encode = msgspec.msgpack.encode
    return FormatEvents(
        rows, lambda event_id, time, row: encode({"id": event_id, "timestamp": time, "features": msgspec.Raw(row)})
    )


def _encode_json(event_id: str, timestamp_ms: int, features: bytes) -> bytes:
    return b'{"id":"%b","timestamp":%d,"features":%b}' % (event_id.encode(), timestamp_ms, features)


def _short(x_NF: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> list[list[float]]:
    """Return rows of float64 with four decimals, as they would be written in JSON."""
    rows: list[list[float]] = x_NF.astype(np.float64).round(4).tolist()
    return rows


def _avro(schema: dict[str, Any], documents: Sequence[dict[str, Any]], schema_id: int) -> FormatEvents:
    """Encode id and time apart from the features: the fields of a record follow each other without separators."""
    head, features = (
        fastavro.parse_schema({**schema, "name": name, "fields": fields})
        for name, fields in (("Head", schema["fields"][:2]), ("Features", schema["fields"][2:]))
    )

    def write(part: Any, document: dict[str, Any]) -> bytes:
        sink = io.BytesIO()
        fastavro.schemaless_writer(sink, part, document)
        return sink.getvalue()

    return FormatEvents(
        [write(features, document) for document in documents],
        lambda event_id, time, row: frame(schema_id, write(head, {"id": event_id, "timestamp": time}) + row),
    )

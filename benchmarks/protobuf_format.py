"""Compare decoding Protobuf by columns with the library's messages, confluent-kafka's deserializer and our JSON.

    python -m benchmarks.protobuf_format
    python -m benchmarks.protobuf_format --rows 64 --json

Each contestant decodes the same events of 32 features, without a broker or a model: ours into the rows, ids and times that a
worker takes, as the decode stage does; the others into messages, from which they read all fields by attribute. They
run interleaved, and the best and the median of the rounds count. Needs the extras protobuf and bench, and
confluent-kafka[protobuf,schemaregistry].
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import click
import numpy as np
import orjson
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from rich.console import Console
from rich.table import Table

from benchmarks.stages import EPOCH, TIMESTAMP_MS
from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.bench.host_info import describe_host
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.event_formats import EventFormats
from forebay.stream.decode.formats.choice import FormatChoice, FormatSettings
from forebay.stream.decode.formats.payload import Path
from forebay.stream.decode.formats.protobuf import ProtobufFormat
from forebay.stream.decode.formats.protobuf_schema import message_class
from forebay.stream.schema_registry.framing import frame
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from forebay.stream.schema_registry.store import SchemaStore

NUM_FEATURES = 32
NUM_TEXTS = 4
TEXTS = ("red", "green", "blue", "äther")
TOPIC = "features"
LEAST_S = 1.0

_CONTEXT = SerializationContext(TOPIC, MessageField.VALUE)


class Case(NamedTuple):
    """Events of one schema. kinds: the type of each feature. zero_share: how many numbers are 0, which is not written."""

    name: str
    kinds: Sequence[str]
    zero_share: float = 0.0
    as_vector: bool = False


CASES = (
    Case("floats", ["float"] * NUM_FEATURES),
    Case("floats, 30 % of them 0", ["float"] * NUM_FEATURES, zero_share=0.3),
    Case("floats and 4 strings", ["float"] * (NUM_FEATURES - NUM_TEXTS) + ["string"] * NUM_TEXTS),
    Case("nullable doubles and strings", ["optional double"] * 28 + ["optional string"] * 4, zero_share=0.1),
    Case("integers", ["int32"] * NUM_FEATURES),
    Case("repeated float", ["float"] * NUM_FEATURES, as_vector=True),
)


class Timed(NamedTuple):
    """The time of a contestant in microseconds per event."""

    case: str
    contestant: str
    best_us: float
    median_us: float

    @property
    def events_per_s(self) -> float:
        return 1e6 / self.best_us


class Record(NamedTuple):
    """A polled record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def records_of(values: Sequence[bytes]) -> dict[TopicPartition, list[Record]]:
    """Return a poll of one partition."""
    records = [Record(offset, TIMESTAMP_MS, None, value, headers=()) for offset, value in enumerate(values)]
    return {TopicPartition(TOPIC, 0): records}


def schema_of(case: Case) -> str:
    if case.as_vector:
        features = "repeated float features = 5;"
    else:
        features = " ".join(f"{kind} f{index} = {index + 5};" for index, kind in enumerate(case.kinds))
    head = "string id = 1; google.protobuf.Timestamp timestamp = 2;"
    return f'syntax = "proto3"; import "google/protobuf/timestamp.proto"; message Event {{ {head} {features} }}'


class Contestants:
    """The ways to decode a poll of one case."""

    def __init__(self, case: Case, rows: int) -> None:
        schema = RegisteredSchema(SchemaRef(id=1), "PROTOBUF", schema_of(case))
        self.names = ["features"] if case.as_vector else [f"f{index}" for index in range(NUM_FEATURES)]
        self.message_class = message_class(schema, (0,))
        messages = [self._message(case, row, features) for row, features in enumerate(_features(case, rows))]
        self.values = [frame(1, message.SerializeToString(), (0,)) for message in messages]
        self.format = ProtobufFormat(schema)
        self.paths: list[Path] = [("id",), ("timestamp",), *((name,) for name in self.names)]
        self.deserializer = ProtobufDeserializer(self.message_class, {"use.deprecated.format": False})
        features = [
            Feature(f"f{index}", "category", TEXTS, nullable=True)
            if kind.endswith("string")
            else Feature(f"f{index}", nullable=kind.startswith("optional"))
            for index, kind in enumerate(case.kinds)
        ]
        decoded = DecodedModel(ModelRef("bench", 1), Signature(tuple(features), (NUM_FEATURES,), "multiclass", 2))
        store = SchemaStore()
        store.put(schema)
        formats = EventFormats(FormatChoice(FormatSettings(), store))
        self.decoder = Decoder([decoded], max_event_bytes=1 << 20, formats=formats)
        self.poll = records_of(self.values)
        self.json_decoder = Decoder([decoded], max_event_bytes=1 << 20)
        self.json_poll = records_of([self._json(case, message) for message in messages])

    def _message(self, case: Case, row: int, features: Sequence[Any]) -> Any:
        fields = {name: value for name, value in zip(self.names, features, strict=False) if value is not None}
        message = self.message_class(id=f"event-{row}", **({"features": features} if case.as_vector else fields))
        message.timestamp.FromMilliseconds(TIMESTAMP_MS + row)
        return message

    def _json(self, case: Case, message: Any) -> bytes:
        if case.as_vector:
            features = list(message.features)
        else:
            is_nullable = case.kinds[0].startswith("optional")
            features = [
                getattr(message, name) if not is_nullable or message.HasField(name) else None for name in self.names
            ]
        return orjson.dumps({"id": message.id, "timestamp": TIMESTAMP_MS, "features": features})

    def work(self) -> Mapping[str, Callable[[], object]]:
        """Return the contestants by name."""
        parse = self.message_class.FromString
        return {
            "our Protobuf": lambda: self.decoder.decode(self.poll, EPOCH),
            "its columns only": lambda: self.format.columns(self.values, self.paths, start=6),
            "its exact path only": lambda: [self.format.document(value[6:]) for value in self.values],
            "protobuf (upb)": lambda: self._attributes([parse(value[6:]) for value in self.values]),
            "confluent-kafka": lambda: self._attributes([self.deserializer(value, _CONTEXT) for value in self.values]),
            "our JSON": lambda: self.json_decoder.decode(self.json_poll, EPOCH),
        }

    def _attributes(self, messages: Sequence[Any]) -> tuple[list[list[Any]], list[tuple[str, int]]]:
        """Read all fields of messages. Texts are not turned into codes."""
        names = self.names
        rows = [[getattr(message, name) for name in names] for message in messages]
        return rows, [(message.id, message.timestamp.ToMilliseconds()) for message in messages]


def _features(case: Case, rows: int) -> list[list[Any]]:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(rows):
        values: list[Any] = []
        for kind in case.kinds:
            is_left_out = rng.random() < case.zero_share
            if kind.endswith("string"):
                values.append(None if is_left_out else TEXTS[rng.integers(len(TEXTS))])
            elif kind == "int32":
                values.append(int(rng.integers(-5, 1000)))
            else:
                values.append(None if is_left_out else float(np.float32(rng.normal())))
        found.append(values)
    return found


def measure(case: Case, rows: int) -> list[Timed]:
    """Run all contestants of a case in turn until each has run for a while."""
    contestants = Contestants(case, rows).work()
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    ends_s = time.perf_counter() + LEAST_S * len(contestants)
    while time.perf_counter() < ends_s or len(taken["our JSON"]) < 5:
        for name, work in contestants.items():
            began_s = time.perf_counter()
            work()
            taken[name].append((time.perf_counter() - began_s) / rows * 1e6)
    return [Timed(case.name, name, min(times), median(times)) for name, times in taken.items()]


@click.command()
@click.option("--rows", default=512, show_default=True, help="Events of a poll.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rows: int, as_json: bool) -> None:
    """Compare decoding Protobuf by columns with other ways, and with our JSON."""
    results = [timed for case in CASES for timed in measure(case, rows)]
    if as_json:
        report = {"host": describe_host(), "rows": rows, "results": [timed._asdict() for timed in results]}
        click.echo(json.dumps(report, default=str))
        return
    table = Table("events", "decoder", "best µs", "median µs", "events/s", title=f"decoding polls of {rows}")
    for timed in results:
        numbers = (f"{timed.best_us:.2f}", f"{timed.median_us:.2f}", f"{timed.events_per_s:,.0f}")
        table.add_row(timed.case, timed.contestant, *numbers)
    Console().print(table)


if __name__ == "__main__":
    main()

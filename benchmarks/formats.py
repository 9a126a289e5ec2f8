"""Compare decoding Avro by columns with fastavro, confluent-kafka's deserializer and our JSON, without a broker or a model.

    python -m benchmarks.formats
    python -m benchmarks.formats --rows 64 --json

Each contestant decodes the same events of 32 features: ours into the rows, ids and times that a worker takes, as the decode
stage does, the others into one dictionary an event. They run interleaved, and the best and the median of the rounds count. The
extras avro and bench are needed, and confluent-kafka[avro,schemaregistry].
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import click
import fastavro
import numpy as np
import orjson
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
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
from forebay.stream.decode.formats.avro import AvroFormat
from forebay.stream.decode.formats.choice import FormatChoice, FormatSettings
from forebay.stream.decode.formats.payload import Path
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from forebay.stream.schema_registry.store import SchemaStore

NUM_FEATURES = 32
NUM_TEXTS = 4
TEXTS = ("red", "green", "blue", "äther")
NULL_SHARE = 0.1
TOPIC = "features"
LEAST_S = 1.5

_CONTEXT = SerializationContext(TOPIC, MessageField.VALUE)


class Case(NamedTuple):
    """A schema, and events of it.

    schema: Avro's. documents: the events. features: what JSON events have as features.
    """

    name: str
    schema: dict[str, Any]
    documents: Sequence[Mapping[str, Any]]
    features: Sequence[object]
    signature: Signature


class Timed(NamedTuple):
    """The CPU time of a contestant in microseconds per event."""

    case: str
    contestant: str
    best_us: float
    median_us: float

    @property
    def events_per_s(self) -> float:
        return 1e6 / self.best_us


def event_schema(*fields: tuple[str, Any]) -> dict[str, Any]:
    head = [("id", "string"), ("timestamp", {"type": "long", "logicalType": "timestamp-millis"})]
    return {
        "type": "record",
        "name": "Event",
        "namespace": "bench",
        "fields": [{"name": name, "type": kind} for name, kind in [*head, *fields]],
    }


def numbers_case(name: str, kind: str, rows: int, *, within: str | None = None) -> Case:
    """Return events whose features are numbers that are never null. within: the array or map that they are in."""
    values = np.random.default_rng(1).normal(size=(rows, NUM_FEATURES)).astype(np.float32).round(4).tolist()
    names = [f"f{number}" for number in range(NUM_FEATURES)]
    heads = [{"id": f"event-{row}", "timestamp": TIMESTAMP_MS + row} for row in range(rows)]
    if within is not None:
        schema = event_schema(("features", {"type": within, "items" if within == "array" else "values": kind}))
        features: list[Any] = values if within == "array" else [dict(zip(names, row, strict=True)) for row in values]
        documents = [{**head, "features": row} for head, row in zip(heads, features, strict=True)]
        values = features
    else:
        schema = event_schema(*((feature, kind) for feature in names))
        documents = [{**head, **dict(zip(names, row, strict=True))} for head, row in zip(heads, values, strict=True)]
    signature = Signature(tuple(map(Feature, names)), (NUM_FEATURES,), "multiclass", 2)
    return Case(name, schema, documents, features=values, signature=signature)


def nullable_case(rows: int) -> Case:
    """Return events of nullable numbers and nullable texts."""
    rng = np.random.default_rng(2)
    names = [f"f{number}" for number in range(NUM_FEATURES)]
    texts = names[-NUM_TEXTS:]
    kinds = {name: ["null", "string" if name in texts else "double"] for name in names}
    rows_of = []
    for _ in range(rows):
        row: dict[str, object] = dict(zip(names, rng.normal(size=NUM_FEATURES).round(4).tolist(), strict=True))
        row |= {name: TEXTS[rng.integers(len(TEXTS))] for name in texts}
        rows_of.append({name: None if rng.random() < NULL_SHARE else value for name, value in row.items()})
    documents = [
        {"id": f"event-{number}", "timestamp": TIMESTAMP_MS + number, **row} for number, row in enumerate(rows_of)
    ]
    features = [
        Feature(name, "category", TEXTS, nullable=True) if name in texts else Feature(name, nullable=True)
        for name in names
    ]
    signature = Signature(tuple(features), (NUM_FEATURES,), "multiclass", 2)
    return Case(
        "nullable doubles and texts", event_schema(*kinds.items()), documents, features=rows_of, signature=signature
    )


class Record(NamedTuple):
    """A polled record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def records_of(values: Sequence[bytes]) -> list[Record]:
    """Return the records of a poll of one partition."""
    return [Record(offset, TIMESTAMP_MS, None, value=value, headers=()) for offset, value in enumerate(values)]


class Contestants:
    """The ways to decode a poll of one case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        text = json.dumps(case.schema)
        registry = SchemaRegistryClient.new_client({"url": "mock://formats"})
        serializer = AvroSerializer(registry, text)
        self.values: list[bytes] = [serializer(document, _CONTEXT) for document in case.documents]
        self.deserializer = AvroDeserializer(registry)
        self.parsed = fastavro.parse_schema(case.schema)
        self.format = AvroFormat(text)
        in_map = case.schema["fields"][-1]["type"]
        if isinstance(in_map, dict) and in_map["type"] == "map":
            features: list[Path] = [("features", feature.name) for feature in case.signature.features]
        else:
            features = [(str(field["name"]),) for field in case.schema["fields"][2:]]
        self.paths: list[Path] = [("id",), ("timestamp",), *features]
        decoded = DecodedModel(ModelRef("bench", 1), case.signature)
        events = [
            orjson.dumps({"id": document["id"], "timestamp": document["timestamp"], "features": features})
            for document, features in zip(case.documents, case.features, strict=True)
        ]
        self.poll = {TopicPartition(TOPIC, 0): records_of(events)}
        self.decoder = Decoder([decoded], max_event_bytes=1 << 20)
        store = SchemaStore()
        store.put(RegisteredSchema(SchemaRef(id=1), "AVRO", text))
        formats = EventFormats(FormatChoice(FormatSettings(), store))
        self.avro_decoder = Decoder([decoded], max_event_bytes=1 << 20, formats=formats)
        self.avro_poll = {TopicPartition(TOPIC, 0): records_of(self.values)}

    def work(self) -> Mapping[str, Callable[[], object]]:
        """Return the contestants by name."""
        return {
            "our Avro": lambda: self.avro_decoder.decode(self.avro_poll, EPOCH),
            "its columns only": lambda: self.format.columns(self.values, self.paths, start=5),
            "its exact path only": lambda: [self.format.document(value[5:]) for value in self.values],
            "fastavro": self.fastavro,
            "confluent-kafka": lambda: [self.deserializer(value, _CONTEXT) for value in self.values],
            "our JSON": lambda: self.decoder.decode(self.poll, EPOCH),
        }

    def fastavro(self) -> list[object]:
        read, parsed = fastavro.schemaless_reader, self.parsed
        return [read(io.BytesIO(value[5:]), parsed, None) for value in self.values]


def measure(case: Case) -> list[Timed]:
    """Run all contestants of a case in turn until each has run for a while."""
    contestants = Contestants(case).work()
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    ends_s = time.perf_counter() + LEAST_S * len(contestants)
    while time.perf_counter() < ends_s or len(taken["our JSON"]) < 5:
        for name, work in contestants.items():
            began_s = time.thread_time()  # CPU time, so that other processes count little
            work()
            taken[name].append((time.thread_time() - began_s) / len(case.documents) * 1e6)
    return [Timed(case.name, name, min(times), median(times)) for name, times in taken.items()]


@click.command()
@click.option("--rows", default=512, show_default=True, help="Events of a poll.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rows: int, as_json: bool) -> None:
    """Compare decoding Avro by columns with other ways, and with our JSON."""
    cases = [
        numbers_case("flat doubles", "double", rows),
        numbers_case("flat floats", "float", rows),
        numbers_case("array of floats", "float", rows, within="array"),
        numbers_case("map of doubles", "double", rows, within="map"),
        nullable_case(rows),
    ]
    results = [timed for case in cases for timed in measure(case)]
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

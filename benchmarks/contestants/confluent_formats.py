"""Run the pipelined confluent-kafka worker with Confluent's deserializers for Avro or Protobuf.

The file `job.config` is JSON with `registry`, the URL of the schema registry, and `format`, `avro` or `protobuf`. Texts become
the codes of their categories, and missing values 0, as in Forebay.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError

from benchmarks.contestants.confluent_worker import main
from benchmarks.contestants.job import PIPELINED_COMMIT_S, Job
from benchmarks.contestants.predict import Predictor
from benchmarks.format_events import NAMES, TEXTS, protobuf_class

CODES: dict[Any, float] = {**{text: float(code) for code, text in enumerate(TEXTS)}, None: 0.0}


class FormatPredictor(Predictor):
    """Turns values in Avro or Protobuf into predictions."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        about = json.loads(Path(job.config).read_text())
        self._context = SerializationContext(job.features, MessageField.VALUE)
        self._deserializer: Callable[[bytes, SerializationContext], Any]
        if about["format"] == "avro":
            self._deserializer = AvroDeserializer(SchemaRegistryClient({"url": about["registry"]}))
            self._read = _read_avro
        else:
            self._deserializer = ProtobufDeserializer(protobuf_class(), {"use.deprecated.format": False})
            self._read = _read_protobuf

    def parse(self, values: Sequence[bytes]) -> tuple[list[str], list[int], list[list[float]], list[int]]:
        ids, timestamps, rows, places = [], [], [], []
        deserialize, context, read = self._deserializer, self._context, self._read
        for place, value in enumerate(values):
            try:
                event_id, timestamp_ms, features = read(deserialize(value, context))
            except SerializationError:
                continue
            ids.append(event_id)
            timestamps.append(timestamp_ms)
            rows.append([CODES[value] if value is None or isinstance(value, str) else value for value in features])
            places.append(place)
        return ids, timestamps, rows, places


def _read_avro(event: Any) -> tuple[str, int, list[Any]]:
    return event["id"], round(event["timestamp"].timestamp() * 1000), [event[name] for name in NAMES]


def _read_protobuf(event: Any) -> tuple[str, int, list[Any]]:
    return event.id, event.timestamp.ToMilliseconds(), [getattr(event, name) for name in NAMES]


if __name__ == "__main__":
    main(commit_interval_s=PIPELINED_COMMIT_S, make_predictor=FormatPredictor)

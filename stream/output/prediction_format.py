"""The binary formats of predictions, and the subjects of their schemas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from forebay.schemas.binary_outputs import avro_text, proto_text, record_name
from forebay.stream.output.avro_wire import AvroWire
from forebay.stream.output.binary_encoder import BinaryPredictionEncoder
from forebay.stream.output.protobuf_wire import ProtobufWire
from forebay.stream.output.slices import SliceColumn
from forebay.stream.output.wire import Wire
from forebay.stream.schema_registry.framing import frame
from forebay.stream.schema_registry.schema import SchemaType

BinaryFormat = Literal["avro", "protobuf"]

OUTPUT: Final = "prediction"
"""The name of the schema of predictions."""


@dataclass(frozen=True, slots=True)
class BinaryPredictions:
    """Predictions in a binary format. schema_id: of their schema in the registry."""

    format: BinaryFormat
    schema_id: int

    def encoder(
        self, *, model: str, version: int, labels: Sequence[str], num_classes: int, slices: Sequence[SliceColumn]
    ) -> BinaryPredictionEncoder:
        """Return the encoder of a model version's predictions. See `BinaryPredictionEncoder`."""
        wire: Wire = AvroWire() if self.format == "avro" else ProtobufWire()
        return BinaryPredictionEncoder(
            wire,
            framing=frame(self.schema_id, b""),
            model=model,
            version=version,
            labels=labels,
            num_classes=num_classes,
            slices=slices,
        )


@dataclass(frozen=True, slots=True)
class OutputSubject:
    """A subject that must have the schema of an output.

    name: of the subject.
    type, text: of the schema.
    """

    name: str
    type: SchemaType
    text: str


def prediction_subjects(
    format: BinaryFormat, strategy: Literal["TopicName", "RecordName", "TopicRecordName"], topics: Sequence[str]
) -> list[OutputSubject]:
    """Return the subjects of predictions on these topics, by the strategy of Confluent's serialisers with this name."""
    name = record_name(OUTPUT)
    names = {
        "TopicName": [f"{topic}-value" for topic in topics],
        "RecordName": [name],
        "TopicRecordName": [f"{topic}-{name}" for topic in topics],
    }[strategy]
    if format == "avro":
        return [OutputSubject(subject, "AVRO", avro_text(OUTPUT)) for subject in names]
    return [OutputSubject(subject, "PROTOBUF", proto_text(OUTPUT)) for subject in names]

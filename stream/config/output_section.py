"""Settings of the outputs ([output])."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from forebay.stream.config.section import Section

_GIB: Final = 1 << 30

OutputFormat = Literal["json", "avro", "protobuf"]
SubjectStrategy = Literal["TopicName", "RecordName", "TopicRecordName"]


class OutputSection(Section):
    """How predictions, dead letters and outcome deltas are written."""

    format: OutputFormat = Field(
        default="json",
        description="The format of predictions, on all of their topics. avro, protobuf: with Confluent's framing; "
        "`forebay schemas register --outputs` registers the schema, which schema_registry.urls must have at the start.",
    )
    subject_name_strategy: SubjectStrategy = Field(
        default="TopicName",
        description="The subject of the schema of predictions. TopicName: <topic>-value. RecordName: forebay.Prediction. "
        "TopicRecordName: <topic>-forebay.Prediction.",
    )
    compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        default="none", description="Compression of predictions, dead letters and outcome deltas."
    )
    max_request_size: int = Field(
        default=1_048_576,
        ge=16_384,
        le=_GIB,
        description="Maximum bytes of one output record. An event whose prediction is larger fails.",
    )

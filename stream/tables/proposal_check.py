"""Whether the events of a sample can be read as proposed: by the worker's own decoder. Pure."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from forebay.models.artefacts.signature import Signature
from forebay.schemas.topics import topic_name
from forebay.stream.config.sections import InputSection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Epoch, Record, TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.event_formats import event_formats
from forebay.stream.schema_registry.store import SchemaStore

_EPOCH: Final = Epoch(-1, "", None, 0)


@dataclass(slots=True)
class ReadEvents:
    """What became of events. rejected: by kind of failure. examples: the first message of each kind, with its place."""

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of events."""
        return self.accepted + sum(self.rejected.values())


def read_as_configured(
    records: Mapping[TopicPartition, Sequence[Record]],
    text: str,
    signature: Signature,
    *,
    prefix: str,
    schemas: SchemaStore | None,
) -> ReadEvents:
    """Return what a worker with this configuration makes of records.

    text: of the configuration file. prefix: of the names of topics. schemas: of the registry, already looked up.

    Raises ConfigError if a format needs a library that is not installed.
    """
    section = InputSection.model_validate(tomllib.loads(text).get("input", {}))
    topics = frozenset(topic_name(prefix, topic) for topic in section.topics)
    decoder = Decoder(
        [DecodedModel(ModelRef("proposed", 1), signature, topics)],
        max_event_bytes=section.max_event_bytes,
        max_key_bytes=section.max_key_bytes,
        formats=event_formats(section, prefix=prefix, schemas=schemas),
    )
    found = ReadEvents()
    for chunk in decoder.decode(records, _EPOCH):
        found.accepted += chunk.num_rows
        for rejection in chunk.rejections:
            kind = rejection.kind.value
            found.rejected[kind] += rejection.count
            place = f"{chunk.partition.topic}-{chunk.partition.partition}@{rejection.record.offset}"
            found.examples.setdefault(kind, f"{place}: {rejection.message}")
    return found

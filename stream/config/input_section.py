"""Settings of the input topics, and of how their events are read ([input])."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from forebay.stream.config.input_mapping import FormatName, Formats, Mapping, Mappings, TopicFiles, TopicSubjects
from forebay.stream.config.section import DAY_MS, Section
from forebay.stream.config.values import Moment, Paths, Topics

_GIB: Final = 1 << 30


class InputSection(Section):
    """The input topics, and how they are read."""

    topics: Topics = Field(
        default=("features",),
        description="Topics to read events from. topics.prefix is prepended to each. With [[models]], the default is the "
        "topics of the models, and features if the first model lists none.",
    )
    auto_offset_reset: Literal["earliest", "latest", "none"] = Field(
        default="earliest",
        description="Where to start in a partition without a committed offset. none: refuse to start.",
    )
    from_timestamp: Moment | None = Field(
        default=None,
        description="Start at this time instead, in partitions for which the group has no committed offset.",
    )
    max_event_bytes: int = Field(default=1_048_576, ge=1, le=_GIB, description="Larger events are rejected.")
    max_key_bytes: int = Field(
        default=32_768, ge=1, le=_GIB, description="Events with a longer record key are rejected."
    )
    max_unpacked_batch_bytes: int | None = Field(
        default=None,
        ge=1,
        le=_GIB,
        description="A compressed record batch that is larger than this after decompression is rejected as a whole. "
        "Default: limits.max_in_flight_bytes.",
    )
    isolation_level: Literal["read_committed", "read_uncommitted"] = Field(
        default="read_committed",
        description="read_committed: read only records of committed transactions. read_uncommitted: read all records.",
    )
    fetch_min_bytes: int = Field(
        default=1,
        ge=1,
        le=_GIB,
        description="The broker answers a fetch request once it has this many bytes, or after fetch_max_wait_ms.",
    )
    fetch_max_wait_ms: int = Field(
        default=500, ge=0, le=60_000, description="The longest time that the broker waits for fetch_min_bytes."
    )
    max_partition_fetch_bytes: int = Field(
        default=1_048_576,
        ge=1_024,
        le=_GIB,
        description="Maximum bytes that one fetch request returns from one partition.",
    )
    duplicate_window_events: int = Field(
        default=0,
        ge=0,
        le=100_000_000,
        description="An event is rejected as a duplicate if its id is that of one of the last this many events of its "
        "partition and model. They are kept in memory: about 200 bytes each, in each partition. 0: off.",
    )
    duplicate_window_ms: int = Field(
        default=0,
        ge=0,
        le=365 * DAY_MS,
        description="With duplicate_window_events, events that are older than this, by the timestamps of the records, are "
        "forgotten. 0: no limit in time.",
    )
    max_rows_per_record: int = Field(
        default=65_536,
        ge=1,
        le=1_048_576,
        description="Records in Arrow IPC with more rows are rejected. A record is decoded and committed as a whole.",
    )
    max_image_pixels: int = Field(
        default=16_777_216,
        ge=1,
        le=89_478_485,
        description="Images with more pixels are rejected by their header, before they are decoded. Pillow warns of a "
        "decompression bomb beyond the largest value.",
    )
    image_resize: Literal["refuse", "bilinear"] = Field(
        default="refuse",
        description="Images whose size is not the model's. refuse: reject them. bilinear: resize them as Pillow does.",
    )
    image_scale: Literal["unit", "none"] = Field(
        default="unit",
        description="The values of pixels. unit: from 0 to 1, divided by 255. none: from 0 to 255.",
    )
    format: FormatName = Field(
        default="auto",
        description="The format of events whose content-type header and framing do not name one. auto: JSON.",
    )
    formats: Formats = Field(
        default_factory=dict, description="The format of single topics, instead of format: <topic> = <format>."
    )
    subjects: TopicSubjects = Field(
        default_factory=dict,
        description="The subjects whose schemas `forebay check` compares with the mapping: <topic> = <subject>. Default: "
        "<topic>-value.",
    )
    avro_schemas: Paths = Field(
        default=(),
        description="Files with Avro schemas (.avsc) of events that no registry names: of single objects, by their "
        "fingerprints, and, if it is one file, of events without any prefix.",
    )
    reader_schemas: TopicFiles = Field(
        default_factory=dict,
        description="Files with Avro schemas (.avsc) to read the Avro events of single topics as, whatever schema wrote "
        "them, by Avro's schema resolution: <topic> = <path>.",
    )
    mapping: Mapping | None = Field(
        default=None,
        description="Where id, timestamp, key, model, deadline and features are in an event, for events that do not have "
        "Forebay's own fields (docs/formats.md).",
    )
    mappings: Mappings = Field(
        default_factory=dict, description="The mapping of single topics, instead of mapping: [input.mappings.<topic>]."
    )

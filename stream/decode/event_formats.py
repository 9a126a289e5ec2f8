"""The formats and mappings of a worker's topics, as its decoder uses them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from forebay.stream.config.input_mapping import MappingTable
from forebay.stream.config.sections import InputSection
from forebay.stream.decode.formats.arrow_messages import ArrowLimits
from forebay.stream.decode.formats.avro_options import load_avro_options
from forebay.stream.decode.formats.choice import Choice, FormatChoice, FormatSettings
from forebay.stream.decode.formats.factories import check_libraries
from forebay.stream.decode.formats.image_options import ImageOptions
from forebay.stream.decode.formats.media_types import FRAMED_FORMATS
from forebay.stream.decode.formats.payload import Format
from forebay.stream.decode.mapping.sources import (
    BY_NAME,
    CE_BINARY,
    CE_STRUCTURED,
    IMAGE,
    ROWS,
    WITHOUT_SCHEMA,
    EventDefaults,
    Layouts,
    layouts_of,
    or_own_fields,
)
from forebay.stream.schema_registry.store import SchemaStore

REQUEST_TOPIC: Final = "/predict"
"""The topic of events in requests: JSON unless their content type says otherwise, with Forebay's fields or the mapping."""

_MAX_CACHED: Final = 10_000


class EventFormats:
    """Chooses the format of records and says where the parts of their events are.

    mappings: the configured mappings by full name of the topic. default: of all other topics.
    """

    def __init__(
        self,
        choice: FormatChoice,
        mappings: Mapping[str, MappingTable] = MappingProxyType({}),
        default: MappingTable | None = None,
    ) -> None:
        self.choice = choice
        self._mappings = mappings
        self._default = default
        # With the format, so that the identity of another one is never the same.
        self._layouts: dict[tuple[str, int, bool], tuple[Format, Layouts]] = {}

    def layouts(self, topic: str, choice: Choice) -> Layouts:
        """Return where the parts of events of a topic in a format may be."""
        payload_format = choice.format
        assert payload_format is not None
        key = (topic, id(payload_format), choice.is_ce_binary)
        known = self._layouts.get(key)
        if known is None:
            if len(self._layouts) >= _MAX_CACHED:
                self._layouts.clear()
            table = self._mappings.get(topic, self._default)
            layouts = layouts_of(table, payload_format.roles, _defaults(choice, payload_format))
            if topic == REQUEST_TOPIC:
                layouts = or_own_fields(layouts)
            known = self._layouts[key] = (payload_format, layouts)
        return known[1]


def _defaults(choice: Choice, payload_format: Format) -> EventDefaults:
    if choice.is_ce_binary:
        return CE_BINARY
    if payload_format.name == "cloudevents":
        return CE_STRUCTURED
    if payload_format.name == "image":
        return IMAGE
    if payload_format.name == "arrow":
        return ROWS
    return BY_NAME if payload_format.has_schema else WITHOUT_SCHEMA


def plain_formats() -> EventFormats:
    """Return the formats of a worker without settings: what content types name, else JSON."""
    return EventFormats(FormatChoice(FormatSettings(), None))


def event_formats(
    section: InputSection, *, prefix: str, schemas: SchemaStore | None = None, decrypts: bool = False
) -> EventFormats:
    """Return the configured formats. Raises ConfigError if one needs a library that is not installed, or for schema files.

    All that records with schemas of a registry may need is imported here, so that none has to wait for it.

    prefix: of the names of all topics. schemas: the known schemas of the registry, if one is configured.
    decrypts: whether records with encrypted fields are decrypted before (see `encrypted_avro`).
    """
    has_avro_files = bool(section.avro_schemas or section.reader_schemas)
    check_libraries(
        {section.format, *section.formats.values()}
        | ({"avro"} if has_avro_files else set())
        | (FRAMED_FORMATS if schemas is not None else frozenset())
    )
    mappings = {f"{prefix}{topic}": table for topic, table in section.mappings.items()}
    mapped = None if section.mapping is not None else frozenset(mappings)
    by_topic = {f"{prefix}{topic}": name for topic, name in section.formats.items()}
    avro = load_avro_options(section.avro_schemas, section.reader_schemas, prefix=prefix)
    images = ImageOptions(section.max_image_pixels, section.image_resize, section.image_scale)
    # A buffer that decompresses to more than the events of a record may take is refused.
    arrow = ArrowLimits(section.max_rows_per_record, max(ArrowLimits().max_bytes, 8 * section.max_event_bytes))
    by_topic = {**by_topic, REQUEST_TOPIC: "json"}
    decrypted = frozenset(f"{prefix}{topic}" for topic in section.topics) if decrypts else frozenset()
    settings = FormatSettings(
        section.format, by_topic, mapped, images=images, avro=avro, arrow=arrow, decrypted=decrypted
    )
    return EventFormats(FormatChoice(settings, schemas), mappings, section.mapping)

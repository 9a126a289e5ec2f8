"""Chooses the format of each record: by its content type, its framing, or the settings of its topic, in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from forebay.schemas import headers as names
from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import Record, Unreadable
from forebay.stream.core.rows import RowRecord
from forebay.stream.decode.formats.arrow_messages import ArrowLimits
from forebay.stream.decode.formats.avro_options import AvroOptions
from forebay.stream.decode.formats.cloudevents import CloudEventsFormat, encoded_data
from forebay.stream.decode.formats.factories import build_schema_format, build_unframed_avro, build_unframed_format
from forebay.stream.decode.formats.image_options import ImageOptions
from forebay.stream.decode.formats.json_documents import JsonFormat
from forebay.stream.decode.formats.media_types import FORMATS_BY_MEDIA_TYPE, FRAMED_FORMATS, media_type_of
from forebay.stream.decode.formats.payload import Format, InvalidPayload
from forebay.stream.schema_registry.framing import (
    ID_MAGIC,
    ID_PREFIX_BYTES,
    VALUE_SCHEMA_HEADER,
    Framing,
    InvalidFraming,
    begins_with_type_ref,
    is_possible_id,
    names_schema_as_apicurio,
    read_framing,
    read_message_indexes,
)
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from forebay.stream.schema_registry.store import SchemaStore

CE_VERSION: Final = "ce_specversion"
JSON: Final = JsonFormat()
_CLOUDEVENTS: Final = "cloudevents"
_MAX_CACHED: Final = 10_000


class Choice(NamedTuple):
    """The format of a record.

    format: None for what is read without a format: JSON events with Forebay's fields and no mapping, and raw float32.
    start: index of the payload in the value.
    is_raw: whether the value is raw float32.
    is_ce_binary: whether the headers have the attributes of a CloudEvent, whose data is the value.
    """

    format: Format | None
    start: int = 0
    is_raw: bool = False
    is_ce_binary: bool = False


IMPOSSIBLE_ID: Final = (
    "the prefix names the schema with id 0, which no registry has: an id of 8 bytes is not read; "
    "with Apicurio's serializers, set apicurio.registry.id-handler to io.apicurio.registry.serde.Default4ByteIdHandler "
    "and apicurio.registry.use-id to contentId"
)
APICURIO_HEADERS: Final = (
    "the schema is named by a header of Apicurio, which is not read; set apicurio.registry.headers.enabled=false, "
    "apicurio.registry.use-id=contentId"
)
TYPE_REF: Final = (
    "the name of the message type is in their place; with Apicurio's serializers, set "
    "apicurio.registry.serde.send-type-ref=false and apicurio.registry.serde.send-indexes=true"
)
PLAIN: Final = Choice(None)
RAW: Final = Choice(None, is_raw=True)


@dataclass(frozen=True, slots=True)
class FormatSettings:
    """The configured formats by full name of the topic. default: of all other topics.

    mapped: the topics whose JSON events have a mapping, or None for all. images: how images become rows.
    avro: schemas from files.
    arrow: limits of records in Arrow IPC.
    decrypted: the topics whose records in Avro are decrypted before they are read.
    """

    default: str = "auto"
    by_topic: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    mapped: frozenset[str] | None = frozenset()
    images: ImageOptions = field(default_factory=ImageOptions)
    avro: AvroOptions = field(default_factory=AvroOptions)
    arrow: ArrowLimits = field(default_factory=ArrowLimits)
    decrypted: frozenset[str] = frozenset()

    def of(self, topic: str) -> str:
        """Return the configured format of a topic."""
        return self.by_topic.get(topic, self.default)

    def has_mapping(self, topic: str) -> bool:
        """Return whether events of a topic have a mapping."""
        return self.mapped is None or topic in self.mapped


class FormatChoice:
    """Chooses formats, and keeps one object for each schema.

    schemas: the known schemas; None if no registry is configured, so that only the header names schemas.
    """

    def __init__(self, settings: FormatSettings, schemas: SchemaStore | None) -> None:
        self._settings = settings
        self._schemas = schemas
        self._unframed: dict[tuple[str, str | None], Format] = {("json", None): JSON}
        self._known: dict[SchemaRef, RegisteredSchema] = {}
        self._framed: dict[tuple[SchemaRef, tuple[int, ...], str | None], Format | InvalidPayload] = {}
        self._cloudevents = CloudEventsFormat(self._data_format)
        self._mixed: set[str] = set()
        self._encrypted: set[SchemaRef] = set()

    def is_plain(self, topic: str, records: Sequence[Record], *, has_headers: bool) -> bool:
        """Return whether the records of a poll are probably all read without a format. Looks at the first and the last."""
        settings = self._settings
        if settings.has_mapping(topic) or settings.of(topic) not in ("auto", "json"):
            return False
        if topic in self._mixed and (has_headers or self._schemas is not None):
            return False
        if not has_headers and self._schemas is None:
            return True
        return not any(self._is_special(record) for record in (records[0], records[-1]))

    def on_mixed(self, topic: str) -> None:
        """Note that a topic has records in other formats, so that its polls are not assumed to be plain."""
        self._mixed.add(topic)

    def _is_special(self, record: Record) -> bool:
        value = record.value
        if self._schemas is not None and value and value[0] == ID_MAGIC:
            return True
        for name, content in record.headers:
            lower = name.lower()
            if lower == names.CONTENT_TYPE:
                media_type = media_type_of(content)
                if FORMATS_BY_MEDIA_TYPE.get(media_type, "json") not in ("json", "f32"):
                    return True
            elif lower in (VALUE_SCHEMA_HEADER, CE_VERSION):
                return True
        return False

    def choose(self, record: Record, topic: str) -> Choice:
        """Return the format of a record with a value. Raises InvalidPayload."""
        if isinstance(record, RowRecord):
            return Choice(record.source.format)
        name = framing_header = None
        is_ce_binary = False
        for header, content in record.headers:
            lower = header.lower()
            if lower == names.CONTENT_TYPE:
                if name is None:
                    name = FORMATS_BY_MEDIA_TYPE.get(media_type_of(content), "unknown")
            elif lower == CE_VERSION:
                is_ce_binary = True
            elif lower == VALUE_SCHEMA_HEADER:
                framing_header = content
        if name == "unknown":
            return PLAIN  # the validator refuses it
        settings = self._settings
        configured = settings.of(topic)
        if name is None and configured == "f32" and framing_header is None and not is_ce_binary:
            return RAW
        if name == "f32":
            return RAW
        value = record.value or b""
        is_apicurio = name is None and value[:1] != b"{" and names_schema_as_apicurio(record.headers)
        if is_apicurio and not self._is_read_unframed(configured):
            raise InvalidPayload(FailureKind.UNKNOWN_SCHEMA, APICURIO_HEADERS)
        if not is_apicurio and (name is None or name in FRAMED_FORMATS):
            is_forced = name is not None or configured in FRAMED_FORMATS
            if settings.avro.schemas and "avro" in (name, configured):
                is_forced = False  # an event without a prefix may begin with byte 0, too
            framing = self._framing(record, is_forced=is_forced)
            if framing is not None:
                framed, start = self._schema_format(framing, value, settings.avro.readers.get(topic))
                if self._encrypted and topic not in settings.decrypted:
                    self._refuse_encrypted(framing.ref)
                return Choice(framed, start, is_ce_binary=is_ce_binary)
        if name is None:
            name = "json" if configured in ("auto", _CLOUDEVENTS) and is_ce_binary else configured
        if name in ("auto", "json"):
            is_mapped = is_ce_binary or settings.has_mapping(topic)
            return Choice(JSON, is_ce_binary=is_ce_binary) if is_mapped else PLAIN
        reader = settings.avro.readers.get(topic) if name == "avro" else None
        return Choice(self._unframed_format(name, reader), is_ce_binary=is_ce_binary)

    def _is_read_unframed(self, configured: str) -> bool:
        """Return whether values without framing may be read in a format other than JSON."""
        if configured == "avro":
            return bool(self._settings.avro.schemas)
        return configured not in ("auto", "json") and configured not in FRAMED_FORMATS

    def schema_ref(self, record: Record, topic: str) -> SchemaRef | None:
        """Return the schema that a record names, if `choose` would look it up; None if it needs none."""
        if self._schemas is None or isinstance(record, Unreadable) or not record.value:
            return None
        name = next(
            (
                FORMATS_BY_MEDIA_TYPE.get(media_type_of(content), "unknown")
                for header, content in record.headers
                if header.lower() == names.CONTENT_TYPE
            ),
            None,
        )
        try:
            if name == _CLOUDEVENTS:
                media_type, data = encoded_data(record.value)
                is_framed = FORMATS_BY_MEDIA_TYPE.get(media_type) in FRAMED_FORMATS
                framing = read_framing(data, ()) if is_framed else None
            elif name not in FRAMED_FORMATS if name is not None else names_schema_as_apicurio(record.headers):
                return None
            else:
                framing = read_framing(record.value, record.headers)
        except (InvalidFraming, InvalidPayload):
            return None
        if framing is None or (framing.start and name is None and self._settings.of(topic) == "f32"):
            return None
        return framing.ref if is_possible_id(framing.ref) else None

    def _framing(self, record: Record, *, is_forced: bool) -> Framing | None:
        try:
            framing = read_framing(record.value, record.headers)
        except InvalidFraming as error:
            raise InvalidPayload(FailureKind.INVALID_PAYLOAD, str(error)) from None
        if framing is None or (framing.start and self._schemas is None and not is_forced):
            return None
        if not is_possible_id(framing.ref):
            raise InvalidPayload(FailureKind.INVALID_PAYLOAD, IMPOSSIBLE_ID)
        return framing

    def _schema_format(self, framing: Framing, value: bytes, reader: str | None = None) -> tuple[Format, int]:
        if self._schemas is None:
            raise InvalidPayload(
                FailureKind.UNKNOWN_SCHEMA, f"the schema with {framing.ref} is unknown: schema_registry.urls is not set"
            )
        known = self._framed.get((framing.ref, framing.indexes or (), reader))
        if known is not None and not isinstance(known, InvalidPayload):
            return known, framing.start
        schema = self._schema(framing.ref, self._schemas)
        indexes, start = framing.indexes or (), framing.start
        if schema.type == "PROTOBUF" and framing.indexes is None:
            try:
                indexes, start = read_message_indexes(value, start)
            except InvalidFraming as error:
                raise InvalidPayload(FailureKind.INVALID_PAYLOAD, f"{error}{_type_ref_hint(value, start)}") from None
        built = self._framed.get((framing.ref, indexes, reader))
        if built is None:
            try:
                built = build_schema_format(schema, indexes, reader)
            except InvalidPayload as fault:
                built = fault
            if len(self._framed) >= _MAX_CACHED:
                self._framed.clear()  # any producer can name any message type
            self._framed[framing.ref, indexes, reader] = built
            if schema.field_keys:
                self._encrypted.add(framing.ref)
        if isinstance(built, InvalidPayload):
            hint = _type_ref_hint(value, framing.start) if schema.type == "PROTOBUF" else ""
            raise InvalidPayload(built.kind, f"{built.message}{hint}")
        return built, start

    def _refuse_encrypted(self, ref: SchemaRef) -> None:
        if ref in self._encrypted:
            raise InvalidPayload(
                FailureKind.UNSUPPORTED_SCHEMA,
                "the schema has encrypted fields, which are decrypted only in records of input topics that begin with its id",
            )

    def _schema(self, ref: SchemaRef, schemas: SchemaStore) -> RegisteredSchema:
        schema = self._known.get(ref)
        if schema is None:
            schema = schemas.get(ref)
            if schema is None:
                raise InvalidPayload(FailureKind.UNKNOWN_SCHEMA, f"the schema with {ref} is not in the registry")
            if len(self._known) >= _MAX_CACHED:
                self._known.clear()
            self._known[ref] = schema
        return schema

    def _unframed_format(self, name: str, reader: str | None = None) -> Format:
        known = self._unframed.get((name, reader))
        if known is None:
            if name == _CLOUDEVENTS:
                known = self._cloudevents
            elif name == "avro":
                known = build_unframed_avro(self._settings.avro.schemas, reader, self._schemas)
            else:
                known = build_unframed_format(name, self._settings.images, self._settings.arrow)
            self._unframed[name, reader] = known
        return known

    def _data_format(self, media_type: bytes, data: bytes) -> tuple[Format | None, int]:
        """Return the format of the data of a CloudEvent, and where its payload begins; no format for raw float32."""
        name = FORMATS_BY_MEDIA_TYPE.get(media_type, "unknown")
        if name == "f32":
            return None, 0
        if name in FRAMED_FORMATS and len(data) >= ID_PREFIX_BYTES and data[0] == ID_MAGIC:
            framing = read_framing(data, ())
            assert framing is not None
            framed, start = self._schema_format(framing, data)
            self._refuse_encrypted(framing.ref)
            return framed, start
        if name in ("unknown", _CLOUDEVENTS):
            shown = media_type[:80].decode("utf-8", "replace")
            raise InvalidPayload(FailureKind.UNSUPPORTED_CONTENT_TYPE, f"datacontenttype {shown!r}")
        return self._unframed_format(name), 0


def _type_ref_hint(value: bytes, start: int) -> str:
    return f"; {TYPE_REF}" if begins_with_type_ref(value, start) else ""

"""Builds formats when they are first needed. Their optional libraries are imported at the start if they are configured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Final, NamedTuple, cast

from forebay.schemas.errors import ConfigError
from forebay.schemas.failures import FailureKind
from forebay.stream.core.extras import install_hint
from forebay.stream.decode.formats.arrow_messages import ArrowLimits
from forebay.stream.decode.formats.image_options import ImageOptions
from forebay.stream.decode.formats.payload import Format, InvalidPayload
from forebay.stream.schema_registry.schema import RegisteredSchema
from forebay.stream.schema_registry.store import SchemaStore

_PACKAGE: Final = "forebay.stream.decode.formats"


class _Place(NamedTuple):
    """Where a format is implemented. extra: what to install for its library."""

    module: str
    name: str
    extra: str | None = None
    library: str | None = None


_BY_SCHEMA_TYPE: Final[Mapping[str, _Place]] = MappingProxyType(
    {
        "AVRO": _Place("avro", "AvroFormat", "avro", "fastavro"),
        "PROTOBUF": _Place("protobuf", "ProtobufFormat", "protobuf", "google.protobuf"),
        "JSON": _Place("json_schema", "JsonSchemaFormat", "json-schema", "jsonschema_rs"),
    }
)
_UNFRAMED: Final[Mapping[str, _Place]] = MappingProxyType(
    {
        "msgpack": _Place("msgpack", "MessagePackFormat"),
        "image": _Place("image", "ImageFormat", "images", "PIL"),
        "arrow": _Place("arrow", "ArrowFormat", "arrow", "pyarrow"),
    }
)
_UNFRAMED_AVRO: Final = _Place("avro_unframed", "UnframedAvroFormat", "avro", "fastavro")
_BY_FORMAT: Final[Mapping[str, _Place]] = MappingProxyType(
    {
        **_UNFRAMED,
        "avro": _BY_SCHEMA_TYPE["AVRO"],
        "protobuf": _BY_SCHEMA_TYPE["PROTOBUF"],
        "json-schema": _BY_SCHEMA_TYPE["JSON"],
    }
)


def check_libraries(names: Iterable[str]) -> None:
    """Import what formats need, so that no record has to wait for it. Raises ConfigError that names each missing extra."""
    missing: dict[str, tuple[str, ImportError]] = {}
    for name in sorted(names):
        place = _BY_FORMAT.get(name)
        if place is None:
            continue
        try:
            _module(place)
        except ImportError as error:
            missing[name] = (place.extra or "", error)
    if missing:
        parts = [
            f"the format {name} needs a library that is not installed: {error}" for name, (_, error) in missing.items()
        ]
        extras = [extra for extra, _ in missing.values() if extra]
        raise ConfigError(
            "; ".join(parts), kind="missing_library", remedy=install_hint(*dict.fromkeys(extras)) if extras else None
        )


def build_schema_format(schema: RegisteredSchema, indexes: tuple[int, ...], reader: str | None = None) -> Format:
    """Return the format of payloads with this writer schema.

    indexes: of the message type, for Protobuf. reader: the text of the schema to read payloads as, for Avro.
    Raises InvalidPayload of kind `unsupported_schema` if the schema cannot be used.
    """
    if schema.rules:
        raise InvalidPayload(
            FailureKind.UNSUPPORTED_SCHEMA,
            f"the schema with {schema.ref} has rules that cannot be executed: {', '.join(schema.rules)[:200]}",
        )
    factory = _load(_BY_SCHEMA_TYPE[schema.type], FailureKind.UNSUPPORTED_SCHEMA)
    match schema.type:
        case "PROTOBUF":
            return cast("Format", factory(schema, indexes))
        case "AVRO":
            return cast("Format", factory(schema, reader))
    return cast("Format", factory(schema))


def build_unframed_format(name: str, images: ImageOptions, arrow: ArrowLimits) -> Format:
    """Return a format that needs no schema of a registry. Raises InvalidPayload if there is none of this name."""
    place = _UNFRAMED.get(name)
    if place is None:
        raise InvalidPayload(
            FailureKind.INVALID_PAYLOAD,
            f"the value names no schema: {name} needs the prefix of a schema registry's serializer, or its header",
        )
    factory = _load(place, FailureKind.UNSUPPORTED_CONTENT_TYPE)
    options = {"image": (images,), "arrow": (arrow,)}.get(name, ())
    return cast("Format", factory(*options))


def build_unframed_avro(schemas: Sequence[str], reader: str | None, store: SchemaStore | None) -> Format:
    """Return the format of Avro without the prefix of a registry. Raises InvalidPayload if its library is missing.

    schemas: the texts of configured schemas. reader: the text of the schema to read all of them as. store: of the registry.
    """
    factory = _load(_UNFRAMED_AVRO, FailureKind.UNSUPPORTED_CONTENT_TYPE)
    return cast("Format", factory(schemas, reader, store))


def _module(place: _Place) -> ModuleType:
    """Import the module of a format. Raises ImportError if it or its library is missing."""
    if place.library is not None:
        import_module(place.library)  # some modules import it only when they read a payload
    return import_module(f"{_PACKAGE}.{place.module}")


def _load(place: _Place, kind: FailureKind) -> type:
    try:
        module = _module(place)
    except ImportError as error:
        hint = "" if place.extra is None else f"; {install_hint(place.extra)}"
        raise InvalidPayload(kind, f"the format needs a library that is not installed: {error}{hint}"[:300]) from None
    return cast("type", getattr(module, place.name))

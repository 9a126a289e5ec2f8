"""Checks a schema before it is registered, as a worker would read it. It need not describe events: keys have schemas, too."""

from __future__ import annotations

from forebay.schemas.errors import ConfigError
from forebay.stream.decode.formats.factories import check_libraries
from forebay.stream.decode.formats.payload import InvalidPayload
from forebay.stream.schema_registry.schema import RegisteredSchema


def check_schema(schema: RegisteredSchema, *, about: str) -> None:
    """Parse a schema with what it refers to. Raises ConfigError if it cannot be used, or its library is not installed.

    about: what it is, for messages.
    """
    check_libraries(["json-schema" if schema.type == "JSON" else schema.type.lower()])
    if (problem := _problem(schema)) is not None:
        raise ConfigError(
            f"{about}: {problem}", kind="invalid_schema", remedy="correct the schema; nothing was registered"
        )


def _problem(schema: RegisteredSchema) -> str | None:
    # Imported here, because their libraries are optional.
    match schema.type:
        case "AVRO":
            from forebay.stream.decode.formats.avro_schema import parse_avro_schema

            try:
                parse_avro_schema(schema.text, [reference.text for reference in schema.references])
            except InvalidPayload as fault:
                return fault.message
        case "PROTOBUF":
            from forebay.stream.decode.formats.protobuf_schema import UnsupportedSchema, check_protobuf_schema

            try:
                check_protobuf_schema(schema)
            except UnsupportedSchema as fault:
                return str(fault)
        case "JSON":
            from forebay.stream.decode.formats.json_schema import JsonSchemaFormat

            try:
                JsonSchemaFormat(schema)
            except InvalidPayload as fault:
                return fault.message
    return None

"""Registers a schema, after its compatibility was checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from forebay.schemas.errors import ConfigError
from forebay.stream.schema_registry.answers import SCHEMA_TYPES, Reference
from forebay.stream.schema_registry.client import SchemaRegistryClient
from forebay.stream.schema_registry.schema import SchemaType

TYPES_BY_SUFFIX: Final[dict[str, SchemaType]] = {
    ".avsc": "AVRO",
    ".avro": "AVRO",
    ".proto": "PROTOBUF",
    ".json": "JSON",
}


@dataclass(frozen=True, slots=True)
class Registration:
    """What registering a schema did, or would do.

    id: of the schema; None if it is not registered.
    existed: whether the subject had the schema before.
    conflicts: what makes the schema incompatible with the subject's versions; it is not registered then.
    """

    subject: str
    type: SchemaType
    id: int | None
    existed: bool
    conflicts: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON values."""
        return {
            "subject": self.subject,
            "type": self.type,
            "id": self.id,
            "existed": self.existed,
            "compatible": not self.conflicts,
            "conflicts": list(self.conflicts),
        }


async def register_schema(
    client: SchemaRegistryClient,
    subject: str,
    schema_type: SchemaType,
    text: str,
    *,
    references: Sequence[Reference] = (),
    dry_run: bool = False,
) -> Registration:
    """Register a schema if the subject does not have it and it is compatible. Raises RegistryError.

    dry_run: only check.
    """
    existing = await client.registered_id(subject, schema_type, text, references)
    if existing is not None:
        return Registration(subject, schema_type, existing, existed=True)
    conflicts = await client.check_compatible(subject, schema_type, text, references)
    if conflicts or dry_run:
        return Registration(subject, schema_type, None, existed=False, conflicts=tuple(conflicts))
    number = await client.register(subject, schema_type, text, references)
    return Registration(subject, schema_type, number, existed=False)


def parse_reference(text: str) -> Reference:
    """Parse NAME=SUBJECT:VERSION. Raises ConfigError."""
    name, equals, rest = text.partition("=")
    subject, _, version = rest.rpartition(":")
    if not equals or not name or not subject or not (version.isascii() and version.isdigit()):
        raise ConfigError(
            f"--reference {text}: must be NAME=SUBJECT:VERSION",
            remedy="for example --reference common.proto=common-value:3; NAME is what the schema imports or refers to",
        )
    return Reference(name, subject, int(version))


def type_of_file(path: str, named: str | None) -> SchemaType:
    """Return the type of the schema in a file: the named one, or by the file's suffix. Raises ConfigError."""
    for schema_type in SCHEMA_TYPES:
        if named is not None and named.upper() == schema_type:
            return schema_type
    suffix = path[path.rfind(".") :].lower() if "." in path else ""
    if suffix not in TYPES_BY_SUFFIX:
        raise ConfigError(
            f"{path}: the type of the schema cannot be seen from the file's name",
            remedy="add --type avro, --type protobuf or --type json",
        )
    return TYPES_BY_SUFFIX[suffix]

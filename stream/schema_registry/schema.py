"""Schemas as a registry has them, and references to them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

SchemaType = Literal["AVRO", "PROTOBUF", "JSON"]


@dataclass(frozen=True, slots=True)
class SchemaRef:
    """How a record names its schema: by the registry's id or by the schema's GUID. Exactly one of both is set."""

    id: int | None = None
    guid: UUID | None = None

    def __post_init__(self) -> None:
        if (self.id is None) == (self.guid is None):
            raise ValueError("a reference to a schema has either an id or a GUID")

    def __str__(self) -> str:
        return f"id {self.id}" if self.guid is None else f"GUID {self.guid}"


@dataclass(frozen=True, slots=True)
class ReferencedSchema:
    """A schema that another one refers to.

    name: the name by which the other schema refers to it, such as a file name in Protobuf or a full name in Avro.
    """

    name: str
    subject: str
    version: int
    text: str


@dataclass(frozen=True, slots=True)
class FieldKeys:
    """The keys of a rule that encrypts fields. tags: of these fields. keys: by subject."""

    tags: frozenset[str]
    keys: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema of the registry.

    references: everything that it refers to, directly or not, each after those that it refers to itself.
    rules: the rules that change or check data and that Forebay cannot execute, as `kind name (type)`.
    subject, version: under which it was looked up, if it was not looked up by its id or GUID alone.
    field_keys: of the rules that Forebay executes, in order.
    """

    ref: SchemaRef
    type: SchemaType
    text: str
    references: tuple[ReferencedSchema, ...] = ()
    rules: tuple[str, ...] = ()
    subject: str | None = None
    version: int | None = None
    field_keys: tuple[FieldKeys, ...] = ()

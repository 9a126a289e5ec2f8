"""Message types of registered Protobuf schemas: texts or serialised descriptors, with their imports, in a pool of their own.

The `protobuf` library validates what a schema declares. Nothing is generated, executed, or read from files: an import is one of
the schema's references or a well-known type, by name.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.protobuf import (
    any_pb2,
    api_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    message_factory,
    source_context_pb2,
    struct_pb2,
    timestamp_pb2,
    type_pb2,
    wrappers_pb2,
)
from google.protobuf.message import DecodeError

from forebay.stream.decode.formats.protobuf_text import MAX_SCHEMA_BYTES, parse_schema
from forebay.stream.decode.formats.protobuf_tokens import InvalidSchemaText
from forebay.stream.schema_registry.schema import RegisteredSchema

MAX_IMPORT_DEPTH: Final = 100

_WELL_KNOWN: Final[Mapping[str, bytes]] = {
    module.DESCRIPTOR.name: module.DESCRIPTOR.serialized_pb
    for module in (
        any_pb2,
        api_pb2,
        descriptor_pb2,
        duration_pb2,
        empty_pb2,
        field_mask_pb2,
        source_context_pb2,
        struct_pb2,
        timestamp_pb2,
        type_pb2,
        wrappers_pb2,
    )
}
# Files that Confluent's registry knows without a reference. Of the first one only options are used.
_CONFLUENT: Final = {
    "confluent/meta.proto": 'syntax = "proto3"; package confluent;',
    "confluent/type/decimal.proto": 'syntax = "proto3"; package confluent.type; '
    "message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }",
}
KNOWN_FILES: Final = frozenset((*_WELL_KNOWN, *_CONFLUENT))
"""Files that no reference replaces."""


class UnsupportedSchema(ValueError):
    """A schema cannot be used. The message says why, and what to do."""


def message_class(schema: RegisteredSchema, indexes: Sequence[int]) -> Any:
    """Return the class of the message type that the indexes of Confluent's framing name. Raises UnsupportedSchema."""
    loader = _Loader({reference.name: reference.text for reference in schema.references})
    file = loader.add(_file(schema.text, _own_name(schema)), 0)
    try:
        name = _name_of(file, indexes)
        return message_factory.GetMessageClass(loader.pool.FindMessageTypeByName(name))
    except KeyError as fault:
        raise UnsupportedSchema(f"the Protobuf schema has no message {fault}") from None


class _Loader:
    """Adds files to a pool, each after its imports."""

    def __init__(self, references: Mapping[str, str]) -> None:
        self.pool = descriptor_pool.DescriptorPool()
        self._references = references
        self._added: set[str] = set()
        self._adding: set[str] = set()
        self._not_found: set[str] = set()

    def add(self, file: descriptor_pb2.FileDescriptorProto, depth: int) -> descriptor_pb2.FileDescriptorProto:
        if depth > MAX_IMPORT_DEPTH:
            raise UnsupportedSchema(f"imports are nested more than {MAX_IMPORT_DEPTH} levels deep")
        self._adding.add(file.name)
        for name in file.dependency:
            if name in self._adding:
                raise UnsupportedSchema(f"{file.name} imports {name[:200]}, which imports it")
            if name not in self._added:
                self._import(name, depth)
        self._adding.discard(file.name)
        self._drop_imports_that_were_not_found(file)
        try:
            self.pool.AddSerializedFile(file.SerializeToString())
        except (TypeError, ValueError, KeyError) as fault:
            missing = f"; imports without a reference: {', '.join(sorted(self._not_found))}" if self._not_found else ""
            raise UnsupportedSchema(f"the Protobuf schema {file.name} is invalid: {fault}{missing}"[:1000]) from None
        self._added.add(file.name)
        return file

    def _import(self, name: str, depth: int) -> None:
        if name in _WELL_KNOWN:
            self.add(descriptor_pb2.FileDescriptorProto.FromString(_WELL_KNOWN[name]), depth + 1)
        elif name in _CONFLUENT or name in self._references:
            self.add(_file(_CONFLUENT.get(name) or self._references[name], name), depth + 1)
        else:
            self._not_found.add(name)  # an error only if something of it is used

    def _drop_imports_that_were_not_found(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        if self._added.issuperset(file.dependency) and len(set(file.dependency)) == len(file.dependency):
            return
        public = {file.dependency[index] for index in file.public_dependency if 0 <= index < len(file.dependency)}
        known = [name for name in dict.fromkeys(file.dependency) if name in self._added]
        del file.dependency[:], file.public_dependency[:], file.weak_dependency[:]
        file.dependency.extend(known)
        file.public_dependency.extend(index for index, name in enumerate(known) if name in public)


def _file(text: str, name: str) -> descriptor_pb2.FileDescriptorProto:
    """Return a file from its text, or from the base64 of its serialised descriptor, as registries give it on request."""
    if len(text) > 2 * MAX_SCHEMA_BYTES:
        raise UnsupportedSchema(f"the Protobuf schema {name} has more than {MAX_SCHEMA_BYTES} bytes")
    file = _from_base64(text)
    if file is None:
        try:
            return parse_schema(text, name)
        except InvalidSchemaText as fault:
            raise UnsupportedSchema(f"the Protobuf schema {name} cannot be read: {fault}") from None
    file.name = name
    return file


def _from_base64(text: str) -> descriptor_pb2.FileDescriptorProto | None:
    try:
        return descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(text.strip(), validate=True))
    except (ValueError, binascii.Error, DecodeError):
        return None


def _own_name(schema: RegisteredSchema) -> str:
    """Return a name for the schema itself that none of its references has."""
    name = f"{schema.subject or 'schema'}.proto"
    while name in KNOWN_FILES or any(reference.name == name for reference in schema.references):
        name = f"_{name}"
    return name


def _name_of(file: descriptor_pb2.FileDescriptorProto, indexes: Sequence[int]) -> str:
    """Return the full name of a message type.

    Confluent's Java library counts the nested types that a schema declares; its libraries for Python and Go also count the
    types of map entries. They differ only where a nested type comes after a map field. Java's count is taken if possible.
    """
    names = [file.package] if file.package else []
    types: Sequence[descriptor_pb2.DescriptorProto] = file.message_type
    for index in indexes:
        declared = [message for message in types if not message.options.map_entry]
        if index < len(declared):
            chosen = declared[index]
        elif index < len(types):
            chosen = types[index]
        else:
            path = ", ".join(map(str, indexes))
            raise UnsupportedSchema(f"the Protobuf schema has no message type with the indexes [{path}]")
        names.append(chosen.name)
        types = chosen.nested_type
    return ".".join(names)

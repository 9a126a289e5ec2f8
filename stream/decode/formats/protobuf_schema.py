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
    loader, file = _loaded(schema)
    try:
        name = _name_of(file, indexes, is_descriptor=_from_base64(schema.text) is not None)
        return message_factory.GetMessageClass(loader.pool.FindMessageTypeByName(name))
    except KeyError as fault:
        raise UnsupportedSchema(f"the Protobuf schema has no message {fault}") from None


def check_protobuf_schema(schema: RegisteredSchema) -> None:
    """Raise UnsupportedSchema if a schema or one of its imports is invalid. It need not have a message type."""
    _loaded(schema)


def _loaded(schema: RegisteredSchema) -> tuple[_Loader, descriptor_pb2.FileDescriptorProto]:
    loader = _Loader({reference.name: reference.text for reference in schema.references})
    return loader, loader.add(_file(schema.text, _own_name(schema)), 0)


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
    del file.extension[:], file.service[:]
    _drop_extensions(file.message_type)
    return file


def _drop_extensions(messages: Sequence[descriptor_pb2.DescriptorProto]) -> None:
    """Remove what documents do not have. Raises UnsupportedSchema for a wire format of its own."""
    for message in messages:
        if message.options.message_set_wire_format:
            raise UnsupportedSchema("the Protobuf option message_set_wire_format is not supported")
        del message.extension[:]
        _drop_extensions(message.nested_type)


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


def _name_of(file: descriptor_pb2.FileDescriptorProto, indexes: Sequence[int], *, is_descriptor: bool) -> str:
    """Return the full name of the message type that indexes name.

    Confluent's Java library counts the nested types that a schema declares. Its other libraries also count the types of map
    entries, where the compiler adds them. They differ only for types after a map field, and then the indexes do not say which
    type is meant, unless the registry has a serialised descriptor, which Java does not register.
    """
    everything = _walk(file, indexes, skip_entries=False)
    declared = _walk(file, indexes, skip_entries=True)
    path = ", ".join(map(str, indexes))
    found = everything or declared if is_descriptor else declared or everything
    if found is None:
        raise UnsupportedSchema(f"the Protobuf schema has no message type with the indexes [{path}]")
    if everything and declared and everything != declared and not is_descriptor:
        raise UnsupportedSchema(
            f"the message indexes [{path}] are {declared} for Confluent's Java library and {everything} for its other "
            "libraries, because of a map field; declare the event's type at the top of the schema, or before the map field"
        )
    return found


def _walk(file: descriptor_pb2.FileDescriptorProto, indexes: Sequence[int], *, skip_entries: bool) -> str | None:
    """Return the full name of a message type, or None if there is none or it is that of a map entry."""
    names = [file.package] if file.package else []
    types: Sequence[descriptor_pb2.DescriptorProto] = file.message_type
    for index in indexes:
        counted = [message for message in types if not (skip_entries and message.options.map_entry)]
        if index >= len(counted) or counted[index].options.map_entry:
            return None
        names.append(counted[index].name)
        types = counted[index].nested_type
    return ".".join(names) if indexes else None

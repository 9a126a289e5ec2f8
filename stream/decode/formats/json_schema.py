"""JSON that a schema of a registry describes: JSON objects that are validated by their writer's schema.

Nothing is ever fetched: a `$ref` leads into the schema itself or to a schema that the registry knows as its reference.

Shapes: B payloads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jsonschema_rs
import numpy as np
import orjson

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.document_columns import columns_of_documents
from forebay.stream.decode.formats.json_documents import json_object
from forebay.stream.decode.formats.payload import MAX_DEPTH, FieldRoles, InvalidPayload, ParsedColumns, Path
from forebay.stream.schema_registry.schema import RegisteredSchema

FEATURE_KEYWORD: Final = "x-forebay-feature"
ROLE_KEYWORD: Final = "x-forebay-role"
ROLES: Final = ("id", "timestamp", "key", "model", "label", "deadline")
MAX_PROPERTIES: Final = 20_000
MAX_PATTERN_BYTES: Final = 1 << 20
"""Patterns whose compiled form is larger are refused: the time for a text is at most its length times this size."""
MAX_EXPLAINED_DEPTH: Final = 5
"""Where `oneOf` refers to the schema itself, the errors, with those of all branches, grow exponentially with the depth."""

_DEFAULT_DRAFT: Final = "http://json-schema.org/draft-07/schema#"
"""For schemas without $schema, as Confluent's serialisers take them."""
_MAX_MESSAGE_CHARS: Final = 300


class JsonSchemaFormat:
    """Payloads that were written with one schema. Raises InvalidPayload if the schema cannot be used."""

    name: Final = "json-schema"
    has_schema: Final = True

    def __init__(self, schema: RegisteredSchema) -> None:
        about = f"the JSON schema with {schema.ref}"
        if schema.rules:
            raise _unsupported(f"{about} has rules that Forebay does not execute: {', '.join(schema.rules)}")
        document = _parse(schema.text, about)
        references = {
            reference.name: _parse(reference.text, f"the reference {reference.name} of {about}")
            for reference in schema.references
        }
        self._validator = _validator(document, references, about)
        self.roles: FieldRoles = schema_roles(document)

    def document(self, payload: bytes) -> dict[str, object]:
        """Return the object. Raises InvalidPayload: not a JSON object, or not what the schema says, with the place."""
        document = json_object(payload)
        if _may_be_deep(payload) and _depth_exceeds(document, MAX_DEPTH):
            raise InvalidPayload(FailureKind.INVALID_PAYLOAD, f"the event is nested more than {MAX_DEPTH} levels deep")
        if not self._validator.is_valid(document):
            if _depth_exceeds(document, MAX_EXPLAINED_DEPTH):
                message = (
                    f"the event does not fit its JSON schema; it is nested more than {MAX_EXPLAINED_DEPTH} levels deep, "
                    "so that no place is named"
                )
                raise InvalidPayload(FailureKind.INVALID_PAYLOAD, message)
            error = next(self._validator.iter_errors(document))
            place = "/".join(map(str, error.instance_path))
            message = f"{'at ' + place if place else 'the event'}: {error.message}"
            raise InvalidPayload(FailureKind.INVALID_PAYLOAD, " ".join(message.split())[:_MAX_MESSAGE_CHARS])
        return document

    def columns(self, values: Sequence[bytes], paths: Sequence[Path], *, start: int) -> ParsedColumns | None:
        """Return the columns of a poll, from whole documents: each has to be validated."""
        loads, is_valid = orjson.loads, self._validator.is_valid
        # A schema may refer to itself several times at each level, so that the time depends on the depth.
        documents: list[dict[str, Any]] = []
        suspects_B = np.zeros(len(values), dtype=np.bool_)
        for index, value in enumerate(values):
            try:
                document = loads(value[start:])
            except ValueError:
                document = None
            is_object = type(document) is dict and not (_may_be_deep(value) and _depth_exceeds(document, MAX_DEPTH))
            if not is_object or not is_valid(document):
                suspects_B[index] = True
                document = {}
            documents.append(document)
        return ParsedColumns(columns_of_documents(documents, paths), suspects_B)


def _may_be_deep(payload: bytes) -> bool:
    return payload.count(b"[") + payload.count(b"{") > MAX_DEPTH


def _depth_exceeds(document: object, limit: int) -> bool:
    """Return whether objects and arrays are nested more deeply than `limit`."""
    level: list[Any] = [document]
    for _ in range(limit):
        parents, level = level, []
        for parent in parents:
            children = parent.values() if isinstance(parent, dict) else parent
            level += [child for child in children if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def schema_roles(schema: Mapping[str, Any] | bool) -> FieldRoles:
    """Return what `x-forebay-feature` and `x-forebay-role` of properties say. Raises InvalidPayload if they contradict.

    Properties of objects and of those that a local `$ref` leads to have paths; those within arrays do not.
    """
    features: dict[str, Path] = {}
    roles: dict[str, Path] = {}
    todo: deque[tuple[Any, Path]] = deque([(schema, ())])
    visited = 0
    while todo:
        node, above = todo.popleft()
        properties = _resolved(schema, node).get("properties")
        if not isinstance(properties, dict) or len(above) >= MAX_DEPTH:
            continue
        for name, child in properties.items():
            visited += 1
            if visited > MAX_PROPERTIES:
                raise _unsupported(f"the JSON schema has more than {MAX_PROPERTIES:,} properties, or refers to itself")
            path = (*above, name)
            if isinstance(child, dict):
                _add(features, child.get(FEATURE_KEYWORD), path, FEATURE_KEYWORD)
                _add(roles, child.get(ROLE_KEYWORD), path, ROLE_KEYWORD)
                todo.append((child, path))
    if unknown := roles.keys() - set(ROLES):
        raise _unsupported(f"{ROLE_KEYWORD} is {sorted(unknown)[0]!r}; the roles are {', '.join(ROLES)}")
    return FieldRoles(features, roles)


def _resolved(schema: Any, node: Any) -> Mapping[str, Any]:
    """Return the node to which a local `$ref` leads, or the node itself; nothing if it is not an object."""
    for _ in range(MAX_DEPTH):
        if not isinstance(node, dict):
            return {}
        ref = node.get("$ref")
        if not isinstance(ref, str) or not ref.startswith("#/"):
            return node
        node = schema
        for part in ref[2:].split("/"):
            node = node.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
    return {}


def _add(found: dict[str, Path], value: Any, path: Path, keyword: str) -> None:
    for name in [] if value is None else value if isinstance(value, list) else [value]:
        if not isinstance(name, str) or not name:
            raise _unsupported(f"{keyword} of {'.'.join(path)} is {str(name)[:40]!r}; a name is expected")
        if found.setdefault(name, path) != path:
            raise _unsupported(f"{'.'.join(found[name])} and {'.'.join(path)} both have {keyword} {name!r}")


def _parse(text: str, about: str) -> dict[str, Any] | bool:
    try:
        document = orjson.loads(text)
    except ValueError as error:
        raise _unsupported(f"{about} is not JSON: {error}") from None
    if not isinstance(document, dict | bool):
        raise _unsupported(f"{about} is not an object")
    return document


def _validator(document: dict[str, Any] | bool, references: Mapping[str, Any], about: str) -> Any:
    def retrieve(uri: str) -> Any:
        if uri in references:
            return references[uri]
        # A relative name is resolved against the base of the schema. Of names that end alike, the longest one is meant.
        matching = [name for name in references if uri.endswith(f"/{name.lstrip('/')}")]
        if matching:
            return references[max(matching, key=len)]
        raise LookupError(f"{uri} is not a reference of the schema, and nothing is fetched")

    if isinstance(document, dict) and "$schema" not in document:
        document = {"$schema": _DEFAULT_DRAFT, **document}
    try:
        return jsonschema_rs.validator_for(
            document,
            retriever=retrieve,
            # The time of this engine is linear in the length of a text, whatever the pattern.
            pattern_options=jsonschema_rs.RegexOptions(size_limit=MAX_PATTERN_BYTES),
        )
    except jsonschema_rs.ValidationError as error:
        raise _unsupported(f"{about} cannot be used: {_pattern_fault(error) or error.message}") from None
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise _unsupported(f"{about} cannot be used: {error}") from None


def _pattern_fault(error: jsonschema_rs.ValidationError) -> str | None:
    """Return what is wrong with a pattern that the engine does not take; None if it is another error of the schema."""
    path = [str(part) for part in error.schema_path]
    if "pattern" not in path[-1:] and "patternProperties" not in path[-2:-1]:
        return None  # for example, not a regular expression
    return (
        f"the pattern {str(error.instance)[:80]!r} at {'/'.join(path)[:80]} needs look-ahead, look-behind or back-references, "
        "which are not supported because their time is not limited, or it is too large"
    )


def _unsupported(message: str) -> InvalidPayload:
    return InvalidPayload(FailureKind.UNSUPPORTED_SCHEMA, " ".join(message.split())[:_MAX_MESSAGE_CHARS])

"""Whether two texts are the same schema apart from their comments, which may change with every release. Pure."""

from __future__ import annotations

import re
from typing import Final

import orjson

from forebay.stream.schema_registry.schema import SchemaType

_COMMENTS: Final = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TOKENS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\w.]+|[^\s\w]')


def is_same_schema(schema_type: SchemaType, one: str, other: str) -> bool:
    """Return whether both texts say the same. Registries change the layout of texts, and may drop comments."""
    if schema_type == "PROTOBUF":
        return _tokens(one) == _tokens(other)
    try:
        return bool(_without_docs(orjson.loads(one)) == _without_docs(orjson.loads(other)))
    except ValueError:
        return one == other


def _without_docs(schema: object) -> object:
    if isinstance(schema, dict):
        # A field may itself be named doc or description; those of fields are in lists, as values of `name`.
        return {key: _without_docs(part) for key, part in schema.items() if key != "doc"}
    if isinstance(schema, list):
        return [_without_docs(part) for part in schema]
    return schema


def _tokens(text: str) -> list[str]:
    return _TOKENS.findall(_COMMENTS.sub(lambda match: match.group(1) or " ", text))

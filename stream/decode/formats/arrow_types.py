"""The Arrow types that columns may have, so that a small record cannot become a large one."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.types as types

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.payload import MAX_DEPTH, InvalidPayload

MAX_COLUMNS: Final = 65_536

_TEXTS: Final = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
_VIEWS: Final = (types.is_string_view, types.is_binary_view)
_SCALARS: Final = (
    types.is_boolean,
    types.is_integer,
    types.is_floating,
    types.is_decimal,
    types.is_date,
    types.is_time,
    types.is_timestamp,
    types.is_duration,
)
_LISTS: Final = (types.is_list, types.is_large_list, types.is_fixed_size_list)


def check_schema(schema: Any) -> None:
    """Raise InvalidPayload for a schema with other types, or with two columns of the same name.

    Values inside of columns must take memory of their own: elements of the type null, of structs without fields, or that
    share their memory, as dictionaries and views do, would make lists of any length out of a few bytes.
    """
    if not 0 < len(schema) <= MAX_COLUMNS:
        raise InvalidPayload(FailureKind.INVALID_PAYLOAD, f"{len(schema)} columns; 1 to {MAX_COLUMNS} are expected")
    _check_names(schema.names, "the record")
    for field in schema:
        kind = storage_type(field.type)
        if types.is_null(kind) or is_view(kind):
            continue
        if types.is_dictionary(kind):
            kind = kind.value_type
            if not _is_plain(kind):
                raise _refused(field.name, field.type)
            continue
        if not _is_allowed(kind, MAX_DEPTH, field.name):
            raise _refused(field.name, field.type)


def storage_type(kind: Any) -> Any:
    """Return the type in which values of an extension type are stored; any other type as it is."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def is_view(kind: Any) -> bool:
    """Return whether values are views of bytes that they may share."""
    return any(test(kind) for test in _VIEWS)


def without_views(schema: Any) -> Any:
    """Return a schema with plain strings and bytes instead of views, which few functions of pyarrow take."""
    if not any(is_view(field.type) for field in schema):
        return schema
    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return pa.schema([field.with_type(plain.get(field.type, field.type)) for field in schema], metadata=schema.metadata)


def is_text(kind: Any) -> bool:
    """Return whether values are strings or bytes of any length."""
    return any(test(kind) for test in (*_TEXTS, *_VIEWS))


def _is_plain(kind: Any) -> bool:
    if types.is_fixed_size_binary(kind):
        return bool(kind.byte_width > 0)
    return any(test(kind) for test in (*_TEXTS, *_SCALARS))


def _is_allowed(kind: Any, depth: int, name: str) -> bool:
    if _is_plain(kind):
        return True
    if depth == 0:
        return False
    if types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        _check_names([field.name for field in fields], f"column {name[:80]!r}")
        return bool(fields) and all(_is_allowed(field.type, depth - 1, name) for field in fields)
    if types.is_fixed_size_list(kind) and kind.list_size == 0:
        return False
    if types.is_map(kind):
        return _is_allowed(kind.key_type, depth - 1, name) and _is_allowed(kind.item_type, depth - 1, name)
    return any(test(kind) for test in _LISTS) and _is_allowed(kind.value_type, depth - 1, name)


def _check_names(names: list[str], where: str) -> None:
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise InvalidPayload(FailureKind.INVALID_PAYLOAD, f"{where} has two columns named {twice[:80]!r}")


def _refused(name: str, kind: Any) -> InvalidPayload:
    return InvalidPayload(
        FailureKind.INVALID_PAYLOAD, f"column {name[:80]!r} has the type {str(kind)[:80]}, which is not supported"
    )

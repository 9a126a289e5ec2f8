"""Schema resolution, as the Avro specification defines it: how a reader's schema takes what a writer's schema wrote. Pure.

Values come from the writer's type, with its logical type, and are promoted to the reader's. Names are compared without their
namespaces, and with the reader's aliases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context
from typing import Any, Final

from forebay.stream.decode.formats.avro_schema import AvroField, AvroType, unsupported

PROMOTIONS: Final = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Unresolvable(Exception):
    """A reader's type cannot take a writer's type."""


def matches(writer: AvroType, reader: AvroType) -> bool:
    """Return whether a reader's type may take a writer's: names and kinds, but not yet what records contain."""
    if writer.kind == "union" or reader.kind == "union":
        return True
    if writer.kind in ("array", "map"):
        return writer.kind == reader.kind and matches(writer.item_type, reader.item_type)
    if writer.kind in ("record", "enum", "fixed"):
        if writer.kind != reader.kind or writer.size != reader.size:
            return False
        return (
            writer.short_name == reader.short_name
            or writer.name in reader.aliases
            or writer.short_name in reader.aliases
        )
    return writer.kind == reader.kind or reader.kind in PROMOTIONS.get(writer.kind, ())


def reader_branch(writer: AvroType, reader: AvroType) -> AvroType:
    """Return the reader's type that takes a writer's type that is not a union. Raises Unresolvable."""
    for branch in reader.branches if reader.kind == "union" else (reader,):
        if matches(writer, branch):
            return branch
    raise Unresolvable(f"{writer.describe()} cannot be read as {reader.describe()}")


def reader_fields(writer: AvroType, reader: AvroType) -> tuple[dict[str, AvroField], list[AvroField]]:
    """Return the reader's field for each field of a writer's record, by the writer's name, and the reader's other fields.

    Raises Unresolvable if one of the others has no default.
    """
    by_name = {member.name: member for member in reader.fields}
    by_alias = {alias: member for member in reader.fields for alias in member.aliases}
    rest = dict(by_name)
    pairs = {}
    for written in writer.fields:
        member = by_name.get(written.name) or by_alias.get(written.name)
        if member is not None:
            if member.name not in rest:
                raise Unresolvable(f"two fields of the writer are for the reader's field {member.name}")
            del rest[member.name]
            pairs[written.name] = member
    for member in rest.values():
        if not member.has_default:
            raise Unresolvable(f"the writer has no field {member.name}, and the reader's field has no default")
    return pairs, list(rest.values())


def check_resolvable(writer: AvroType, reader: AvroType) -> None:
    """Raise InvalidPayload if no payload of the writer can be read as the reader's type."""
    try:
        _check(writer, reader, set())
    except Unresolvable as error:
        raise unsupported(f"the writer's schema cannot be read with the reader's: {error}") from None


def _check(writer: AvroType, reader: AvroType, seen: set[tuple[AvroType, AvroType]]) -> None:
    if writer.kind == "union":  # each payload takes one branch, which may or may not be readable
        return
    branch = reader_branch(writer, reader)
    if (writer, branch) in seen:
        return
    seen.add((writer, branch))
    if writer.kind == "record":
        pairs, _ = reader_fields(writer, branch)
        for written in writer.fields:
            if written.name in pairs:
                _check(written.type, pairs[written.name].type, seen)
    elif writer.kind in ("array", "map"):
        _check(writer.item_type, branch.item_type, seen)


def default_value(kind: AvroType, default: Any) -> object:
    """Return the value, as in documents, of a default in a schema's JSON. Raises InvalidPayload if it is not of the type."""
    try:
        return _default(kind, default)
    except (TypeError, ValueError, KeyError, OverflowError, ArithmeticError, AttributeError) as error:
        text = f"the default {str(default)[:80]!r} is not a value of the type {kind.describe()}: {error}"
        raise unsupported(f"the Avro schema is invalid: {text}") from None


def _default(kind: AvroType, default: Any) -> object:
    match kind.kind:
        case "union":  # the default of a union is one of its first branch, and, since Avro 1.12, of any
            for branch in kind.branches:
                try:
                    return _default(branch, default)
                except (TypeError, ValueError, KeyError, OverflowError, ArithmeticError, AttributeError):
                    continue
            raise ValueError("no branch takes it")
        case "record":
            members = {}
            for member in kind.fields:
                own = default[member.name] if member.name in default or not member.has_default else member.default
                members[member.name] = _default(member.type, own)
            return members
        case "array":
            return [_default(kind.item_type, item) for item in _typed(default, list)]
        case "map":
            return {key: _default(kind.item_type, item) for key, item in _typed(default, dict).items()}
    return _scalar(kind, default)


def _scalar(kind: AvroType, default: Any) -> object:
    match kind.kind:
        case "null":
            return _typed(default, type(None))
        case "boolean":
            return _typed(default, bool)
        case "string":
            return _typed(default, str)
        case "float" | "double":
            number = float(_typed(default, float) if isinstance(default, float) else _typed(default, int))
            if not math.isfinite(number):
                raise ValueError("it is not finite")
            return number
        case "enum":
            if default not in kind.symbols:
                raise ValueError("it is not a symbol")
            return _typed(default, str)
        case "bytes" | "fixed":
            data = _typed(default, str).encode("latin-1")
            if kind.kind == "fixed" and len(data) != kind.size:
                raise ValueError("it has another length")
            if kind.logical == "decimal":
                context = Context(prec=kind.precision)
                return context.create_decimal(int.from_bytes(data, "big", signed=True)).scaleb(-kind.scale, context)
            return data
    number = _typed(default, int)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError("it has more than 64 bits")
    return _moment(kind.logical, number)


def _moment(logical: str | None, number: int) -> object:
    match logical:
        case "timestamp-millis":
            return EPOCH + timedelta(milliseconds=number)
        case "timestamp-micros":
            return EPOCH + timedelta(microseconds=number)
        case "date":
            return date.fromordinal(number + EPOCH.toordinal())
        case "time-millis":
            return _time_of_day(number * 1_000)
        case "time-micros":
            return _time_of_day(number)
    return number


def _time_of_day(microseconds: int) -> time:
    if not 0 <= microseconds < 86_400_000_000:
        raise ValueError("it is not within a day")
    return (EPOCH + timedelta(microseconds=microseconds)).time()


def _typed(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind:
        raise TypeError(f"it is not {kind.__name__}")
    return value


def convert_defaults(parsed: Any, types: Mapping[str, AvroType]) -> None:
    """Replace the defaults in a parsed schema by values as in documents, because fastavro returns defaults as they are.

    types: the named types of the schema.
    """
    changes = []
    for name, kind in types.items():
        if kind.kind == "record" and name in parsed:
            for own, member in zip(parsed[name]["fields"], kind.fields, strict=True):
                if member.has_default:
                    changes.append((own, member, default_value(member.type, member.default)))
    for own, member, value in changes:
        own["default"] = member.default = value

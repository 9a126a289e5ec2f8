"""Avro schemas as trees of types, from untrusted text: references resolved, limits checked. Pure, except that fastavro parses.

Names, namespaces and references follow fastavro. A recursive type refers to itself, so trees may contain cycles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.payload import MAX_DEPTH, InvalidPayload

MAX_SCHEMA_BYTES: Final = 1 << 20
MAX_NODES: Final = 60_000
"""Limit of the JSON values of a schema with its references: about three for each field."""
MAX_PRECISION: Final = 1_000
"""Limit of the digits of decimals, whose conversion takes quadratic time."""
MAX_FIXED_BYTES: Final = 1 << 27

Kind = Literal[
    "null",
    "boolean",
    "int",
    "long",
    "float",
    "double",
    "bytes",
    "string",
    "fixed",
    "enum",
    "array",
    "map",
    "union",
    "record",
]
Logical = Literal["date", "time-millis", "time-micros", "timestamp-millis", "timestamp-micros", "decimal", "uuid"]

PRIMITIVES: Final = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})

_LOGICAL: Final[Mapping[tuple[str, str], Logical]] = {
    ("int", "date"): "date",
    ("int", "time-millis"): "time-millis",
    ("long", "time-micros"): "time-micros",
    ("long", "timestamp-millis"): "timestamp-millis",
    ("long", "timestamp-micros"): "timestamp-micros",
    ("bytes", "decimal"): "decimal",
    ("fixed", "decimal"): "decimal",
}
_LOCAL: Final = {"local-timestamp-millis": "timestamp-millis", "local-timestamp-micros": "timestamp-micros"}
_LINE_BREAKS = re.compile(r"\s+")


@dataclass(eq=False, slots=True)
class AvroField:
    """A field of a record.

    has_default: whether `default`, as in the schema's JSON, applies where the writer has no such field.
    tags: those that Confluent's rules refer to.
    """

    name: str
    type: AvroType
    aliases: frozenset[str]
    has_default: bool
    default: object
    properties: Mapping[str, object]
    tags: frozenset[str] = frozenset()


@dataclass(eq=False, slots=True)
class AvroType:
    """A type of a schema. Only the attributes of its kind are set.

    name: the full name of a record, enum or fixed.
    items: the type of the items of an array, or of the values of a map.
    size: of a fixed, in bytes.
    precision, scale: of a decimal.
    """

    kind: Kind
    logical: Logical | None = None
    name: str = ""
    aliases: frozenset[str] = frozenset()
    fields: list[AvroField] = field(default_factory=list)
    branches: list[AvroType] = field(default_factory=list)
    symbols: Sequence[str] = ()
    default_symbol: str | None = None
    items: AvroType | None = None
    size: int = 0
    precision: int = 0
    scale: int = 0

    @property
    def item_type(self) -> AvroType:
        """The type of the items of an array or the values of a map."""
        assert self.items is not None
        return self.items

    @property
    def short_name(self) -> str:
        """The name without its namespace."""
        return self.name.rpartition(".")[2]

    def describe(self) -> str:
        """Return the type for a message."""
        return f"{self.kind} {self.name}" if self.name else self.kind


@dataclass(frozen=True, slots=True, eq=False)
class AvroSchema:
    """A parsed schema.

    parsed: as fastavro's readers take it. parsed_types: the same for each named type.
    types: the named types.
    """

    root: AvroType
    parsed: Any
    parsed_types: Mapping[str, Any]
    types: Mapping[str, AvroType]

    def fingerprint(self) -> bytes:
        """Return the CRC-64-AVRO of the canonical form: 8 bytes, as single objects carry them."""
        return bytes.fromhex(fingerprint(to_parsing_canonical_form(self.parsed), "CRC-64-AVRO"))


def unsupported(message: str) -> InvalidPayload:
    """Return the exception for a schema that cannot be used. The message becomes one line of limited length."""
    return InvalidPayload(FailureKind.UNSUPPORTED_SCHEMA, _LINE_BREAKS.sub(" ", message)[:400])


def parse_avro_schema(text: str, references: Iterable[str] = (), *, is_reader: bool = False) -> AvroSchema:
    """Parse the text of a schema. Raises InvalidPayload.

    references: the texts of schemas whose types it uses, each after those that it uses itself.
    is_reader: whether the schema's defaults are needed. Those of a writer are not, so that invalid ones do no harm.
    """
    named: dict[str, Any] = {}
    normalizer = _Normalizer(keep_defaults=is_reader)
    try:
        for reference in references:
            parse_schema(normalizer.copy(_load(reference)), named)
        parsed = parse_schema(normalizer.copy(_load(text)), named)
        builder = _Builder(named)
        root = builder.build(parsed)
    except InvalidPayload:
        raise
    except Exception as error:  # fastavro raises many kinds for malformed schemas
        raise unsupported(f"the Avro schema is invalid: {type(error).__name__}: {error}") from None
    return AvroSchema(root, parsed, named, builder.types)


def _load(text: str) -> object:
    if len(text) > MAX_SCHEMA_BYTES:
        raise unsupported(f"the Avro schema has {len(text):,} characters; at most {MAX_SCHEMA_BYTES:,} are allowed")
    try:
        return orjson.loads(text)
    except ValueError as error:
        if text.strip() in PRIMITIVES:  # some registries return such schemas without quotes
            return text.strip()
        raise unsupported(f"the Avro schema is not JSON: {error}") from None


class _Normalizer:
    """Copies schemas without what would change how fastavro reads: its own markers, and logical types that we read as plain.

    UUIDs stay texts, and local timestamps are read as UTC. Times in nanoseconds stay integers, because Python's times have
    microseconds.
    """

    def __init__(self, *, keep_defaults: bool) -> None:
        self._keep_defaults = keep_defaults
        self._left = MAX_NODES

    def copy(self, schema: object, depth: int = 0) -> Any:
        """Return a copy of a schema or a part of one. Raises InvalidPayload if all copies have too many parts."""
        self._left -= 1
        if self._left < 0:
            raise unsupported(f"the Avro schema has more than {MAX_NODES:,} parts")
        if depth > 4 * MAX_DEPTH:
            raise unsupported(f"the Avro schema is nested more than {4 * MAX_DEPTH} levels")
        if isinstance(schema, list):
            return [self.copy(branch, depth + 1) for branch in schema]
        if not isinstance(schema, dict):
            return schema
        copy = {
            key: value if key in ("default", "doc") else self.copy(value, depth + 1)
            for key, value in schema.items()
            if not key.startswith("__") and (key != "default" or self._keep_defaults)
        }
        if isinstance(copy.get("type"), str):
            _normalize_logical_type(copy)
        return copy


def _normalize_logical_type(schema: dict[str, Any]) -> None:
    logical = schema.pop("logicalType", None)
    if isinstance(logical, str):
        logical = _LOCAL.get(logical, logical)
        if (schema["type"], logical) in _LOGICAL and (logical != "decimal" or _is_valid_decimal(schema)):
            schema["logicalType"] = logical


def _is_valid_decimal(schema: Mapping[str, Any]) -> bool:
    """Return whether the attributes of a decimal are valid. If not, its logical type is ignored, as specified."""
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if type(precision) is not int or type(scale) is not int or not 0 <= scale <= precision or precision < 1:
        return False
    if precision > MAX_PRECISION:
        raise unsupported(f"the Avro schema has a decimal of {precision} digits; at most {MAX_PRECISION} are allowed")
    return not (schema["type"] == "fixed" and precision > _digits_of_fixed(schema.get("size", 0)))


def _digits_of_fixed(size: int) -> int:
    return len(str((1 << (8 * min(size, MAX_PRECISION) - 1)) - 1)) - 1 if size > 0 else 0


class _Builder:
    """Builds types from parsed schemas, each named type once."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self.types: dict[str, AvroType] = {}

    def build(self, schema: Any) -> AvroType:
        if isinstance(schema, list):
            return AvroType("union", branches=[self.build(branch) for branch in schema])
        if isinstance(schema, str):
            if schema in PRIMITIVES:
                return AvroType(schema)  # type: ignore[arg-type]
            return self.types.get(schema) or self.build(self._named[schema])
        kind = schema["type"]
        if isinstance(kind, (list, dict)):
            return self.build(kind)
        if kind == "error":
            kind = "record"
        logical = _LOGICAL.get((kind, schema.get("logicalType", "")))
        if kind in PRIMITIVES:
            built = AvroType(kind, logical)
        elif kind in ("array", "map"):
            return AvroType(kind, items=self.build(schema["items" if kind == "array" else "values"]))
        elif kind in ("enum", "fixed", "record"):
            built = self._named_type(kind, logical, schema)
        else:
            return self.types.get(kind) or self.build(self._named[kind])
        if logical == "decimal":
            built.precision, built.scale = schema["precision"], schema.get("scale", 0)
        return built

    def _named_type(self, kind: Any, logical: Logical | None, schema: Mapping[str, Any]) -> AvroType:
        name = schema["name"]
        if name in self.types:
            return self.types[name]
        self.types[name] = built = AvroType(kind, logical, name, frozenset(schema.get("aliases", ())))
        if kind == "enum":
            built.symbols, built.default_symbol = tuple(schema["symbols"]), schema.get("default")
        elif kind == "fixed":
            size = schema["size"]
            if type(size) is not int or not 0 <= size <= MAX_FIXED_BYTES:
                raise unsupported(f"the Avro schema's fixed {name} has the size {size!r}")
            built.size = size
        else:
            for parsed in schema["fields"]:
                built.fields.append(self._field(parsed))
        return built

    def _field(self, parsed: Mapping[str, Any]) -> AvroField:
        return AvroField(
            parsed["name"],
            self.build(parsed["type"]),
            aliases=frozenset(parsed.get("aliases", ())),
            has_default="default" in parsed,
            default=parsed.get("default"),
            properties={key: value for key, value in parsed.items() if key.startswith("forebay.")},
            tags=_tags(parsed.get("confluent:tags")),
        )


def _tags(value: object) -> frozenset[str]:
    return frozenset(tag for tag in value if isinstance(tag, str)) if isinstance(value, list) else frozenset()


def named_fields(root: AvroType) -> Iterator[tuple[tuple[str, ...], AvroField]]:
    """Yield the fields of records that can be reached without arrays and maps, with their paths. Recursion ends a path."""
    yield from _named_fields(root, (), ())


def record_of(kind: AvroType) -> AvroType | None:
    """Return the record that a type is, or that it is if it is not null; None for other types."""
    if kind.kind == "union":
        others = [branch for branch in kind.branches if branch.kind != "null"]
        return record_of(others[0]) if len(others) == 1 else None
    return kind if kind.kind == "record" else None


def _named_fields(
    kind: AvroType, path: tuple[str, ...], above: tuple[AvroType, ...]
) -> Iterator[tuple[tuple[str, ...], AvroField]]:
    record = record_of(kind)
    if record is None or record in above or len(path) >= MAX_DEPTH:
        return
    for member in record.fields:
        yield (*path, member.name), member
        yield from _named_fields(member.type, (*path, member.name), (*above, record))

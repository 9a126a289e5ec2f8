"""Turns Protobuf messages into documents: the exact path.

A field with presence that is absent is None; one without presence has its default, an empty list, or an empty dict. Enums are
the names of their values, or the number of a value without a name. Well-known types are Python values: Timestamp is an aware
datetime, Duration seconds as float, a wrapper its value, Struct a dict. Unknown fields and extensions are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from forebay.stream.decode.formats.payload import MAX_DEPTH, invalid_payload
from forebay.stream.decode.formats.protobuf_schema import KNOWN_FILES

MAX_VALUES: Final = 1_000_000
"""Documents with more values are invalid payloads. An empty message of two bytes has a value for each of its fields."""

MIN_TIMESTAMP_S: Final = -62_135_596_800  # year 1
MAX_TIMESTAMP_S: Final = 253_402_300_799  # year 9999
MAX_DURATION_S: Final = 315_576_000_000
NANOS: Final = 1_000_000_000
MAX_DECIMAL_BYTES: Final = 1024
MAX_DECIMAL_SCALE: Final = 10_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
WRAPPERS: Final = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)


class MessageDocument(dict[str, object]):
    """The fields of a message by name in the schema. Look-ups also accept the names that the fields have in JSON."""

    __slots__ = ("_names",)

    def __init__(self, fields: Mapping[str, object], names: Mapping[str, str]) -> None:
        super().__init__(fields)
        self._names = names

    def __missing__(self, name: str) -> object:
        return super().__getitem__(self._names[name])

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._names

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a field; `default` if the message type has no such field."""
        return super().get(self._names.get(name, name), default)


class Budget:
    """Counts the values and the depth of a document, which are limited."""

    __slots__ = ("depth", "values")

    def __init__(self) -> None:
        self.values = MAX_VALUES
        self.depth = 0

    def enter(self, num_values: int) -> None:
        """Enter a nested message. Raises InvalidPayload beyond a limit."""
        self.take(num_values)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise invalid_payload(f"nested more than {MAX_DEPTH} levels deep")

    def take(self, num_values: int) -> None:
        """Count values. Raises InvalidPayload beyond the limit."""
        self.values -= num_values
        if self.values < 0:
            raise invalid_payload(f"more than {MAX_VALUES} values")


Convert = Callable[[Any, Budget], object]


class Converters:
    """Converts messages of one type and of all types that it contains.

    Converters are built when they are first needed, because message types may contain themselves.
    """

    def __init__(self) -> None:
        self._messages: dict[str, _MessageConverter] = {}
        self._enums: dict[str, dict[int, str]] = {}

    def message(self, descriptor: Descriptor) -> _MessageConverter:
        """Return the converter of a message type to its fields, also for well-known types."""
        found = self._messages.get(descriptor.full_name)
        if found is None:
            found = self._messages[descriptor.full_name] = _MessageConverter(descriptor, self)
        return found

    def field(self, field: FieldDescriptor) -> Convert:
        """Return the converter of a field's value."""
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return self._map(field.message_type)
        convert = self.single(field)
        if not field.is_repeated:
            return convert

        def convert_repeated(values: Any, budget: Budget) -> object:
            budget.take(len(values))
            return [convert(value, budget) for value in values]

        def copy_repeated(values: Any, budget: Budget) -> object:
            budget.take(len(values))
            return list(values)

        return copy_repeated if convert is _unchanged else convert_repeated

    def single(self, field: FieldDescriptor) -> Convert:
        """Return the converter of one value of a field, which may be repeated."""
        if field.message_type is not None:
            descriptor = field.message_type
            if is_well_known(descriptor):
                return _WELL_KNOWN[descriptor.full_name]
            return lambda message, budget: self.message(descriptor)(message, budget)
        if field.enum_type is not None:
            names = self.enum(field.enum_type)
            return lambda number, budget: names.get(number, number)
        return _string if field.type == FieldDescriptor.TYPE_STRING else _unchanged

    def enum(self, descriptor: EnumDescriptor) -> dict[int, str]:
        """Return the names of an enum's values: the first one of a number with several."""
        names = self._enums.get(descriptor.full_name)
        if names is None:
            names = self._enums[descriptor.full_name] = {}
            for value in descriptor.values:
                names.setdefault(value.number, value.name)
        return names

    def _map(self, entry: Descriptor) -> Convert:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        convert = self.single(value)
        if key.type == FieldDescriptor.TYPE_STRING:
            text: Convert = _string
        elif key.type == FieldDescriptor.TYPE_BOOL:
            text = lambda flag, budget: "true" if flag else "false"  # noqa: E731
        else:
            text = lambda number, budget: str(number)  # noqa: E731

        def convert_map(values: Any, budget: Budget) -> object:
            budget.take(2 * len(values))
            return {text(name, budget): convert(content, budget) for name, content in values.items()}

        return convert_map


class _MessageConverter:
    """Converts messages of one type to dicts."""

    def __init__(self, descriptor: Descriptor, converters: Converters) -> None:
        self._fields: dict[int, tuple[str, Convert]] | None = None
        self._descriptor = descriptor
        self._converters = converters
        self._defaults: dict[str, object] = {}
        self._containers: list[tuple[str, type]] = []
        self._num_values = 1 + len(descriptor.fields)
        self._json_names = json_names(descriptor)

    def _prepare(self) -> dict[int, tuple[str, Convert]]:
        fields = {}
        for field in self._descriptor.fields:
            fields[field.number] = (field.name, self._converters.field(field))
            self._defaults[field.name] = None
            if field.is_repeated:
                is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
                self._containers.append((field.name, dict if is_map else list))
            elif not field.has_presence:
                self._defaults[field.name] = default_of(field, self._converters)
        self._fields = fields
        return fields

    def __call__(self, message: Any, budget: Budget) -> dict[str, object]:
        budget.enter(self._num_values)
        fields = self._fields
        if fields is None:
            fields = self._prepare()
        document = dict(self._defaults)
        for name, container in self._containers:
            document[name] = container()
        for field, value in message.ListFields():
            known = fields.get(field.number)
            if known is not None and not field.is_extension:
                name, convert = known
                document[name] = convert(value, budget)
        budget.depth -= 1
        return MessageDocument(document, self._json_names) if self._json_names else document


def is_well_known(descriptor: Descriptor) -> bool:
    """Return whether messages of the type are Python values in documents. A schema's own type is not, whatever its name."""
    return descriptor.full_name in _WELL_KNOWN and descriptor.file.name in KNOWN_FILES


def json_names(descriptor: Descriptor) -> dict[str, str]:
    """Return the names of fields by their names in JSON, where these differ."""
    names = {field.name for field in descriptor.fields}
    return {field.json_name: field.name for field in descriptor.fields if field.json_name not in names}


def default_of(field: FieldDescriptor, converters: Converters) -> object:
    """Return the value of a field without presence that is absent."""
    if field.enum_type is not None:
        return converters.enum(field.enum_type).get(0, 0)
    return field.default_value


def _unchanged(value: Any, budget: Budget) -> object:
    return value


def _string(value: Any, budget: Budget) -> str:
    if not isinstance(value, str):  # in proto2, the library returns bytes that are not UTF-8
        raise invalid_payload("a string is not UTF-8")
    return value


def _timestamp(message: Any, budget: Budget) -> datetime:
    seconds, nanos = message.seconds, message.nanos
    if not (MIN_TIMESTAMP_S <= seconds <= MAX_TIMESTAMP_S and 0 <= nanos < NANOS):
        raise invalid_payload("a Timestamp is not within the years 1 to 9999, or its nanos are not within a second")
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)


def _duration(message: Any, budget: Budget) -> float:
    seconds, nanos = message.seconds, message.nanos
    has_one_sign = seconds * nanos >= 0
    if not (abs(seconds) <= MAX_DURATION_S and abs(nanos) < NANOS and has_one_sign):
        raise invalid_payload("a Duration is beyond 10,000 years, or its seconds and nanos do not fit together")
    return float(seconds + nanos / NANOS)


def _wrapper(message: Any, budget: Budget) -> object:
    return message.value


def _struct(message: Any, budget: Budget) -> dict[str, object]:
    budget.enter(2 * len(message.fields))
    document = {name: _value(value, budget) for name, value in message.fields.items()}
    budget.depth -= 1
    return document


def _list(message: Any, budget: Budget) -> list[object]:
    budget.enter(len(message.values))
    values = [_value(value, budget) for value in message.values]
    budget.depth -= 1
    return values


def _value(message: Any, budget: Budget) -> object:
    kind = message.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    value: object = getattr(message, kind)
    if kind == "struct_value":
        return _struct(value, budget)
    if kind == "list_value":
        return _list(value, budget)
    return value


def _decimal(message: Any, budget: Budget) -> Decimal:
    digits, scale = message.value, message.scale
    if len(digits) > MAX_DECIMAL_BYTES or abs(scale) > MAX_DECIMAL_SCALE:
        raise invalid_payload(
            f"a Decimal has more than {MAX_DECIMAL_BYTES} bytes, or a scale beyond {MAX_DECIMAL_SCALE}"
        )
    number = Decimal(int.from_bytes(digits, "big", signed=True))
    sign, figures, exponent = number.as_tuple()
    return Decimal((sign, figures, int(exponent) - scale))


_WELL_KNOWN: Final[Mapping[str, Convert]] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _list,
    "google.protobuf.Value": _value,
    "confluent.type.Decimal": _decimal,
    **dict.fromkeys(WRAPPERS, _wrapper),
}

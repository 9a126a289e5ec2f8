"""Checks whether bytes are a value of an Avro schema, before a library allocates anything for them. Pure.

fastavro trusts counts and lengths and recurses without a limit. What passes this check can be read in time and memory that are
proportional to the payload's size: lengths and counts are within the payload, values without bytes are limited in number, and
nesting in depth. Values that readers understand differently are refused: booleans other than 0 and 1, integers that need more
than their 32 or 64 bits, texts that are not UTF-8, and times and decimals that their types cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from forebay.stream.decode.formats.avro_schema import AvroField, AvroType
from forebay.stream.decode.formats.payload import MAX_DEPTH, invalid_payload

FREE_VALUES: Final = 65_536
"""This number of values in addition to two a byte is allowed, as values such as null have no bytes."""
INT_RANGE: Final = (-(1 << 31), (1 << 31) - 1)
DATE_RANGE: Final = (-719_162, 2_932_896)
"""Days since the epoch, from year 1 to 9999, as Python's dates."""
TIMESTAMP_MS_RANGE: Final = (-62_135_596_800_000, 253_402_300_799_999)
RANGES: Final = {
    "date": DATE_RANGE,
    "time-millis": (0, 86_399_999),
    "time-micros": (0, 86_399_999_999),
    "timestamp-millis": TIMESTAMP_MS_RANGE,
    "timestamp-micros": (TIMESTAMP_MS_RANGE[0] * 1_000, TIMESTAMP_MS_RANGE[1] * 1_000 + 999),
}
"""The allowed integers of logical types that are times."""
FIXED_WIDTH: Final = {"float": 4, "double": 8}

_Check = Callable[["_Payload", int, int], int]
"""Checks the value at a position and a depth, and returns the position after it. Raises IndexError where bytes are missing."""


class _Payload:
    """The bytes to check, and the number of values that they may still have."""

    __slots__ = ("data", "left")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = FREE_VALUES + 2 * len(data)

    def spend(self, values: int) -> None:
        self.left -= values
        if self.left < 0:
            raise invalid_payload("there are too many values for the number of bytes")

    def read_long(self, position: int) -> tuple[int, int]:
        """Return the integer at a position, and the position after it."""
        data = self.data
        byte = data[position]
        position += 1
        value = byte & 0x7F
        shift = 7
        while byte > 0x7F:
            byte = data[position]
            position += 1
            if shift == 63 and byte > 1:
                raise invalid_payload(f"the integer before byte {position} has more than 64 bits")
            value |= (byte & 0x7F) << shift
            shift += 7
        return (value >> 1) ^ -(value & 1), position

    def skip(self, position: int, size: int) -> int:
        """Return the position after `size` bytes, which must be present."""
        end = position + size
        if size < 0 or end > len(self.data):
            raise invalid_payload(
                f"{size:,} bytes are announced at byte {position}, but {len(self.data) - position:,} follow"
            )
        return end


class AvroChecker:
    """Checks payloads of one writer schema."""

    def __init__(self, root: AvroType) -> None:
        self._checks: dict[AvroType, list[_Check]] = {}
        self._root = self._check(root)

    def check(self, payload: bytes) -> None:
        """Raise InvalidPayload if the bytes are not exactly one value of the schema, or one that is too deep."""
        try:
            end = self._root(_Payload(payload), 0, 1)
        except IndexError:
            raise invalid_payload(f"the payload ends within a value, after {len(payload):,} bytes") from None
        if end != len(payload):
            raise invalid_payload(f"{len(payload) - end:,} bytes follow the value, which ends after {end:,} bytes")

    def _check(self, kind: AvroType) -> _Check:
        if kind.kind == "record":
            return self._check_record(kind)
        if kind.kind == "union":
            return _check_union([self._check(branch) for branch in kind.branches])
        if kind.kind in ("array", "map"):
            return self._check_blocks(kind)
        return check_scalar(kind)

    def _check_record(self, record: AvroType) -> _Check:
        if record in self._checks:  # recursive: its fields are still being added
            fields = self._checks[record]
        else:
            fields = self._checks[record] = []
            width = 0
            for member in record.fields:
                size = FIXED_WIDTH.get(member.type.kind, 0)
                if size:
                    width += size
                    continue
                if width:
                    fields.append(_check_width(width))
                    width = 0
                fields.append(self._check_member(member))
            if width:
                fields.append(_check_width(width))

        def check(payload: _Payload, position: int, depth: int) -> int:
            if depth > MAX_DEPTH:
                raise invalid_payload(f"the value is nested more than {MAX_DEPTH} levels")
            payload.spend(len(record.fields) + 1)
            for check_field in fields:
                position = check_field(payload, position, depth + 1)
            return position

        return check

    def _check_member(self, member: AvroField) -> _Check:
        return self._check(member.type)

    def _check_blocks(self, kind: AvroType) -> _Check:
        is_map = kind.kind == "map"
        check_item = self._check(kind.item_type)
        check_key = check_scalar(AvroType("string"))
        width = 0 if is_map else FIXED_WIDTH.get(kind.item_type.kind, 0)

        def check(payload: _Payload, position: int, depth: int) -> int:
            if depth > MAX_DEPTH:
                raise invalid_payload(f"the value is nested more than {MAX_DEPTH} levels")
            while True:
                count, position = payload.read_long(position)
                if count == 0:
                    return position
                end = -1
                if count < 0:
                    size, position = payload.read_long(position)
                    end = payload.skip(position, size)
                    count = -count
                payload.spend(count)
                if width:
                    position = payload.skip(position, count * width)
                else:
                    for _ in range(count):
                        if is_map:
                            position = check_key(payload, position, depth)
                        position = check_item(payload, position, depth + 1)
                if end not in (-1, position):
                    raise invalid_payload(f"a block of an {kind.kind} does not end at byte {end}, as it announces")

        return check


def check_scalar(kind: AvroType) -> _Check:
    """Return the check of a type without parts."""
    if kind.logical == "decimal":
        return _check_decimal(kind)
    match kind.kind:
        case "null":
            return _check_width(0)
        case "boolean":
            return _check_boolean
        case "float" | "double":
            return _check_width(FIXED_WIDTH[kind.kind])
        case "fixed":
            return _check_width(kind.size)
        case "bytes":
            return _check_bytes
        case "string":
            return _check_string
        case "enum":
            return _check_integer((0, len(kind.symbols) - 1), f"an index of the symbols of enum {kind.name}")
    allowed = RANGES.get(kind.logical or "", INT_RANGE if kind.kind == "int" else None)
    if allowed is None:
        return lambda payload, position, depth: payload.read_long(position)[1]
    return _check_integer(allowed, kind.logical or "an int")


def max_decimal_bytes(kind: AvroType) -> int:
    """Return how many bytes a decimal may have: those of its largest number, and a few that only repeat the sign."""
    limit: int = 10**kind.precision
    return limit.bit_length() // 8 + 9


def _check_width(width: int) -> _Check:
    return lambda payload, position, depth: payload.skip(position, width)


def _check_boolean(payload: _Payload, position: int, depth: int) -> int:
    if payload.data[position] > 1:
        raise invalid_payload(f"byte {position} is {payload.data[position]}; a boolean is 0 or 1")
    return position + 1


def _check_bytes(payload: _Payload, position: int, depth: int) -> int:
    size, position = payload.read_long(position)
    return payload.skip(position, size)


def _check_string(payload: _Payload, position: int, depth: int) -> int:
    size, position = payload.read_long(position)
    end = payload.skip(position, size)
    text = payload.data[position:end]
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            raise invalid_payload(f"the text at byte {position} is not UTF-8") from None
    return end


def _check_integer(allowed: tuple[int, int], name: str) -> _Check:
    lowest, highest = allowed

    def check(payload: _Payload, position: int, depth: int) -> int:
        value, end = payload.read_long(position)
        if not lowest <= value <= highest:
            raise invalid_payload(
                f"the integer {value} at byte {position} is not {name}: {lowest} to {highest} are allowed"
            )
        return end

    return check


def _check_decimal(kind: AvroType) -> _Check:
    limit, max_bytes = 10**kind.precision, max_decimal_bytes(kind)
    is_fixed = kind.kind == "fixed"

    def check(payload: _Payload, position: int, depth: int) -> int:
        size = kind.size
        if not is_fixed:
            size, position = payload.read_long(position)
        end = payload.skip(position, size)
        if size > max_bytes or abs(int.from_bytes(payload.data[position:end], "big", signed=True)) >= limit:
            raise invalid_payload(f"the decimal at byte {position} has more than {kind.precision} digits")
        return end

    return check


def _check_union(checks: list[_Check]) -> _Check:
    def check(payload: _Payload, position: int, depth: int) -> int:
        payload.spend(1)
        branch, position = payload.read_long(position)
        if not 0 <= branch < len(checks):
            raise invalid_payload(
                f"the union before byte {position} has the branch {branch}; it has {len(checks)} branches"
            )
        return checks[branch](payload, position, depth)

    return check

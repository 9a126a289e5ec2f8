"""Packs feature values into float32: the bytes of one row, which the decoder joins into matrices.

`struct.pack` both converts and validates: it raises for a wrong length, for values that are not numbers, and for numbers beyond
float32. Of all measured ways to check each row separately, it is the fastest.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import date, time, timedelta
from operator import itemgetter
from typing import Any, Protocol

from forebay.models.artefacts.date_parts import MISSING, NotATime
from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.text_codes import code_table
from forebay.schemas.failures import FailureKind
from forebay.stream.decode.nested import InvalidShape, flatten, is_nested, nested_type
from forebay.stream.decode.timed_rows import TimedRows

MAX_FLOAT32 = 3.4028235677973366e38
"""Numbers from here on round to infinity in float32: the largest float32 plus half a unit in its last place."""

NAN = math.nan

MAX_TUPLE = 4096
"""Up to this number of features, the type for the parser is a tuple, with which the parser checks the number."""


class Codes(Protocol):
    """Returns the code of a text, or the time of a value. Raises any exception for a value without one."""

    def __getitem__(self, value: Any, /) -> float: ...


class InvalidFeatures(Exception):
    """The features of an event cannot be used. kind and message say why."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def describe(value: object) -> str:
    """Return the type of a value in the terms of JSON."""
    if value is None:
        return "null"
    for kinds, name in (
        ((bool,), "a boolean"),
        ((int, float), "a number"),
        ((str,), "a string"),
        ((list,), "an array"),
        ((bytes,), "bytes"),
        ((date, time, timedelta), "a time"),
    ):
        if isinstance(value, kinds):
            return name
    return "an object"


class FeaturePacker:
    """Packs rows of one signature as little-endian float32.

    Fast path: `arrange` brings features that were parsed as `parsed_type` into the order of the signature, with texts as
    codes (tuples are already in order), and `pack` takes these values as arguments. Both raise any exception if the features
    are not plainly valid.

    times: expands packed rows to columns, if the signature has times; a packed row then has an int64 for each.
    codes: the codes of texts and the times of values, by the index of the feature.

    `arrange_shared` is `arrange` for features that were parsed as `shared_features_type`, and `in_order` is the type of such
    features that can be passed to `pack` as they are.

    Exact path: `exact` takes the features as parsed, decides every case, and raises `InvalidFeatures` with the kind and the
    place. It accepts whatever the fast path accepts, with the same bytes, as a property test checks.
    """

    def __init__(self, signature: Signature) -> None:
        self.shape = signature.shape
        self.num_features = signature.num_features
        self.row_bytes = 4 * self.num_features
        self.times = TimedRows(signature) if signature.has_times else None
        packed = struct.Struct(f"<{self.num_features}f" if self.times is None else self.times.format)
        self.features = signature.features
        self._absent = {
            index: MISSING if feature.parts else NAN for index, feature in enumerate(self.features) if feature.nullable
        }
        self.packed_bytes = packed.size
        self.pack = _nullable_pack(packed.pack, self._absent) if self._absent else packed.pack
        self.names = [feature.name for feature in signature.features]
        self._codes: list[tuple[int, Codes]] = [
            (index, feature.time_format if feature.parts else code_table(feature))
            for index, feature in enumerate(signature.features)
            if feature.dtype != "float32"
        ]
        self.codes = dict(self._codes)
        number: Any = float | None if self._absent else float
        numbers: Any = tuple[(number,) * self.num_features] if self.num_features <= MAX_TUPLE else list[number]  # type: ignore[misc]
        self.parsed_type: Any = Any if self._codes else numbers | dict[str, Any] if self.names else numbers
        self.arrange = self._choose_arrangement()
        self.arrange_shared = self._arrange_nested if self.is_nested else self.arrange
        self.in_order: type[tuple[Any, ...]] | None = None if self._codes or self.is_nested else tuple

    def _choose_arrangement(self) -> Callable[[Any], Sequence[Any]]:
        if not self.names:
            return lambda features: features
        get: Callable[[Any], Sequence[Any]]
        if len(self.names) > 1:
            get = itemgetter(*self.names)
        else:
            only = self.names[0]

            def get(features: Any) -> Sequence[Any]:
                return (features[only],)

        if self._absent:
            get = _nullable_get(get, self.names)
        if self._codes:
            codes = self._codes

            def arrange_mixed(features: Any) -> Sequence[Any]:
                values = list(features) if isinstance(features, list | tuple) else list(get(features))
                for index, code in codes:
                    value = values[index]
                    if value is not None:
                        values[index] = code[value]
                return values

            return arrange_mixed

        return lambda features: features if type(features) is list else get(features)

    def _arrange_nested(self, features: Any) -> Sequence[Any]:
        if type(features) is tuple and features and type(features[0]) is list:
            features = flatten(list(features), self.shape)
        return self.arrange(features)

    def exact(self, features: object) -> bytes:
        """Validate every value and return the row. Raises InvalidFeatures."""
        values = self._in_order(features)
        return self.pack(*[self._number(index, value) for index, value in enumerate(values)])

    def exact_raw(self, value: bytes) -> bytes:
        """Validate a row of float32 and return it. Raises InvalidFeatures."""
        if self.times is not None:
            raise InvalidFeatures(
                FailureKind.UNSUPPORTED_CONTENT_TYPE, "the model takes times, which float32 cannot hold; send JSON"
            )
        if len(value) != self.row_bytes:
            raise InvalidFeatures(
                FailureKind.WRONG_LENGTH,
                f"{len(value)} bytes; the model takes {self.num_features} float32 = {self.row_bytes}",
            )
        self.check_raw(value)
        return value

    def check_raw(self, value: bytes) -> None:
        """Validate a row that arrived as float32. Raises InvalidFeatures."""
        for index, number in enumerate(struct.unpack(f"<{self.num_features}f", value)):
            if math.isinf(number) or (math.isnan(number) and not self.nullable(index)):
                raise InvalidFeatures(FailureKind.NOT_FINITE, f"{self.name(index)} is not finite")
            if index not in self.codes or math.isnan(number):
                continue
            feature = self.features[index]
            if not (number.is_integer() and 0 <= number < feature.num_codes):
                of_what = "buckets" if feature.dtype == "hashed" else "categories"
                raise InvalidFeatures(
                    FailureKind.UNKNOWN_CATEGORY,
                    f"{self.name(index)} has a code that does not belong to its {feature.num_codes} {of_what}",
                )

    @property
    def has_names(self) -> bool:
        """Whether the features have names, so that they may be an object."""
        return bool(self.names)

    @property
    def has_nullable(self) -> bool:
        """Whether some features may be null or absent."""
        return bool(self._absent)

    @property
    def is_nested(self) -> bool:
        """Whether the features may be nested arrays."""
        return len(self.shape) > 1

    @property
    def has_texts(self) -> bool:
        """Whether the signature has texts or times: texts' codes in raw rows must be validated value by value."""
        return bool(self._codes)

    def name(self, index: int) -> str:
        """Return the name of a feature for messages, or its index."""
        return f"feature {self.names[index]!r}" if self.names else f"features[{index}]"

    def nullable(self, index: int) -> bool:
        """Return whether a feature may be null."""
        return bool(self.features) and self.features[index].nullable

    def _is_time(self, index: int) -> bool:
        return bool(self.features) and bool(self.features[index].parts)

    def _in_order(self, features: object) -> Sequence[object]:
        if isinstance(features, list):
            if is_nested(features, self.shape):
                try:
                    return flatten(features, self.shape)
                except InvalidShape as fault:
                    raise InvalidFeatures(fault.kind, fault.message) from None
            num_fields = len(self.names) or self.num_features
            if len(features) != num_fields:
                raise InvalidFeatures(
                    FailureKind.WRONG_LENGTH, f"{len(features)} features; the model takes {num_fields}"
                )
            return features
        if isinstance(features, dict):
            if not self.names:
                raise InvalidFeatures(
                    FailureKind.WRONG_TYPE, "features by name, but this model's features have no names"
                )
            missing = [
                name for index, name in enumerate(self.names) if name not in features and not self.nullable(index)
            ]
            if missing:
                named = ", ".join(repr(name) for name in missing[:5]) + (" …" if len(missing) > 5 else "")
                raise InvalidFeatures(FailureKind.MISSING_FIELD, f"no feature {named}")
            return [features.get(name) for name in self.names]
        raise InvalidFeatures(
            FailureKind.WRONG_TYPE, f"features is {describe(features)}; an array or an object is expected"
        )

    def _number(self, index: int, value: object) -> float:
        if value is None:
            if self.nullable(index):
                return NAN if not self._is_time(index) else MISSING
            raise InvalidFeatures(FailureKind.MISSING_VALUE, f"{self.name(index)} is null and must have a value")
        if index in self.codes:
            return self._time(index, value) if self._is_time(index) else self._code(index, value)
        if not isinstance(value, int | float):
            raise InvalidFeatures(
                FailureKind.WRONG_TYPE, f"{self.name(index)} is {describe(value)}; a number is expected"
            )
        if isinstance(value, float) and not math.isfinite(value):  # JSON has no such numbers, other formats do
            if math.isnan(value) and self.nullable(index):
                return NAN
            raise InvalidFeatures(FailureKind.NOT_FINITE, f"{self.name(index)} is not finite")
        if abs(value) >= MAX_FLOAT32:
            raise InvalidFeatures(FailureKind.OUT_OF_RANGE, f"{self.name(index)} is beyond float32")
        return float(value)

    def _time(self, index: int, value: object) -> int:
        try:
            return self.features[index].time_format[value]
        except NotATime as fault:
            kind = FailureKind.OUT_OF_RANGE if fault.is_range else FailureKind.WRONG_TYPE
            raise InvalidFeatures(kind, f"{self.name(index)} {fault.message}") from None
        except TypeError:
            raise InvalidFeatures(
                FailureKind.WRONG_TYPE, f"{self.name(index)} is {describe(value)}; a time is expected"
            ) from None

    def _code(self, index: int, value: object) -> float:
        if not isinstance(value, str):
            raise InvalidFeatures(
                FailureKind.WRONG_TYPE, f"{self.name(index)} is {describe(value)}; a string is expected"
            )
        try:
            return self.codes[index][value]
        except KeyError:
            if self.nullable(index):
                return NAN
            raise InvalidFeatures(
                FailureKind.UNKNOWN_CATEGORY, f"{self.name(index)} has a category that the model does not know"
            ) from None


def _nullable_pack(pack: Callable[..., bytes], absent: Mapping[int, float]) -> Callable[..., bytes]:
    """Return `pack` for values that may be None. absent: what is packed instead, for each feature that may be null."""

    def pack_nullable(*values: Any) -> bytes:
        try:
            return pack(*values)
        except struct.error:
            return pack(*[absent[index] if value is None else value for index, value in enumerate(values)])

    return pack_nullable


def _nullable_get(get: Callable[[Any], Sequence[Any]], names: Sequence[str]) -> Callable[[Any], Sequence[Any]]:
    """Return `get` for objects without some of the features: their values are None."""

    def get_nullable(features: Any) -> Sequence[Any]:
        try:
            return get(features)
        except KeyError:
            return list(map(features.get, names))

    return get_nullable


def shared_features_type(packers: Sequence[FeaturePacker]) -> Any:
    """Return the type for a parser of the features of all these models: what one of them does not take, `pack` refuses.

    Integers are parsed as floats, which `pack` takes in half the time.
    """
    number: Any = float | str if any(packer.has_texts for packer in packers) else float
    if any(packer.has_nullable for packer in packers):
        number = number | None
    depths = {len(packer.shape) for packer in packers if packer.is_nested}
    value: Any = number
    if depths:
        value = number | (nested_type(number, depths.pop() - 1) if len(depths) == 1 else list[Any])
    return tuple[value, ...] | dict[str, Any] if any(packer.has_names for packer in packers) else tuple[value, ...]

"""Features as nested arrays, such as the rows and pixels of an image, which must have the shape of the signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import msgspec

from forebay.schemas.failures import FailureKind


class InvalidShape(Exception):
    """Nested features do not have the shape that the model takes. kind and message say why."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def is_nested(features: Sequence[object], shape: tuple[int, ...]) -> bool:
    """Return whether features are nested arrays."""
    return len(shape) > 1 and bool(features) and isinstance(features[0], list)


def flatten(features: Sequence[Any], shape: tuple[int, ...]) -> list[Any]:
    """Return the values of nested arrays in row-major order. Raises InvalidShape if they have another shape."""
    level: list[Any] = [features]
    for depth, size in enumerate(shape):
        if not all(type(part) is list for part in level):
            raise _fault(FailureKind.WRONG_TYPE, f"has values where arrays are expected, at depth {depth}", shape)
        sizes = set(map(len, level))
        if sizes != {size}:
            actual = "arrays of different lengths" if len(sizes) > 1 else f"{sizes.pop()}"
            raise _fault(FailureKind.WRONG_LENGTH, f"has {actual} instead of {size} at depth {depth + 1}", shape)
        level = list(chain.from_iterable(level))
    return level


def flat_or_nested_parser(
    parse_flat: Callable[[bytes], Any], parse_nested: Callable[[bytes], Any], shape: tuple[int, ...]
) -> Callable[[bytes], Any]:
    """Return a parser of events with flat or nested features. It returns flat features and raises for all others.

    A flat event costs no more than with `parse_flat` alone, which fails on a nested event at the first inner bracket.
    """

    def parse(value: bytes) -> Any:
        try:
            return parse_flat(value)
        except msgspec.ValidationError:
            event = parse_nested(value)
        event.features = flatten(event.features, shape)
        return event

    return parse


def nested_type(value_type: Any, depth: int) -> Any:
    """Return the type of arrays that are nested to this depth and contain values of this type."""
    kind: Any = value_type
    for _ in range(depth):
        kind = list[kind]
    return kind


def _fault(kind: FailureKind, problem: str, shape: tuple[int, ...]) -> InvalidShape:
    wanted = "×".join(map(str, shape))
    return InvalidShape(
        kind, f"features {problem}; the model takes nested arrays of {wanted}, or all values in one array"
    )

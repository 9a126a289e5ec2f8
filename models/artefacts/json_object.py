"""Read JSON objects strictly: each fault is a ModelError that names the file, the key and what is allowed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import NoReturn

from forebay.schemas.errors import ModelError

_MAX_SHOWN_CHARS = 80
# Nothing in a manifest is larger. Calculating with integers of thousands of digits would take minutes.
_MAX_INTEGER = 2**53


class JsonObject:
    """One JSON object in a file. Each reader returns a key's value or raises `ModelError(kind="manifest")`.

    file: path of the file, for messages.
    path: place of the object in the file, such as `signature.features[2]`.
    """

    def __init__(self, value: object, file: str, path: str = "") -> None:
        self.file = file
        self.path = path
        if not isinstance(value, dict):
            self.fail("", value, "an object")
        self._values: dict[str, object] = value

    def full_path(self, key: str) -> str:
        """Return the full path of a key in the file."""
        return ".".join(part for part in (self.path, key) if part)

    def fail(self, key: str, value: object, allowed: str) -> NoReturn:
        """Raise the error for a value that is not allowed."""
        raise self.error(
            f"{_shortened(self.full_path(key)) or 'the document'} is {_shortened(repr(value))}; allowed is {allowed}"
        )

    def error(self, problem: str) -> ModelError:
        """Return the error for a problem in this file."""
        return ModelError(
            f"{self.file}: {problem}",
            kind="manifest",
            remedy="publish the model again rather than editing its manifest",
        )

    def reject_unknown_keys(self, allowed: Collection[str]) -> None:
        """Raise for keys that are not read: they are mistakes or belong to another version of the format."""
        for key in self._values:
            if key not in allowed:
                near = get_close_matches(_shortened(key), allowed, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(allowed))}"
                raise self.error(f"{_shortened(self.full_path(key))} is not a known key{hint}")

    def value(self, key: str) -> object:
        """Return the value without any check."""
        if key not in self._values:
            raise self.error(f"{self.full_path(key)} is missing")
        return self._values[key]

    def has(self, key: str) -> bool:
        """Return whether an optional key is present."""
        return key in self._values

    def keys(self) -> tuple[str, ...]:
        """Return all keys, in the order of the file."""
        return tuple(self._values)

    def text(self, key: str, allowed: Collection[str] | None = None) -> str:
        value = self.value(key)
        if not isinstance(value, str) or (allowed is not None and value not in allowed):
            self.fail(key, value, "a string" if allowed is None else f"one of {', '.join(sorted(allowed))}")
        return value

    def boolean(self, key: str) -> bool:
        value = self.value(key)
        if not isinstance(value, bool):
            self.fail(key, value, "true or false")
        return value

    def integer(self, key: str, minimum: int = 0) -> int:
        return self._integer(key, self.value(key), minimum)

    def integers(self, key: str, minimum: int = 0) -> tuple[int, ...]:
        return tuple(self._integer(f"{key}[{index}]", item, minimum) for index, item in enumerate(self.array(key)))

    def number(self, key: str) -> float:
        return self._number(key, self.value(key))

    def numbers(self, key: str) -> tuple[float, ...]:
        return tuple(self._number(f"{key}[{index}]", item) for index, item in enumerate(self.array(key)))

    def texts(self, key: str) -> tuple[str, ...]:
        items = self.array(key)
        for index, item in enumerate(items):
            if not isinstance(item, str):
                self.fail(f"{key}[{index}]", item, "a string")
        return tuple(str(item) for item in items)

    def array(self, key: str) -> list[object]:
        value = self.value(key)
        if not isinstance(value, list):
            self.fail(key, value, "a list")
        return value

    def child(self, key: str) -> JsonObject:
        return JsonObject(self.value(key), self.file, self.full_path(key))

    def children(self, key: str) -> list[JsonObject]:
        return [
            JsonObject(item, self.file, f"{self.full_path(key)}[{index}]") for index, item in enumerate(self.array(key))
        ]

    def mapping(self, key: str) -> dict[str, object]:
        """Return an object whose keys are checked elsewhere."""
        return dict(self.child(key)._values)

    def number_mapping(self, key: str) -> dict[str, float]:
        return {name: self._number(f"{key}.{name}", value) for name, value in self.mapping(key).items()}

    def _integer(self, key: str, value: object, minimum: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            self.fail(key, value, f"a whole number from {minimum} upwards")
        if value > _MAX_INTEGER:
            self.fail(key, value, f"a whole number from {minimum} to {_MAX_INTEGER}")
        return value

    def _number(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(key, value, "a finite number")
        try:
            number = float(value)
        except OverflowError:
            self.fail(key, value, "a finite number")
        if not math.isfinite(number):
            self.fail(key, value, "a finite number")
        return number


def decode_json(data: bytes, file: str) -> object:
    """Return the document in a file that must be strict JSON. Raises ModelError that names `file`."""
    try:
        document: object = json.loads(data, parse_constant=_no_constant, object_pairs_hook=_no_doubles)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{file}: this is not a JSON document: {error}",
            kind="manifest",
            remedy="copy it again from where it was published, or publish the model again",
        ) from None
    return document


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _no_doubles(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"the key {_shortened(repr(twice))} occurs twice")
    return document


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_CHARS else text[:_MAX_SHOWN_CHARS] + "…"

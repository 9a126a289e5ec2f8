"""Reading a decoded JSON object strictly: a fault is a ModelError naming file, key and what is allowed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import NoReturn

from forebay.schemas.errors import ModelError

_LONGEST_SHOWN = 80
# Nothing in a manifest is larger. Calculating with integers of thousands of digits would take minutes.
_LARGEST_INTEGER = 2**53


class Table:
    """One JSON object of a file. Each reader takes a key's value or raises `ModelError(kind="manifest")`.

    `file` is what people look for on disk; `path` is the object's place within it, such as
    `signature.features[2]`.
    """

    def __init__(self, value: object, file: str, path: str = "") -> None:
        self.file = file
        self.path = path
        if not isinstance(value, dict):
            self.fail("", value, "an object")
        self._values: dict[str, object] = value

    def place(self, key: str) -> str:
        """The key's full place in the file."""
        return ".".join(part for part in (self.path, key) if part)

    def fail(self, key: str, value: object, allowed: str) -> NoReturn:
        """Raise for a value that is not allowed."""
        raise self.error(
            f"{_shortened(self.place(key)) or 'the document'} is {_shortened(repr(value))}; allowed is {allowed}"
        )

    def error(self, problem: str) -> ModelError:
        """The error for any problem in this file."""
        return ModelError(
            f"{self.file}: {problem}",
            kind="manifest",
            remedy="publish the model again rather than editing its manifest",
        )

    def only(self, allowed: Collection[str]) -> None:
        """Refuse keys that nothing would read: they are mistakes, or from a format unknown here."""
        for key in self._values:
            if key not in allowed:
                near = get_close_matches(_shortened(key), allowed, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(allowed))}"
                raise self.error(f"{_shortened(self.place(key))} is not a known key{hint}")

    def take(self, key: str) -> object:
        """The value as it is."""
        if key not in self._values:
            raise self.error(f"{self.place(key)} is missing")
        return self._values[key]

    def has(self, key: str) -> bool:
        """Whether the key is there, where it may be left out."""
        return key in self._values

    def text(self, key: str, allowed: Collection[str] | None = None) -> str:
        value = self.take(key)
        if not isinstance(value, str) or (allowed is not None and value not in allowed):
            self.fail(key, value, "a string" if allowed is None else f"one of {', '.join(sorted(allowed))}")
        return value

    def flag(self, key: str) -> bool:
        value = self.take(key)
        if not isinstance(value, bool):
            self.fail(key, value, "true or false")
        return value

    def integer(self, key: str, least: int = 0) -> int:
        return self._integer(key, self.take(key), least)

    def integers(self, key: str, least: int = 0) -> tuple[int, ...]:
        return tuple(self._integer(f"{key}[{at}]", item, least) for at, item in enumerate(self.array(key)))

    def numbers(self, key: str) -> tuple[float, ...]:
        return tuple(self._number(f"{key}[{at}]", item) for at, item in enumerate(self.array(key)))

    def texts(self, key: str) -> tuple[str, ...]:
        items = self.array(key)
        for at, item in enumerate(items):
            if not isinstance(item, str):
                self.fail(f"{key}[{at}]", item, "a string")
        return tuple(str(item) for item in items)

    def array(self, key: str) -> list[object]:
        value = self.take(key)
        if not isinstance(value, list):
            self.fail(key, value, "a list")
        return value

    def table(self, key: str) -> Table:
        return Table(self.take(key), self.file, self.place(key))

    def tables(self, key: str) -> list[Table]:
        return [Table(item, self.file, f"{self.place(key)}[{at}]") for at, item in enumerate(self.array(key))]

    def mapping(self, key: str) -> dict[str, object]:
        """A free object, whose keys somebody else judges."""
        return dict(self.table(key)._values)

    def number_mapping(self, key: str) -> dict[str, float]:
        return {name: self._number(f"{key}.{name}", value) for name, value in self.mapping(key).items()}

    def _integer(self, key: str, value: object, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.fail(key, value, f"a whole number from {least} upwards")
        if value > _LARGEST_INTEGER:
            self.fail(key, value, f"a whole number from {least} to {_LARGEST_INTEGER}")
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
    """The document of a file, strictly JSON. Raises ModelError naming `file`."""
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
        raise ValueError(f"the key {_shortened(repr(twice))} is there twice")
    return document


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"

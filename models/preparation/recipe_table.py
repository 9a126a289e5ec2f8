"""Read tables of a recipe strictly: each fault is a ModelError that names the file, the key and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, Final, NoReturn, TypeVar

from forebay.models.preparation.errors import recipe_error
from forebay.models.preparation.training_rows import ColumnChoice
from forebay.schemas.errors import ModelError

_MAX_SHOWN_CHARS: Final = 80
_T = TypeVar("_T")


class RecipeTable:
    """One table of a recipe. Each reader returns a key's value, or the default if the key is absent.

    place: of the table in the file, such as `recipe.toml: prepare[2]`.

    Raises ModelError(kind="recipe") for a value that is not allowed, and for a missing key without a default.
    """

    def __init__(self, values: object, place: str) -> None:
        self.place = place
        if not isinstance(values, Mapping):
            raise recipe_error(f"{place} is {_shown(values)}; allowed is a table")
        self._values: Mapping[str, Any] = values

    def keys(self) -> tuple[str, ...]:
        """Return all keys, in the order of the file."""
        return tuple(self._values)

    def has(self, key: str) -> bool:
        """Return whether a key is present."""
        return key in self._values

    def reject_unknown_keys(self, allowed: Collection[str]) -> None:
        """Raise for keys that are not read."""
        for key in self._values:
            if key not in allowed:
                near = get_close_matches(key, allowed, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(allowed)}"
                raise recipe_error(f"{self.place}.{key} is not a known key{hint}")

    def fail(self, key: str, allowed: str) -> NoReturn:
        """Raise the error for a key's value."""
        raise recipe_error(f"{self.place}.{key} is {_shown(self._values.get(key))}; allowed is {allowed}")

    def error(self, problem: str, remedy: str = "correct the recipe") -> ModelError:
        """Return the error for a problem of the whole table."""
        return recipe_error(f"{self.place}: {problem}", remedy)

    def is_text(self, key: str, text: str) -> bool:
        """Return whether a key's value is this text."""
        return self._values.get(key) == text

    def text(self, key: str, allowed: Collection[str] | None = None, *, default: str | None = None) -> str:
        value = self._value(key, default)
        if not isinstance(value, str) or not value or (allowed is not None and value not in allowed):
            self.fail(key, "a text that is not empty" if allowed is None else f"one of {', '.join(allowed)}")
        return value

    def texts(self, key: str, *, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Return different texts, at least one."""
        value = self._value(key, default)
        if not isinstance(value, list | tuple) or not value or not all(isinstance(item, str) for item in value):
            self.fail(key, "a list of texts")
        if len(set(value)) != len(value):
            self.fail(key, "a list in which no text occurs twice")
        return tuple(value)

    def boolean(self, key: str, *, default: bool | None = None) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            self.fail(key, "true or false")
        return value

    def integer(self, key: str, minimum: int = 0, *, default: int | None = None) -> int:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            self.fail(key, f"a whole number from {minimum} upwards")
        return value

    def number(
        self,
        key: str,
        *,
        default: float | None = None,
        minimum: float = -math.inf,
        maximum: float = math.inf,
        above: float = -math.inf,
    ) -> float:
        """Return a finite number in a range. above: the number must be greater."""
        value = self._value(key, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not minimum <= value <= maximum or value <= above:
            limits = [
                f"{word} {limit:g}"
                for word, limit in (("from", minimum), ("above", above), ("to", maximum))
                if math.isfinite(limit)
            ]
            self.fail(key, " ".join(["a finite number", *limits]))
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """Return a finite number, or None if the key is absent."""
        return self.number(key) if self.has(key) else None

    def columns(self, key: str = "columns", *, default: ColumnChoice | None = None) -> ColumnChoice:
        """Return a choice of columns: a list of names, or one of `*`, `numbers`, `texts`."""
        value = self._value(key, default)
        if isinstance(value, str):
            if value not in ("*", "numbers", "texts"):
                self.fail(key, 'a list of names, "*", "numbers" or "texts"')
            return value
        return self.texts(key, default=default if isinstance(default, tuple) else None)

    def table(self, key: str) -> RecipeTable:
        """Return a table within this one."""
        return RecipeTable(self._value(key, None), f"{self.place}.{key}")

    def _value(self, key: str, default: _T | None) -> Any:
        value = self._values.get(key, default)
        if value is None:
            raise recipe_error(f"{self.place}.{key} is missing")
        return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARS else text[:_MAX_SHOWN_CHARS] + "…"

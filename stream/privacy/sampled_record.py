"""A record of a sample, and how its fields are found and shown without their values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

MAX_FORM_CHARS: Final = 48
_LETTER, _DIGIT = re.compile(r"[^\W\d_]"), re.compile(r"\d")


class SampledRecord(NamedTuple):
    """A record that was read. position: `<partition>@<offset>`."""

    position: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]

    @property
    def num_bytes(self) -> int:
        """The size of key, value and headers."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


def form_of(text: str) -> str:
    """Return the form of a text: `a` for each lower-case letter, `A` for other letters, `9` for each digit.

    It shows whether a finding is plausible, and nothing of the text but its length and punctuation.
    """
    form = _DIGIT.sub("9", "".join(_form_of_letter(char) for char in text[: MAX_FORM_CHARS + 1]))
    return form if len(form) <= MAX_FORM_CHARS else form[: MAX_FORM_CHARS - 1] + "…"


def _form_of_letter(char: str) -> str:
    if not _LETTER.match(char):
        return char if char.isprintable() else " "
    return "a" if char.islower() else "A"


def path_text(path: Sequence[str | int]) -> str:
    """Return a path within a document: names separated by dots, and `[]` for the elements of an array."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts[-1:] = [(parts[-1] if parts else "") + "[]"]
        else:
            parts.append(step)
    return ".".join(parts)


def field_of(document: Mapping[str, Any], name: str, positions: Mapping[str, int]) -> object:
    """Return the value of a field of an event: a feature, else a field at the top, else nested names; None if it has none.

    positions: indices of features by name, for events whose features are an array.
    """
    features = document.get("features", document.get("input"))
    if isinstance(features, Mapping) and name in features:
        return features[name]
    if isinstance(features, list) and (index := positions.get(name)) is not None and index < len(features):
        return features[index]
    if name in document:
        return document[name]
    value: object = document
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def hashable(value: object) -> str | float | bytes | None:
    """Return a JSON value as something that can be compared and counted. Numbers that are equal stay equal."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return float(value) if isinstance(value, int | float) else orjson.dumps(value)

"""Personal data in the values of records: JSON documents, whose strings are searched with the names of their fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

import orjson

from forebay.stream.privacy.detector import UNDECODABLE
from forebay.stream.privacy.policy import Place
from forebay.stream.privacy.protector import Protector

MAX_VALUE_BYTES: Final = 262_144
MAX_DEPTH: Final = 200
Path = tuple[str | int, ...]
_QUOTES: Final = re.compile(rb'\\.|"', re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\u([0-9a-fA-F]{4})")


def strings_of(document: object) -> Iterator[tuple[Path, str, str]]:
    """Yield path, name and text of each string in a JSON document of any depth. The name is that of the nearest field."""
    waiting: list[tuple[object, str, Path]] = [(document, "", ())]
    while waiting:
        value, hint, path = waiting.pop()
        if isinstance(value, str):
            yield path, hint, value
        elif isinstance(value, dict):
            waiting += [(child, name, (*path, name)) for name, child in reversed(value.items())]
        elif isinstance(value, list):
            waiting += [(child, hint, (*path, index)) for index, child in reversed(list(enumerate(value)))]


def read_document(value: bytes) -> object:
    """Return a value as JSON; None if it is not a JSON object or array."""
    try:
        document = orjson.loads(value)
    except ValueError:
        return None
    return document if isinstance(document, dict | list) else None


def without_fields(document: object, is_used: Callable[[str], bool]) -> tuple[object, list[str]]:
    """Return an event without the features that no model uses, and their names."""
    if not isinstance(document, dict) or not isinstance(features := document.get("features"), dict):
        return document, []
    unused = [name for name in features if not is_used(name)]
    if not unused:
        return document, []
    kept = {name: value for name, value in features.items() if is_used(name)}
    return {**document, "features": kept}, unused


class DocumentProtector:
    """Protects the values of records.

    used_features: features of the served models, if others are to be removed; else None.
    """

    def __init__(self, protector: Protector, *, used_features: Collection[str] | None = None) -> None:
        self._protector = protector
        self._used = None if used_features is None else frozenset(used_features)

    def values(self, values: Sequence[bytes], place: Place, *, now_ms: int) -> dict[int, bytes | None]:
        """Return the values that change, by index; None for one to remove. Never raises for data.

        Strings of JSON documents change one by one. Text that is not JSON changes as a whole. What cannot be searched is
        removed: values in binary formats, whose fields have lengths, because bytes around a text may hide what it is; values
        of more than `MAX_VALUE_BYTES`, and documents that are nested more than `MAX_DEPTH` deep or name a field twice.
        """
        changed: dict[int, bytes | None] = {}
        for index, value in enumerate(values):
            if len(value) > MAX_VALUE_BYTES:
                changed[index] = None
                continue
            document = read_document(value)
            if document is None:
                new = self._unstructured(value, place, now_ms)
            else:
                new = self._document(document, value, place, now_ms)
            if new != value:
                changed[index] = new
        return changed

    def _document(self, document: Any, value: bytes, place: Place, now_ms: int) -> bytes | None:
        found, field_names = list(strings_of(document)), list(names_of(document))
        if any(len(path) > MAX_DEPTH for path, _, _ in found):
            return None
        # Each name and each string has two quotes. Where there are more, the parser has kept the last of several fields.
        if 2 * (len(found) + len(field_names)) != sum(token == b'"' for token in _QUOTES.findall(value)):
            return None
        # A name of a field can be personal data as well: {"anna@example.org": 1}.
        if self._protector.texts(field_names, place, now_ms=now_ms):
            return None
        unused: list[str] = []
        if self._used is not None:
            document, unused = without_fields(document, self._used.__contains__)
            found = list(strings_of(document))
        texts, hints = [text for _, _, text in found], [hint for _, hint, _ in found]
        changed = self._protector.texts(texts, place, now_ms=now_ms, hints=hints)
        if not changed and not unused:
            return value
        for row, text in changed.items():
            _replace(document, found[row][0], text)
        try:
            return orjson.dumps(document)
        except TypeError:  # it is nested more deeply than orjson writes, without strings at the bottom
            return None

    def _unstructured(self, value: bytes, place: Place, now_ms: int) -> bytes | None:
        if not is_text(value):
            return None
        if _ESCAPE.search(value) is not None:
            # JSON that is broken, or a single string: its escapes may hide what it holds.
            plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)).encode("utf-8", UNDECODABLE), value)
            if self._protector.values([plain], place, now_ms=now_ms):
                return None
        return self._protector.values([value], place, now_ms=now_ms).get(0, value)


def is_text(value: bytes) -> bool:
    """Return whether a value is UTF-8 without control characters other than white space."""
    text = value.decode("utf-8", UNDECODABLE)
    return all(character >= " " or character in "\t\r\n" for character in text) and not any(
        "\udc80" <= character <= "\udcff" for character in text
    )


def names_of(document: object) -> Iterator[str]:
    """Yield the names of all fields of a JSON document of any depth."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value
            waiting += reversed(value.values())
        elif isinstance(value, list):
            waiting += reversed(value)


def _replace(document: Any, path: Path, text: str | None) -> None:
    """Replace a string of a document; None removes its field, or makes an element of a list null."""
    *parents, last = path
    for step in parents:
        document = document[step]
    if text is None and isinstance(document, dict):
        del document[last]
    else:
        document[last] = text

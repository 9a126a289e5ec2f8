"""Paths of nested fields, as they are written in settings: `payload.user.age`."""

from __future__ import annotations

import re
from typing import Final

FieldPath = tuple[str, ...]
"""Names of nested fields, from the top. A number indexes an array."""

MAX_DEPTH: Final = 32

_NAME: Final = re.compile(r'"((?:[^"\\]|\\["\\])+)"|([^."]+)')
_ESCAPE: Final = re.compile(r"\\(.)")
_PLAIN: Final = re.compile(r'[^."\\\s]+')


def parse_field_path(text: str) -> FieldPath:
    """Return the names of a path; none for "", which is the top. Raises ValueError with the reason.

    A name that contains a dot is written in double quotes, within which a quote and a backslash are escaped by a backslash.
    """
    names: list[str] = []
    position = 0
    while position < len(text) or names:
        match = _NAME.match(text, position)
        if match is None:
            raise ValueError(f'{text[:80]!r} is not names separated by dots; write a name with a dot as "a.b"')
        names.append(_ESCAPE.sub(r"\1", match[1]) if match[1] is not None else match[2])
        position = match.end()
        if position == len(text):
            break
        if text[position] != ".":
            raise ValueError(f"{text[:80]!r} has no dot after the name {names[-1]!r}")
        position += 1
    if len(names) > MAX_DEPTH:
        raise ValueError(f"it has {len(names)} names; at most {MAX_DEPTH} are allowed")
    return tuple(names)


def format_field_path(path: FieldPath) -> str:
    """Return the text of a path, for messages and settings."""
    return ".".join(
        name if _PLAIN.fullmatch(name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in path
    )

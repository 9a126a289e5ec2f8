"""Removes the values of events from failure messages, so that messages can be counted, stored and shown. Pure.

Numbers, identifiers and quoted text become `…`. Names that do not come from the event stay, between backticks: features of the
signature, fields and headers of the event format, the served model. They locate the failure, and their number is limited.
Redacting a redacted text again does not change it, so a reader that does not know the names can redact messages of others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from forebay.schemas import headers
from forebay.schemas.aggregates import MAX_STACK_CHARS

MAX_MESSAGE_CHARS: Final = 300
MAX_NAME_CHARS: Final = 100

_BUILT_IN: Final = ("id", "timestamp", "features", "input", "key", "model", "deadline_ms")
_HEADERS: Final = (headers.ID, headers.TIMESTAMP, headers.MODEL, headers.DEADLINE_MS)

_MARKED = rf"`[^`\n]{{1,{MAX_NAME_CHARS}}}`"
_PLACE = r"\bfeatures\[\d{1,6}\]"
# Quoted text with and without escapes, mail addresses, UUIDs and other long hexadecimal ids, numbers.
_VARIABLE = (
    r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|'[^']*'|\"[^\"]*\"|[^\s@]+@[^\s@]+"
    r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    r"|\b(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b|[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
)
# Constant words of our messages that contain digits.
_WORD = r"\b(?:float32|RFC 3339|UTF-8)\b"
_PATTERN: Final = re.compile(f"(?P<marked>{_MARKED})|(?P<place>{_PLACE})|(?P<word>{_WORD})|{_VARIABLE}")
# The lines of a stack trace that show code; all others are messages.
_CODE_LINE: Final = re.compile(r"\s|File |Traceback |During handling |The above exception |$")


class Redactor:
    """Redacts messages and stack traces.

    names: names that stay where a message quotes them, in addition to those of the event format.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {
            repr(name): f"`{name}`"
            for name in (*_BUILT_IN, *_HEADERS, *names)
            if len(name) <= MAX_NAME_CHARS and name.isprintable() and "`" not in name
        }

    def message(self, message: str) -> str:
        """Return the message without values, at most MAX_MESSAGE_CHARS characters."""
        return _PATTERN.sub(self._replacement, message)[:MAX_MESSAGE_CHARS]

    def stack(self, stack: str) -> str:
        """Return the end of a stack trace, with redacted messages."""
        lines = [line if _CODE_LINE.match(line) else self.message(line) for line in stack.splitlines()]
        return "\n".join(lines)[-MAX_STACK_CHARS:]

    def _replacement(self, match: re.Match[str]) -> str:
        if match["place"]:
            return f"`{match['place']}`"
        if match["marked"]:
            return "…"
        return match["word"] or self._names.get(match[0], "…")


def redact_again(message: str) -> str:
    """Redact a message again that is marked as redacted. Names between backticks stay."""
    return _PATTERN.sub(lambda match: match["marked"] or match["word"] or "…", message)[:MAX_MESSAGE_CHARS]


def redact_stack_again(stack: str) -> str:
    """Redact a stack trace again that is marked as redacted."""
    lines = [line if _CODE_LINE.match(line) else redact_again(line) for line in stack.splitlines()]
    return "\n".join(lines)[-MAX_STACK_CHARS:]

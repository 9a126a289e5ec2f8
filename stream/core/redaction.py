"""Failure messages without the values of an event, so that they may be counted, stored and shown. Pure.

Numbers, identifiers and quoted text become `…`. Names that come from us and not from the event — features of the model's
signature, fields and headers of the event format, the served model — are kept between backticks: they say where to look,
and there is a limited number of them. A text that is already redacted stays as it is, so that a reader that does not know
the names can redact again what it did not write itself.
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
# Constant words of our own messages that hold digits.
_WORD = r"\b(?:float32|RFC 3339|UTF-8)\b"
_PATTERN: Final = re.compile(f"(?P<marked>{_MARKED})|(?P<place>{_PLACE})|(?P<word>{_WORD})|{_VARIABLE}")
# The lines of a stack trace that show code; all others are messages.
_CODE_LINE: Final = re.compile(r"\s|File |Traceback |During handling |The above exception |$")


class Redactor:
    """Redacts messages and stack traces.

    names: what is kept where a message quotes it, besides the names of the event format.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._kept = {
            repr(name): f"`{name}`"
            for name in (*_BUILT_IN, *_HEADERS, *names)
            if len(name) <= MAX_NAME_CHARS and name.isprintable() and "`" not in name
        }

    def message(self, message: str) -> str:
        """The message without values; at most MAX_MESSAGE_CHARS characters."""
        return _PATTERN.sub(self._replacement, message)[:MAX_MESSAGE_CHARS]

    def stack(self, stack: str) -> str:
        """The end of a stack trace, its messages without values."""
        lines = [line if _CODE_LINE.match(line) else self.message(line) for line in stack.splitlines()]
        return "\n".join(lines)[-MAX_STACK_CHARS:]

    def _replacement(self, match: re.Match[str]) -> str:
        if match["place"]:
            return f"`{match['place']}`"
        if match["marked"]:
            return "…"
        return match["word"] or self._kept.get(match[0], "…")


def redact_again(message: str) -> str:
    """Redact a message that says it is redacted: what is between backticks stays, all else is judged once more."""
    return _PATTERN.sub(lambda match: match["marked"] or match["word"] or "…", message)[:MAX_MESSAGE_CHARS]


def redact_stack_again(stack: str) -> str:
    """Redact a stack trace that says it is redacted."""
    lines = [line if _CODE_LINE.match(line) else redact_again(line) for line in stack.splitlines()]
    return "\n".join(lines)[-MAX_STACK_CHARS:]

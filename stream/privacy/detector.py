"""What a detector is, and the text that it looks at: a column of strings, joined so that a pattern runs once for all."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Final, NamedTuple, Protocol

SEPARATOR: Final = "\n"
"""Between the strings of a column. No pattern matches it, so that a match lies within one string."""
CONTEXT_CHARS: Final = 40
UNDECODABLE: Final = "surrogateescape"

_WORDS: Final = re.compile(r"[g-zG-Z]|(?<![0-9a-zA-Z])[cC][cfCF](?![a-zA-Z])")
"""A letter that is not a hexadecimal digit, or one of the words that have none: cc (card) and cf (codice fiscale)."""
_GROUPS: Final = re.compile(r"(?<![\w.,+/-])\d{1,4}[ .-]\d{2,6}[ .-]\d{3}")
_TOKEN: Final = re.compile(r"(?<![\w.+/-])(?=[A-Za-z]{0,6}\d)[0-9A-Za-z]{8,19}+(?:-[A-Z])?(?![\w-]|\.\d)")


class Span(NamedTuple):
    """A place in the joined text."""

    start: int
    end: int


class Finding(NamedTuple):
    """What a detector found in a column. row: index of the string; start, end: the place in it."""

    row: int
    start: int
    end: int
    detector: str


class Column:
    """Strings of one place, such as the keys of a poll, joined into one text.

    hints: by string, a name that says what it is, such as that of a field or header; empty without any.
    """

    def __init__(self, texts: Sequence[str], hints: Sequence[str] = ()) -> None:
        self._texts: Sequence[str] | Sequence[bytes] = texts
        self._hints = hints
        self.joined = SEPARATOR.join(texts)

    @classmethod
    def of_bytes(cls, values: Sequence[bytes], hints: Sequence[str] = ()) -> Column:
        """Return the column of texts in UTF-8. Bytes that are not valid become lone surrogates, which nothing matches."""
        joined = SEPARATOR.encode().join(values)
        if not joined.isascii():
            return cls([value.decode("utf-8", UNDECODABLE) for value in values], hints)
        column = cls((), hints)
        column._texts, column.joined = values, joined.decode("ascii")
        return column

    @cached_property
    def starts(self) -> list[int]:
        """The index in the joined text at which each string begins."""
        return [0, *accumulate(len(text) + 1 for text in self._texts[:-1])] if self._texts else []

    @cached_property
    def has_digits(self) -> bool:
        """Whether there are at least two digits, without which no number can be found."""
        return re.search(r"\d\D{0,3}\d", self.joined) is not None

    @cached_property
    def has_groups(self) -> bool:
        """Whether there are three groups of digits, as in the written form of many numbers."""
        return _GROUPS.search(self.joined) is not None

    @cached_property
    def tokens(self) -> list[Span]:
        """The places of words of 8 to 19 digits and letters that have digits, and may end with a hyphen and a letter."""
        return [Span(*match.span()) for match in _TOKEN.finditer(self.joined)]

    @cached_property
    def has_words(self) -> bool:
        """Whether there may be a word that says what a number is, in the texts or as a hint."""
        return any(self._hints) or _WORDS.search(self.joined) is not None

    def row_of(self, position: int) -> int:
        """Return the index of the string at a position of the joined text."""
        return bisect_right(self.starts, position) - 1

    def context_of(self, position: int) -> str:
        """Return the words before a position in its string, in lower case, with the string's hint."""
        row = self.row_of(position)
        before = self.joined[max(self.starts[row], position - CONTEXT_CHARS) : position]
        return f"{self._hints[row]} {before}".lower() if self._hints else before.lower()


class Detector(Protocol):
    """Finds one kind of personal data.

    name: in settings, reports and masks.
    """

    @property
    def name(self) -> str: ...

    def find(self, column: Column) -> Iterator[Span]:
        """Yield the places in the joined text, in ascending order."""


def findings_of(detectors: Sequence[Detector], column: Column) -> list[Finding]:
    """Return what the detectors find, by place. Of findings that overlap, the first and longest one stays."""
    spans = [(span.start, -span.end, detector.name) for detector in detectors for span in detector.find(column)]
    spans.sort()
    findings: list[Finding] = []
    last_end = -1
    for start, negative_end, name in spans:
        if start >= last_end:
            last_end = -negative_end
            row = column.row_of(start)
            first = column.starts[row]
            findings.append(Finding(row, start - first, last_end - first, name))
    return findings

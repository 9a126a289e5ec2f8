"""Numbers that need a form or a word before them, because a checksum alone accepts too many ids.

One in ten random numbers passes a check digit. So a bare run of digits counts only after a word that says what it is (`card`,
`bsn`, …), also the name of a field or header, unless the settings accept bare numbers. Numbers in their written form, in
groups, need no word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from forebay.stream.privacy.detector import Column, Span

START: Final = r"(?<![\w.,+/-])"
"""What may precede a number: the start, a space, a quote or a colon; not a digit, letter, sign or point."""
END: Final = r"(?![\w-]|[.,/]\d)"


@dataclass(frozen=True)
class NumberRule:
    """How one kind of number is found.

    written: its forms in groups of digits, without `START` and `END`; None if there are none.
    token: its form without groups that needs no word before it, because it has letters; None if there is none.
    bare: the form that needs one; None if there is none.
    words: a pattern of the words, in lower case.
    is_valid: takes the number without separators, in upper case.
    """

    written: str | None
    bare: str | None
    words: str
    is_valid: Callable[[str], bool]
    token: str | None = None


_SEPARATORS: Final = re.compile(r"[ ./-]")


class NumberDetector:
    """Finds numbers by a rule.

    accepts_bare: whether bare numbers need no word before them.
    """

    def __init__(self, name: str, rule: NumberRule, *, accepts_bare: bool = False) -> None:
        self.name = name
        self._rule = rule
        self._accepts_bare = accepts_bare
        self._written = None if rule.written is None else re.compile(f"{START}(?:{rule.written}){END}")
        self._token = None if rule.token is None else re.compile(rule.token)
        self._bare = None if rule.bare is None else re.compile(rule.bare)
        self._words = re.compile(rf"(?<![a-z])(?:{rule.words})(?![a-z])")

    def find(self, column: Column) -> Iterator[Span]:
        """Yield the places of valid numbers."""
        if not column.has_digits:
            return
        text, is_valid = column.joined, self._rule.is_valid
        found = []
        if self._written is not None and column.has_groups:
            for match in self._written.finditer(text):
                if is_valid(_SEPARATORS.sub("", match[0]).upper()):
                    found.append(Span(*match.span()))
        if self._token is not None or self._accepts_bare or column.has_words:
            found += [span for span in column.tokens if self._is_token(column, span)]
        yield from sorted(found)

    def _is_token(self, column: Column, span: Span) -> bool:
        text = column.joined[span.start : span.end]
        if self._token is not None and self._token.fullmatch(text):
            return self._rule.is_valid(_SEPARATORS.sub("", text))
        return (
            self._bare is not None
            and self._bare.fullmatch(text) is not None
            and self._rule.is_valid(text.upper())
            and (self._accepts_bare or self._words.search(column.context_of(span.start)) is not None)
        )

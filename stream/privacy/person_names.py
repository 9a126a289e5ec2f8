"""Names of persons, by a list that the user supplies."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from forebay.stream.privacy.detector import Column, Span

_WORD: Final = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


class NameDetector:
    """Finds names of a list as whole words, in any case of letters. A name of several words matches these words in order.

    names: one or more words each.
    """

    name = "name"

    def __init__(self, names: Iterable[str]) -> None:
        self._of_first: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
        for name in names:
            words = tuple(word.casefold() for word in _WORD.findall(name))
            if words:
                self._of_first[words[0]].add(words)

    def find(self, column: Column) -> Iterator[Span]:
        """Yield the places of names."""
        words = list(_WORD.finditer(column.joined))
        index = 0
        while index < len(words):
            length = self._length_at(words, index, column.joined)
            if length:
                yield Span(words[index].start(), words[index + length - 1].end())
            index += length or 1

    def _length_at(self, words: list[re.Match[str]], index: int, text: str) -> int:
        """Return the number of words of the longest name that begins at a word; 0 if none does."""
        best = 0
        for name in self._of_first.get(words[index][0].casefold(), ()):
            following = words[index : index + len(name)]
            if (
                len(name) > best
                and tuple(word[0].casefold() for word in following) == name
                and all(text[a.end() : b.start()] in (" ", ", ", ".", "_", ". ") for a, b in pairwise(following))
            ):
                best = len(name)
        return best

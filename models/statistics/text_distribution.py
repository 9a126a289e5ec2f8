"""The distribution of the texts in a column: exact while there are few distinct ones, then summarised by sketches."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xxhash

from forebay.models.statistics.counted_values import Counts, sum_counts
from forebay.models.statistics.distinct_sketch import ERROR, DistinctSketch, hash_texts
from forebay.models.statistics.frequent_sketch import FrequentSketch
from forebay.models.statistics.number_distribution import MAX_EXACT, Frequency, NumberDistribution, most_frequent

_MAX_CHARS: Final = 128


class TextDistribution:
    """Texts, and their lengths in characters.

    A text of more than 128 characters is kept as its first 96 with a digest, so that long texts need little memory.
    """

    def __init__(self, max_exact: int = MAX_EXACT) -> None:
        self._max_exact = max_exact
        self._exact: dict[str, int] = {}
        self._sketches: tuple[DistinctSketch, FrequentSketch] | None = None
        self.lengths = NumberDistribution(np.dtype(np.int64), max_exact)

    def add(self, texts: list[str], counts: Counts) -> None:
        """Add different texts with their counts."""
        if not texts:
            return
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        self.lengths.add_counted(*sum_counts(lengths, counts))
        if lengths.max() > _MAX_CHARS:
            texts = [_shortened(text) for text in texts]
        if self._sketches is None:
            self._add_exact(texts, counts.tolist())
        else:
            self._add_to_sketches(texts, counts)

    def merge(self, other: TextDistribution) -> None:
        """Add the texts of another distribution, which is not changed."""
        self.lengths.merge(other.lengths)
        if other._sketches is not None:
            if self._sketches is None:
                self._sketch()
            assert self._sketches is not None
            self._sketches[0].merge(other._sketches[0])
            self._sketches[1].merge(other._sketches[1])
        elif self._sketches is not None:
            self._add_to_sketches(*_columns(other._exact))
        else:
            self._add_exact(list(other._exact), list(other._exact.values()))

    @property
    def is_exact(self) -> bool:
        """Whether nothing is estimated."""
        return self._sketches is None

    @property
    def num_distinct(self) -> int:
        """The number of distinct texts."""
        return len(self._exact) if self._sketches is None else self._sketches[0].estimate()

    @property
    def distinct_error(self) -> float:
        """The relative error that `num_distinct` may have; 0 if it is exact."""
        return 0.0 if self._sketches is None else ERROR

    @property
    def max_missed(self) -> int:
        """How much the count of a frequent text can be too small at most."""
        return 0 if self._sketches is None else self._sketches[1].max_missed

    def most_frequent(self, limit: int) -> tuple[Frequency, ...]:
        """Return the texts that occur most often, the most frequent first; equals in the order of their characters."""
        if self._sketches is not None:
            return most_frequent(self._sketches[1], limit)
        ordered = sorted(self._exact.items(), key=lambda item: (-item[1], item[0]))
        return tuple(Frequency(text, count) for text, count in ordered[:limit])

    def _add_exact(self, texts: list[str], counts: list[int]) -> None:
        exact = self._exact
        for text, count in zip(texts, counts, strict=True):
            exact[text] = exact.get(text, 0) + count
        if len(exact) > self._max_exact:
            self._sketch()

    def _add_to_sketches(self, texts: list[str], counts: Counts) -> None:
        assert self._sketches is not None
        distinct, frequent = self._sketches
        distinct.add(hash_texts(texts))
        frequent.add(texts, counts)

    def _sketch(self) -> None:
        self._sketches = (DistinctSketch(), FrequentSketch())
        if self._exact:
            self._add_to_sketches(*_columns(self._exact))
        self._exact = {}


def _columns(exact: dict[str, int]) -> tuple[list[str], Any]:
    return list(exact), np.fromiter(exact.values(), np.int64, len(exact))


def _shortened(text: str) -> str:
    if len(text) <= _MAX_CHARS:
        return text
    return f"{text[:96]}… ({xxhash.xxh3_128_hexdigest(text.encode())})"

"""Encode texts as the codes that a model takes: the same code for a training table as for the events of a worker.

Shapes: N texts of one column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import xxhash

from forebay.models.artefacts.argument_checks import describe
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Feature
from forebay.schemas.errors import ModelError

_MAX_CACHED_CHARS: Final = 64
_MAX_CACHED_TEXTS: Final = 4_096


def bucket(text: str, buckets: int) -> int:
    """Return the bucket of a text, from 0 to `buckets - 1`: `xxh3_64(UTF-8 bytes) % buckets`, with seed 0."""
    return xxhash.xxh3_64_intdigest(text.encode()) % buckets


def code_table(feature: Feature) -> Mapping[str, float]:
    """Return the code of each text that the feature takes. A text without a code raises KeyError.

    Values that are not texts raise some exception, too.
    """
    if feature.dtype == "hashed":
        return _Buckets(feature.buckets)
    codes = {category: float(code) for code, category in enumerate(feature.categories)}
    return _CodesWithOther(codes) if feature.other else codes


def encode_texts(feature: Feature, texts: Sequence[object]) -> FloatArray:
    """Return the codes of a column of texts, float32 [N], as a worker encodes them.

    texts: a list, an array or a column of a table. None, NaN and pandas' NA are missing values.

    A missing value becomes NaN if the feature is nullable, and so does an unknown category that has no code of its own.
    Raises ModelError(kind="signature") for other features, for values that are not texts, and for values that a worker would
    reject.

        >>> encode_texts(Feature("city", "hashed", buckets=1024), ["Basel", "Bern"])
        array([581., 107.], dtype=float32)
    """
    if not feature.is_text:
        raise _error(f"feature {feature.name!r} is {feature.dtype}, not a text", "give a category or a hashed feature")
    table = code_table(feature)
    codes_N = np.empty(len(texts), dtype=np.float32)
    for row, text in enumerate(texts):
        codes_N[row] = _code(feature, table, text, row)
    return codes_N


def _code(feature: Feature, table: Mapping[str, float], text: object, row: int) -> float:
    if isinstance(text, str):
        try:
            return table[text]
        except KeyError:
            problem = f"row {row} has the unknown category {describe(text)}"
        except UnicodeEncodeError:
            raise _error(f"feature {feature.name!r}: row {row} is {describe(text)}", "give valid Unicode") from None
    elif _is_missing(text):
        problem = f"row {row} has no value"
    else:
        raise _error(f"feature {feature.name!r}: row {row} is {describe(text)}", "convert the column to strings")
    if feature.nullable:
        return math.nan
    raise _error(f"feature {feature.name!r}: {problem}", "make the feature nullable in the signature")


def _is_missing(value: object) -> bool:
    # pandas is not a dependency, so its NA is known by its type.
    return (
        value is None
        or (isinstance(value, float | np.floating) and math.isnan(value))
        or type(value).__name__ in ("NAType", "NaTType")
    )


class _CodesWithOther(dict[str, float]):
    """Codes of categories; any other text has the next code."""

    def __missing__(self, text: object) -> float:
        if not isinstance(text, str):
            raise TypeError
        return float(len(self))


class _Buckets(dict[str, float]):
    """Buckets of texts: short ones are remembered, because the same few usually return."""

    def __init__(self, buckets: int) -> None:
        super().__init__()
        self._buckets = buckets

    def __missing__(self, text: str) -> float:
        code = float(xxhash.xxh3_64_intdigest(text.encode()) % self._buckets)
        if len(text) <= _MAX_CACHED_CHARS:
            if len(self) >= _MAX_CACHED_TEXTS:
                self.clear()
            self[text] = code
        return code


def _error(problem: str, remedy: str) -> ModelError:
    return ModelError(problem, kind="signature", remedy=remedy)

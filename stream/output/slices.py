"""The slices of predictions: values of named features, by which quality is also counted.

They are computed from the columns that the model was given, so no event is parsed again. Shapes: B rows, F columns of a row as
decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import orjson

from forebay.models.artefacts.reference_statistics import NumberReference, ReferenceStatistics
from forebay.models.artefacts.signature import Signature
from forebay.stream.core.records import FloatMatrix

MISSING: Final = "missing"
"""The slice of rows without a value."""
OTHER: Final = "other"
"""The slice of categories that the model does not know but has a code for."""
QUARTERS: Final = ("q1", "q2", "q3", "q4")
"""The slices of a number: the quarters of its values in training."""

_MAX_TEXTS: Final = 65_536


@dataclass(frozen=True, slots=True)
class SliceColumn:
    """A feature that predictions carry.

    name: of the feature.
    column: its index in a row.
    values: the slices by code; the first is `MISSING`.
    edges: ascending float32 values; a number's code is 1 plus how many of them are at most the number. None for a category,
        whose code is 1 plus its own.
    """

    name: str
    column: int
    values: tuple[str, ...]
    edges: tuple[float, ...] | None = None

    def codes(self, x_BF: FloatMatrix) -> npt.NDArray[np.int64]:
        """Return the code of each row, int64 [B]."""
        x_B = x_BF[:, self.column]
        is_missing_B = np.isnan(x_B)
        if self.edges is None:
            codes_B = np.where(is_missing_B, -1, x_B).astype(np.int64) + 1
        else:
            codes_B = np.searchsorted(np.array(self.edges, dtype=np.float32), x_B, side="right") + 1
            codes_B[is_missing_B] = 0
        return codes_B


def slice_columns(
    signature: Signature, reference: ReferenceStatistics | None, names: Sequence[str]
) -> tuple[SliceColumn, ...]:
    """Return the columns of those names that predictions of a model can carry.

    These are categories, and numbers with reference statistics. Not carried are features of windows,
    hashed texts, times, and numbers without statistics, whose values have no limit.
    """
    if signature.window is not None:
        return ()
    numbers = {
        feature.name: feature
        for feature in (() if reference is None else reference.features)
        if isinstance(feature, NumberReference)
    }
    found: list[SliceColumn] = []
    for name in names:
        for column, feature in enumerate(signature.column_features):
            if feature.name != name:
                continue
            if feature.dtype == "category":
                values = (MISSING, *feature.categories, *((OTHER,) if feature.other else ()))
                found.append(SliceColumn(name, column, values))
            elif feature.dtype == "float32" and name in numbers:
                found.append(SliceColumn(name, column, (MISSING, *QUARTERS), quarter_edges(numbers[name])))
    return tuple(found)


def quarter_edges(reference: NumberReference) -> tuple[float, ...]:
    """Return the three edges of the bins in training that come closest to the quartiles; none if there are no bins.

    Edges can be equal, if one value is frequent: then the quarters between them are empty.
    """
    if not reference.edges:
        return ()
    below_E = np.cumsum(reference.counts)[:-1]
    total = sum(reference.counts)
    return tuple(reference.edges[int(np.abs(below_E - share * total).argmin())] for share in (0.25, 0.5, 0.75))


Encoded = TypeVar("Encoded")


class SliceEncoder(Generic[Encoded]):
    """Encodes the slices of rows: each combination of values once.

    encode_values: returns the field `slices` with these values by name.
    """

    def __init__(self, columns: Sequence[SliceColumn], encode_values: Callable[[Mapping[str, str]], Encoded]) -> None:
        self._columns = tuple(columns)
        self._encode_values = encode_values
        self._texts: dict[int, Encoded] = {}

    def encode(self, x_BF: FloatMatrix) -> list[Encoded]:
        """Return the field `slices` of each row."""
        code_B = np.zeros(len(x_BF), dtype=np.int64)
        for column in self._columns:
            code_B *= len(column.values)
            code_B += column.codes(x_BF)
        codes, texts = code_B.tolist(), self._texts
        for code in set(codes) - texts.keys():
            texts[code] = self._text(code)
        encoded = [texts[code] for code in codes]
        if len(texts) > _MAX_TEXTS:
            texts.clear()
        return encoded

    def _text(self, code: int) -> Encoded:
        values = {}
        for column in reversed(self._columns):
            code, index = divmod(code, len(column.values))
            values[column.name] = column.values[index]
        return self._encode_values({column.name: values[column.name] for column in self._columns})


def json_slices(values: Mapping[str, str]) -> str:
    """Return the field `slices` in JSON, with the comma before it."""
    return f',"slices":{orjson.dumps(values).decode()}'

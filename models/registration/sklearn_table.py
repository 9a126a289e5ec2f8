"""Make the table that a fitted pipeline takes from rows as a worker gives them.

Shapes: R rows, W used columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.registration.sklearn_columns import SourceColumn, refusal


class TableBuilder:
    """Makes tables with the columns that the pipeline was fitted to.

    names: of all columns of the table; None if it was fitted to an array of `width` columns.
    sources: the columns that the model uses; the others have missing values.
    """

    def __init__(self, names: Sequence[object] | None, width: int, sources: Sequence[SourceColumn]) -> None:
        self._names = names
        self._width = width
        self._sources = tuple(sources)

    def table(self, rows_RW: FloatArray, model: str) -> Any:
        """Return the table for rows; the code after those of the categories stands for an unknown text.

        model: the model's name, for the message if pandas is not installed.
        """
        columns = {source.place: _column(source, rows_RW[:, index]) for index, source in enumerate(self._sources)}
        if self._names is None:
            has_texts = any(source.kind == "text" for source in self._sources)
            table = np.full((len(rows_RW), self._width), np.nan, dtype=object if has_texts else np.float64)
            for place, column in columns.items():
                table[:, place] = column
            return table
        try:
            import pandas as pd
        except ImportError:
            raise refusal(
                model, "pandas is not installed, and the pipeline takes its tables", "install pandas"
            ) from None
        empty = np.full(len(rows_RW), np.nan)
        # One column at a time, so that each keeps its type.
        return pd.DataFrame({name: columns.get(place, empty) for place, name in enumerate(self._names)})


def _column(source: SourceColumn, values_R: FloatArray) -> npt.NDArray[Any]:
    if source.kind == "text":
        unknown = "unknown"
        while unknown in source.categories:
            unknown += "?"
        texts = np.array([*source.categories, unknown, source.missing], dtype=object)
        codes_R = np.where(np.isnan(values_R), len(texts) - 1, values_R).astype(np.intp)
        return texts[codes_R]
    values = [source.exact.get(float(value), float(value)) for value in values_R]
    is_exact = bool(source.exact) and all(type(value) is type(next(iter(source.exact.values()))) for value in values)
    return np.array(values) if is_exact else np.array(values, dtype=np.float64)

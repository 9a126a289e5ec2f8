"""Rows with times: packed with an int64 for each time, and expanded to columns for the whole micro-batch at once.

Shapes: B rows, F columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from forebay.models.artefacts.date_parts import parts_of
from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.core.records import FloatMatrix


class _Run(NamedTuple):
    """Consecutive columns: numbers and codes, or the parts of a time. field: of a packed row."""

    field: str
    start: int
    stop: int
    time: Feature | None


class TimedRows:
    """The packed rows of a signature with times: the values of its features in order, float32 or int64.

    format: for `struct`.
    """

    def __init__(self, signature: Signature) -> None:
        self.format = "<" + "".join("q" if feature.parts else "f" for feature in signature.features)
        self._num_columns = signature.num_features
        runs: list[_Run] = []
        column = 0
        for feature in signature.features:
            end = column + len(feature.columns)
            time = feature if feature.parts else None
            if time is None and runs and runs[-1].time is None:
                runs[-1] = runs[-1]._replace(stop=end)
            else:
                runs.append(_Run(f"f{len(runs)}", column, end, time))
            column = end
        self._runs = runs
        fields: list[Any] = [
            (run.field, "<i8") if run.time else (run.field, "<f4", (run.stop - run.start,)) for run in runs
        ]
        self._dtype = np.dtype(fields)

    def matrix(self, rows: Sequence[bytes]) -> FloatMatrix:
        """Return the rows as a new matrix, float32 [B, F]."""
        packed_B = np.frombuffer(b"".join(rows), dtype=self._dtype)
        x_BF = np.empty((len(packed_B), self._num_columns), dtype=np.float32)
        for run in self._runs:
            values = packed_B[run.field]
            if run.time is not None:
                values = parts_of(values.astype(np.int64), run.time.parts, run.time.reference_time)
            x_BF[:, run.start : run.stop] = values
        return x_BF

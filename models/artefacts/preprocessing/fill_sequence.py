"""Replace missing values within a sequence by values of other events of the sequence.

Shapes: N events of all sequences, in order; F columns; K chosen columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import numbers, text
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.step import SameWidth, check_columns, error, make_plain
from forebay.schemas.errors import TensorError

METHODS: Final = ("forward", "backward", "interpolate")
_Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FillSequence(SameWidth):
    """Replaces NaN in `columns` by other values of the same sequence. Rows of a model without sequences are refused.

    method: `forward`: the last value before. `backward`: the next value after. `interpolate`: on the line between both, by the
        number of events between; before the first and after the last value, the nearest one.

    What has no such value stays NaN.
    """

    kind: ClassVar[str] = "fill_sequence"
    width: int
    columns: tuple[int, ...]
    method: str

    def __post_init__(self) -> None:
        make_plain(self, (), numbers)
        object.__setattr__(self, "method", text(self.method, "fill_sequence: method", error))
        if self.method not in METHODS:
            raise error(f"fill_sequence: method is {self.method!r}; allowed is one of {', '.join(METHODS)}")
        check_columns(self.kind, self.width, self.columns, {})

    def apply(self, x_BF: FloatArray) -> FloatArray:
        """Raise TensorError: see `apply_to_sequences`."""
        raise TensorError(
            "fill_sequence takes the events of sequences; these rows stand by themselves",
            remedy="use it only for a model whose signature has a window with sequence_length",
        )

    def apply_to_sequences(self, x_NF: FloatArray, sequences_N: _Places) -> FloatArray:
        """Return the events with filled columns. sequences_N: the number of an event's sequence, ascending."""
        out_NF = x_NF.copy()
        columns = list(self.columns)
        x_NK = x_NF[:, columns]
        is_missing_NK = np.isnan(x_NK)
        if not is_missing_NK.any():
            return out_NF
        before_NK = _last_present(is_missing_NK, sequences_N)
        after_NK = len(x_NF) - 1 - _last_present(is_missing_NK[::-1], -sequences_N[::-1])[::-1]
        has_before_NK, has_after_NK = before_NK >= 0, after_NK < len(x_NF)
        order = np.arange(x_NK.shape[1])
        low_NK = np.where(has_before_NK, x_NK[np.maximum(before_NK, 0), order], np.float32(np.nan))
        high_NK = np.where(has_after_NK, x_NK[np.minimum(after_NK, len(x_NF) - 1), order], np.float32(np.nan))
        match self.method:
            case "forward":
                filled_NK = low_NK
            case "backward":
                filled_NK = high_NK
            case _:
                share_NK = (np.arange(len(x_NF))[:, None] - before_NK) / np.maximum(after_NK - before_NK, 1)
                # In float64, where the difference of two float32 numbers cannot overflow.
                line_NK = low_NK.astype(np.float64) * (1.0 - share_NK) + high_NK.astype(np.float64) * share_NK
                ends_NK = np.where(has_before_NK, low_NK, high_NK)
                filled_NK = np.where(has_before_NK & has_after_NK, line_NK, ends_NK).astype(np.float32)
        out_NF[:, columns] = np.where(is_missing_NK, filled_NK, x_NK)
        return out_NF

    def to_dict(self) -> dict[str, object]:
        return {"step": self.kind, "width": self.width, "columns": list(self.columns), "method": self.method}

    @classmethod
    def read(cls, fields: JsonObject) -> FillSequence:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns", "method"})
        return cls(fields.integer("width", minimum=1), fields.integers("columns"), fields.text("method"))


def _last_present(is_missing_NK: npt.NDArray[np.bool_], sequences_N: _Places) -> _Places:
    """Return the row of the last value of the same sequence up to each row; -1 if there is none."""
    rows_N = np.arange(len(sequences_N))
    is_first_N = np.r_[True, sequences_N[1:] != sequences_N[:-1]]
    start_N = np.maximum.accumulate(np.where(is_first_N, rows_N, 0))
    last_NK = np.maximum.accumulate(np.where(is_missing_NK, -1, rows_N[:, None]), axis=0)
    return np.where(last_NK >= start_N[:, None], last_NK, -1)

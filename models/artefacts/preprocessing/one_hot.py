"""Expand codes to columns of 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import integers
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.step import check_columns, error, make_plain
from forebay.models.artefacts.signature import MAX_CATEGORIES, MAX_FEATURES


@dataclass(frozen=True, slots=True)
class OneHot:
    """Expands column `columns[i]`, a category's index below `sizes[i]`, to `sizes[i]` columns of 0 and 1.

    The other columns come first, in their order; then the categories, in the order of `columns`. NaN, and any
    value that is not such an index, gives all zeros.
    """

    width: int
    columns: tuple[int, ...]
    sizes: tuple[int, ...]
    _kept: npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _picked: npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _starts: npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, ("sizes",), integers)
        check_columns(self.kind, self.width, self.columns, {"sizes": self.sizes})
        if any(not 1 <= size <= MAX_CATEGORIES for size in self.sizes) or self.output_width > MAX_FEATURES:
            raise error(
                f"one_hot: sizes must be from 1 to {MAX_CATEGORIES}, and the output must have at most {MAX_FEATURES} columns"
            )
        kept = np.setdiff1d(np.arange(self.width, dtype=np.intp), np.array(self.columns, dtype=np.intp))
        ends = len(kept) + np.cumsum(np.array(self.sizes, dtype=np.intp))
        object.__setattr__(self, "_kept", kept)
        object.__setattr__(self, "_picked", np.array(self.columns, dtype=np.intp))
        object.__setattr__(self, "_starts", ends - np.array(self.sizes, dtype=np.intp))

    @property
    def kind(self) -> str:
        return "one_hot"

    @property
    def output_width(self) -> int:
        return self.width - len(self.columns) + sum(self.sizes)

    def apply(self, x_BF: FloatArray) -> FloatArray:
        x_BG = np.zeros((len(x_BF), self.output_width), dtype=np.float32)
        x_BG[:, : len(self._kept)] = x_BF[:, self._kept]
        code_BK = x_BF[:, self._picked]
        # Every comparison with NaN is false, so the remaining values can be converted to an index.
        known_BK = (code_BK >= 0) & (code_BK < np.array(self.sizes)) & (code_BK == np.floor(code_BK))
        rows, picked = np.nonzero(known_BK)
        x_BG[rows, self._starts[picked] + code_BK[known_BK].astype(np.intp)] = 1.0
        return x_BG

    def to_dict(self) -> dict[str, object]:
        return {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "sizes": list(self.sizes),
        }

    @classmethod
    def read(cls, fields: JsonObject) -> OneHot:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns", "sizes"})
        return cls(fields.integer("width", minimum=1), fields.integers("columns"), fields.integers("sizes", minimum=1))

"""Replace missing values by constants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from forebay.models.artefacts.argument_checks import numbers, text
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.step import SameWidth, check_columns, error, make_plain, spread


@dataclass(frozen=True, slots=True)
class Impute(SameWidth):
    """Replaces NaN in column `columns[i]` by `values[i]`. strategy: how the values were fitted."""

    kind: ClassVar[str] = "impute"
    width: int
    columns: tuple[int, ...]
    values: tuple[float, ...]
    strategy: str = "constant"
    _fill_F: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, ("values",), numbers)
        object.__setattr__(self, "strategy", text(self.strategy, "impute: strategy", error))
        check_columns(self.kind, self.width, self.columns, {"values": self.values})
        fill_F = spread(self.width, self.columns, self.values, elsewhere=np.nan).astype(np.float32)
        object.__setattr__(self, "_fill_F", fill_F)

    def apply(self, x_BF: FloatArray) -> FloatArray:
        return np.where(np.isnan(x_BF), self._fill_F, x_BF)

    def to_dict(self) -> dict[str, object]:
        return {
            "step": self.kind,
            "width": self.width,
            "columns": list(self.columns),
            "values": list(self.values),
            "strategy": self.strategy,
        }

    @classmethod
    def read(cls, fields: JsonObject) -> Impute:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns", "values", "strategy"})
        return cls(
            fields.integer("width", minimum=1),
            fields.integers("columns"),
            fields.numbers("values"),
            strategy=fields.text("strategy"),
        )

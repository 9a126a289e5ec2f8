"""Choose, order and repeat columns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.step import check_width, error, make_plain
from forebay.models.artefacts.signature import MAX_FEATURES


@dataclass(frozen=True, slots=True)
class SelectColumns:
    """Gives the columns `columns`, in that order. A column may occur several times; the others are left out."""

    width: int
    columns: tuple[int, ...]
    _chosen: npt.NDArray[np.intp] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        make_plain(self, (), lambda value, name, error: ())
        check_width(self.kind, self.width)
        if not 1 <= len(self.columns) <= MAX_FEATURES or any(not 0 <= column < self.width for column in self.columns):
            raise error(f"select_columns: from 1 to {MAX_FEATURES} columns are allowed, from 0 to {self.width - 1}")
        object.__setattr__(self, "_chosen", np.array(self.columns, dtype=np.intp))

    @property
    def kind(self) -> str:
        return "select_columns"

    @property
    def output_width(self) -> int:
        return len(self.columns)

    def apply(self, x_BF: FloatArray) -> FloatArray:
        return x_BF[:, self._chosen]

    def to_dict(self) -> dict[str, object]:
        return {"step": self.kind, "width": self.width, "columns": list(self.columns)}

    @classmethod
    def read(cls, fields: JsonObject) -> SelectColumns:
        """Return the step in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"step", "width", "columns"})
        return cls(fields.integer("width", minimum=1), fields.integers("columns"))

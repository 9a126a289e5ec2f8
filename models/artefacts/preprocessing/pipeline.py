"""The whole preprocessing: steps in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.argument_checks import describe, sequence
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.json_object import JsonObject
from forebay.models.artefacts.preprocessing.bin import Bin
from forebay.models.artefacts.preprocessing.bounds import FlagMissing, FlagOutside, NullOutside
from forebay.models.artefacts.preprocessing.combine import Combine, Cyclic
from forebay.models.artefacts.preprocessing.fill_sequence import FillSequence
from forebay.models.artefacts.preprocessing.impute import Impute
from forebay.models.artefacts.preprocessing.interpolate import Interpolate
from forebay.models.artefacts.preprocessing.isolation_forest import IsolationForest
from forebay.models.artefacts.preprocessing.map_values import MapValues
from forebay.models.artefacts.preprocessing.one_hot import OneHot
from forebay.models.artefacts.preprocessing.power import PowerTransform
from forebay.models.artefacts.preprocessing.row_check import RowCheck
from forebay.models.artefacts.preprocessing.select_columns import SelectColumns
from forebay.models.artefacts.preprocessing.standardise import Standardise
from forebay.models.artefacts.preprocessing.step import Step, error
from forebay.models.artefacts.preprocessing.transform import Clip, Function
from forebay.schemas.errors import ModelError, TensorError

# Each step may hold arrays as wide as the widest row, so their number in a manifest is limited.
MAX_STEPS: Final = 64

STEP_READERS: Final[Mapping[str, Callable[[JsonObject], Step]]] = MappingProxyType(
    {
        "impute": Impute.read,
        "standardise": Standardise.read,
        "one_hot": OneHot.read,
        "select_columns": SelectColumns.read,
        "map_values": MapValues.read,
        "clip": Clip.read,
        "function": Function.read,
        "bin": Bin.read,
        "power_transform": PowerTransform.read,
        "interpolate": Interpolate.read,
        "row_check": RowCheck.read,
        "null_outside": NullOutside.read,
        "flag_outside": FlagOutside.read,
        "flag_missing": FlagMissing.read,
        "combine": Combine.read,
        "cyclic": Cyclic.read,
        "fill_sequence": FillSequence.read,
        "isolation_forest": IsolationForest.read,
    }
)
"""The steps that a manifest can hold, by their kinds."""

STEP_TYPES: Final = (
    Impute,
    Standardise,
    OneHot,
    SelectColumns,
    MapValues,
    Clip,
    Function,
    Bin,
    PowerTransform,
    Interpolate,
    RowCheck,
    NullOutside,
    FlagOutside,
    FlagMissing,
    Combine,
    Cyclic,
    FillSequence,
    IsolationForest,
)

CHECKS: Final = (RowCheck, IsolationForest)
"""The steps that reject rows of events and change no values."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Steps that are applied in order. Without steps, rows are unchanged: `Preprocessing.identity()`.

    Raises ModelError(kind="preprocessing") if a step does not take the output of the step before it.
    """

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        steps = sequence(self.steps, "steps", "steps of forebay", error)
        for index, step in enumerate(steps):
            if not all(hasattr(step, name) for name in ("kind", "width", "output_width", "apply", "to_dict")):
                raise error(f"steps[{index}] is {describe(step)}; give steps of forebay, such as Impute")
        if len(steps) > MAX_STEPS:
            raise error(f"there are {len(steps)} steps; allowed are at most {MAX_STEPS}")
        object.__setattr__(self, "steps", steps)
        for before, after in pairwise(self.steps):
            if before.output_width != after.width:
                raise error(f"{before.kind} gives {before.output_width} columns, but {after.kind} takes {after.width}")

    @classmethod
    def identity(cls) -> Preprocessing:
        """Return a preprocessing without steps."""
        return cls()

    def output_width(self, input_width: int) -> int:
        """Return G for rows of F = `input_width` columns. Raises ModelError if the steps take another width."""
        if not self.steps:
            return input_width
        if self.steps[0].width != input_width:
            raise error(f"the preprocessing takes {self.steps[0].width} columns, not {input_width}")
        return self.steps[-1].output_width

    @property
    def takes_sequences(self) -> bool:
        """Whether a step looks at other events of the same sequence."""
        return any(isinstance(step, FillSequence) for step in self.steps)

    def apply(
        self, x_BF: FloatArray, *, checked: bool = False, sequences_B: npt.NDArray[np.int64] | None = None
    ) -> FloatArray:
        """Return the preprocessed rows [B, G], float32 in C order, always in new memory; `x_BF` is never modified.

        checked: whether the rows are those of events, so that RowCheck and IsolationForest reject some.
        sequences_B: the number of the sequence that a row belongs to, ascending; None if each row stands by itself.

        Raises TensorError for another type or shape, and RowsRejected for the first step that rejects rows.
        """
        if x_BF.dtype != np.float32 or x_BF.ndim != 2 or (self.steps and x_BF.shape[1] != self.steps[0].width):
            wanted = str(self.steps[0].width) if self.steps else "F"
            raise TensorError(
                f"the preprocessing takes float32 [B, {wanted}]; this is {x_BF.dtype} {list(x_BF.shape)}",
                remedy="give rows with the columns of the model's signature",
            )
        if not self.steps:
            return x_BF.copy(order="C")
        for step in self.steps:
            if checked and isinstance(step, CHECKS):
                step.check(x_BF)
            elif sequences_B is not None and isinstance(step, FillSequence):
                x_BF = step.apply_to_sequences(x_BF, sequences_B)
            else:
                x_BF = step.apply(x_BF)
        return np.ascontiguousarray(x_BF)

    def to_dict(self) -> dict[str, object]:
        """Return the preprocessing as JSON values, from which floats are read back exactly."""
        return {"steps": [step.to_dict() for step in self.steps]}

    @classmethod
    def from_dict(cls, value: object, file: str = "preprocessing") -> Preprocessing:
        """Return the preprocessing in JSON values, as `to_dict` writes it. Raises ModelError that names `file` and the key."""
        return cls.read(JsonObject(value, file))

    @classmethod
    def read(cls, fields: JsonObject) -> Preprocessing:
        """Return the preprocessing in one object of a file. Raises ModelError that names the file and the key."""
        fields.reject_unknown_keys({"steps"})
        items = fields.children("steps")
        if len(items) > MAX_STEPS:
            raise fields.error(f"{fields.full_path('steps')} has {len(items)} steps; allowed are at most {MAX_STEPS}")
        steps = tuple(_read_step(item) for item in items)
        try:
            return cls(steps)
        except ModelError as fault:
            raise fields.error(fault.message) from None


def _read_step(fields: JsonObject) -> Step:
    read = STEP_READERS[fields.text("step", STEP_READERS.keys())]
    try:
        return read(fields)
    except ModelError as fault:
        if fault.kind != "preprocessing":
            raise
        raise fields.error(f"{fields.path}: {fault.message}") from None

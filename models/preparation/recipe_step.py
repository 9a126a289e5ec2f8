"""What a step of a recipe is, and what it gives when it is fitted.

Shapes: N rows, F columns before the step, G columns after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.preprocessing import Step
from forebay.models.artefacts.signature import Feature
from forebay.models.preparation.training_rows import BoolArray, TrainingRows


@dataclass(frozen=True, slots=True, eq=False)
class FittedStep:
    """What a step of a recipe gives when it is fitted.

    steps: the frozen steps that do the same to every later row; may be empty.
    names: of the columns after the step.
    keep_N: which training rows are kept; None if all are. Workers drop no row: what they reject is a frozen RowCheck.
    notes: what a reader of the training report should know.
    texts: the columns after the step that hold codes of texts; None if all columns with the old names still do.
    required: the features that must have a value, so that a worker rejects events without one.
    x_NG: the training rows after the step where they differ from what `steps` give, as with cross-fitting.
    embeddings: the columns of codes that the net learns vectors for: the number of codes, and the width of the vectors.
    checks: frozen steps that reject training rows to which the step was not fitted, before `steps`. A worker has none of them.
    needs_all: why the step cannot be applied to training rows to which it was not fitted; None if it can.
    """

    steps: tuple[Step, ...]
    names: tuple[str, ...]
    keep_N: BoolArray | None = None
    notes: tuple[str, ...] = ()
    texts: Mapping[str, Feature] | None = None
    required: frozenset[str] = frozenset()
    x_NG: FloatArray | None = None
    embeddings: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    checks: tuple[Step, ...] = ()
    needs_all: str | None = None


class RecipeStep(Protocol):
    """One step of a recipe: an immutable value that is equal to another one with the same options."""

    @property
    def kind(self) -> str: ...

    def fit(self, rows: TrainingRows) -> FittedStep:
        """Return the step fitted to rows. Never modifies them. Raises ModelError(kind="fit") if it cannot be fitted."""
        ...

    def to_dict(self) -> dict[str, object]:
        """Return the table of the recipe that gives this step."""
        ...


class Options:
    """The base of steps that are dataclasses whose fields are named like the keys of their table."""

    __slots__ = ()
    kind: ClassVar[str]

    def to_dict(self) -> dict[str, object]:
        values: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        return {"step": self.kind, **{key: value for key, value in plain.items() if value is not None}}

"""The rows that a preparation is fitted to.

Shapes: N rows, F columns. NaN means missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Feature, Signature, Task
from forebay.models.preparation.errors import fit_error
from forebay.schemas.errors import TensorError

BoolArray = npt.NDArray[np.bool_]
ColumnChoice = str | tuple[str, ...]
"""Columns in a recipe: names, or `*` for all, `numbers` for those with numbers, `texts` for those with codes of texts."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRows:
    """Training rows as a worker codes events, after the steps until now.

    names: of the columns.
    y_N: the labels; None without labels.
    keys_N, times_N: the events' keys and times; None if the data has none.
    texts: the columns that hold codes of texts, with their features. The other columns hold numbers.
    task: what the model is to predict.
    sequences_N: which sequence a row belongs to, ascending, in a signature with windows as sequences; None if each row is
        an event or a window of its own.
    seed: for steps that draw at random.
    is_raw: whether the values are still those of the features: no step has changed them.
    """

    names: tuple[str, ...]
    x_NF: FloatArray
    y_N: npt.NDArray[Any] | None = None
    keys_N: npt.NDArray[Any] | None = None
    times_N: npt.NDArray[Any] | None = None
    texts: Mapping[str, Feature] = field(default_factory=dict)
    task: Task | None = None
    sequences_N: npt.NDArray[np.int64] | None = None
    seed: int = 0
    is_raw: bool = False

    def __post_init__(self) -> None:
        if self.x_NF.dtype != np.float32 or self.x_NF.ndim != 2 or self.x_NF.shape[1] != len(self.names):
            raise TensorError(
                f"a preparation is fitted to float32 [N, {len(self.names)}]; "
                f"this is {self.x_NF.dtype} {list(self.x_NF.shape)}",
                remedy="give the training rows as one float32 matrix, with one column for each name",
            )
        for what in ("y_N", "keys_N", "times_N", "sequences_N"):
            values_N = getattr(self, what)
            if values_N is not None and len(values_N) != len(self.x_NF):
                raise TensorError(f"{what} has {len(values_N)} values for {len(self.x_NF)} training rows")

    @classmethod
    def of(cls, signature: Signature, x_NF: FloatArray, **others: Any) -> TrainingRows:
        """Return the rows of events of a signature. others: further fields, such as `y_N`.

        Columns without a name are called `column_0`, `column_1`, …
        """
        width = x_NF.shape[1] if x_NF.ndim == 2 else 0
        names = signature.column_names
        if not names or (signature.window is not None and len(names) != width):  # or aggregates of a window
            names = tuple(f"column_{number}" for number in range(width))
        texts = {feature.name: feature for feature in signature.features if feature.is_text and feature.name in names}
        return cls(names, x_NF, texts=texts, task=signature.task, is_raw=signature.window is None, **others)

    @property
    def width(self) -> int:
        """F, the number of columns."""
        return len(self.names)

    def choose(self, choice: ColumnChoice) -> tuple[int, ...]:
        """Return the places of the chosen columns. Raises ModelError(kind="fit") for names that no column has."""
        match choice:
            case "*":
                return tuple(range(self.width))
            case "numbers":
                return tuple(place for place, name in enumerate(self.names) if name not in self.texts)
            case "texts":
                return tuple(place for place, name in enumerate(self.names) if name in self.texts)
        return tuple(self.place(name) for name in choice)

    def choose_numbers(self, choice: ColumnChoice) -> tuple[int, ...]:
        """Return the places of the chosen columns. All must hold numbers. Raises ModelError(kind="fit")."""
        places = self.choose(choice)
        if found := [self.names[place] for place in places if self.names[place] in self.texts]:
            raise fit_error(
                f"{', '.join(found)} {'hold' if len(found) > 1 else 'holds'} the codes of texts, and this step takes numbers",
                'encode texts in an earlier step, or choose columns = "numbers"',
            )
        return places

    def place(self, name: str) -> int:
        """Return the place of a column. Raises ModelError(kind="fit") if there is no such column."""
        if name not in self.names:
            near = get_close_matches(name, self.names, n=1)
            known = ", ".join(self.names[:20]) + (", …" if self.width > 20 else "")
            raise fit_error(
                f"there is no column {name!r} at this step; there are {known}",
                f"did you mean {near[0]!r}?" if near else "correct the name in the recipe",
            )
        return self.names.index(name)

    def present(self, place: int) -> npt.NDArray[np.float64]:
        """Return the values of a column that are not missing, in float64. Raises ModelError(kind="fit") for infinite ones."""
        values_N = self.x_NF[:, place]
        present_N = values_N[~np.isnan(values_N)].astype(np.float64)
        if num_infinite := int(np.isinf(present_N).sum()):
            raise fit_error(
                f"the column {self.names[place]!r} has {num_infinite} infinite values",
                'put a step "infinite" before this one, which replaces or rejects them',
            )
        return present_N

    def keep(self, keep_N: BoolArray) -> TrainingRows:
        """Return the rows for which `keep_N` is true."""

        def kept(values_N: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
            return None if values_N is None else values_N[keep_N]

        return replace(
            self,
            x_NF=self.x_NF[keep_N],
            y_N=kept(self.y_N),
            keys_N=kept(self.keys_N),
            times_N=kept(self.times_N),
            sequences_N=kept(self.sequences_N),
        )


def columns_with_any(is_NK: BoolArray) -> BoolArray:
    """Return which columns are true in any row."""
    return np.asarray(is_NK.any(axis=0))


def rows_with_any(is_NK: BoolArray) -> BoolArray:
    """Return which rows are true in any column."""
    return np.asarray(is_NK.any(axis=1))


def listed(names: Sequence[str], limit: int = 10) -> str:
    """Return names for a note: the first ones, and how many there are besides."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more

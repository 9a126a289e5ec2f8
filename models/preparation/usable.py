"""Find columns that a step cannot be fitted to: those without a value, and those with a single one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.preprocessing import Step
from forebay.models.artefacts.preprocessing.select_columns import SelectColumns
from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.recipe_step import FittedStep
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.training_rows import TrainingRows, listed

CHOICES: Final = ("refuse", "keep", "drop")
"""What becomes of a column: the recipe is refused, the column stays as the step describes, or it is removed."""


@dataclass(frozen=True, slots=True, eq=False)
class UsableColumns:
    """The columns that a step is fitted to, with their values.

    places, values: of the columns that have a value, without NaN, in float64.
    constant: which of them have a single value.
    dropped: the places of the columns that are removed.
    notes: what was found.
    """

    places: tuple[int, ...]
    values: tuple[npt.NDArray[np.float64], ...]
    constant: tuple[bool, ...]
    dropped: frozenset[int]
    notes: tuple[str, ...]


def read_choices(table: RecipeTable) -> tuple[str, str]:
    """Return the options `constant` and `empty` of a table."""
    return table.text("constant", CHOICES, default="keep"), table.text("empty", CHOICES, default="refuse")


def usable_columns(rows: TrainingRows, places: Sequence[int], *, constant: str, empty: str) -> UsableColumns:
    """Return the columns that can be fitted. Raises ModelError(kind="fit") if the options refuse one."""
    present = {place: rows.present(place) for place in places}
    without = [place for place in places if not len(present[place])]
    single = [place for place in places if len(present[place]) and present[place].min() == present[place].max()]
    notes = []
    for found, choice, what in ((without, empty, "without any value"), (single, constant, "with a single value")):
        names = listed([rows.names[place] for place in found])
        key = "empty" if found is without else "constant"
        if found and choice == "refuse":
            raise fit_error(
                f"there are columns {what} in the training rows: {names}",
                f'drop them, or set {key} = "drop" or {key} = "keep"',
            )
        if found:
            notes.append(f"{len(found)} columns {what} are {'dropped' if choice == 'drop' else 'kept'}: {names}")
    dropped = {*(without if empty == "drop" else ()), *(single if constant == "drop" else ())}
    used = tuple(place for place in places if place not in dropped and place not in without)
    return UsableColumns(
        used,
        tuple(present[place] for place in used),
        constant=tuple(place in single for place in used),
        dropped=frozenset(dropped),
        notes=tuple(notes),
    )


def finish(rows: TrainingRows, steps: Sequence[Step], usable: UsableColumns, *notes: str) -> FittedStep:
    """Return the fitted step for steps that keep the columns in their places; removes those to be dropped."""
    steps = [step for step in steps if getattr(step, "columns", (0,))]
    if not usable.dropped:
        return FittedStep(tuple(steps), rows.names, notes=(*usable.notes, *notes))
    kept = [place for place in range(rows.width) if place not in usable.dropped]
    if not kept:
        raise fit_error("no column would be left", "keep at least one column")
    return FittedStep(
        (*steps, SelectColumns(rows.width, tuple(kept))),
        tuple(rows.names[place] for place in kept),
        notes=(*usable.notes, *notes),
    )

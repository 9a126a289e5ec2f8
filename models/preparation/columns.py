"""Select, drop, rename and convert columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from forebay.models.artefacts.preprocessing import Step
from forebay.models.artefacts.preprocessing.map_values import MapValues
from forebay.models.artefacts.preprocessing.select_columns import SelectColumns
from forebay.models.artefacts.preprocessing.transform import Function
from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.training_rows import ColumnChoice, TrainingRows

_ROUNDINGS: Final = {"integer": "trunc", "rounded": "rint", "floor": "floor"}


@dataclass(frozen=True, slots=True)
class SelectColumnsStep(Options):
    """Keeps the chosen columns, in the given order."""

    kind: ClassVar[str] = "select_columns"
    columns: ColumnChoice

    @classmethod
    def read(cls, table: RecipeTable) -> SelectColumnsStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns"))
        return cls(table.columns())

    def fit(self, rows: TrainingRows) -> FittedStep:
        return keep_columns(rows, rows.choose(self.columns))


@dataclass(frozen=True, slots=True)
class DropColumnsStep(Options):
    """Removes the chosen columns."""

    kind: ClassVar[str] = "drop_columns"
    columns: ColumnChoice

    @classmethod
    def read(cls, table: RecipeTable) -> DropColumnsStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns"))
        return cls(table.columns())

    def fit(self, rows: TrainingRows) -> FittedStep:
        dropped = set(rows.choose(self.columns))
        return keep_columns(rows, [place for place in range(rows.width) if place not in dropped])


@dataclass(frozen=True, slots=True)
class RenameStep:
    """Gives columns other names. names: pairs of the old and the new one."""

    kind: ClassVar[str] = "rename"
    names: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, table: RecipeTable) -> RenameStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "names"))
        names = table.table("names")
        if not names.keys():
            table.fail("names", 'a table of old and new names, such as { old = "new" }')
        old = names.keys()
        return cls(tuple((key, names.text(key)) for key in old))

    def fit(self, rows: TrainingRows) -> FittedStep:
        new = {rows.names[rows.place(old)]: name for old, name in self.names}
        names = tuple(new.get(name, name) for name in rows.names)
        return FittedStep((), names, texts={new.get(name, name): feature for name, feature in rows.texts.items()})

    def to_dict(self) -> dict[str, object]:
        return {"step": self.kind, "names": dict(self.names)}


@dataclass(frozen=True, slots=True)
class CastStep(Options):
    """Converts numbers. A missing value stays missing.

    to: `integer`: without the fraction; `rounded`: to the nearest integer, halves to the even one; `floor`: to the integer
        below; `boolean`: 0 stays 0, and all else becomes 1.
    """

    kind: ClassVar[str] = "cast"
    to: str
    columns: ColumnChoice = "numbers"

    @classmethod
    def read(cls, table: RecipeTable) -> CastStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "to", "columns"))
        return cls(table.text("to", (*_ROUNDINGS, "boolean")), table.columns(default="numbers"))

    def fit(self, rows: TrainingRows) -> FittedStep:
        columns = rows.choose_numbers(self.columns)
        step: Step
        if self.to == "boolean":
            count = len(columns)
            step = MapValues(
                rows.width,
                columns,
                keys=((0.0,),) * count,
                values=((0.0,),) * count,
                missing=(None,) * count,
                unknown=(1.0,) * count,
            )
        else:
            step = Function(rows.width, columns, _ROUNDINGS[self.to])
        return FittedStep((step,), rows.names)


def keep_columns(rows: TrainingRows, places: Sequence[int], *notes: str) -> FittedStep:
    """Return the fitted step that keeps these columns, in this order."""
    if not places:
        raise fit_error("no column would be left", "keep at least one column")
    names = tuple(rows.names[place] for place in places)
    steps = () if tuple(places) == tuple(range(rows.width)) else (SelectColumns(rows.width, tuple(places)),)
    return FittedStep(steps, names, notes=notes)

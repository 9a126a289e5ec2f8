"""Leave texts as codes, for which the net learns vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from forebay.models.artefacts.preprocessing import Impute
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.text_steps import choose_texts
from forebay.models.preparation.training_rows import ColumnChoice, TrainingRows

MAX_WIDTH = 1_024


@dataclass(frozen=True, slots=True)
class EmbeddingStep(Options):
    """Leaves codes as they are; the net learns a vector for each, and one for missing texts.

    width: of the vectors; None for the 1.6 × (number of codes)^0.56 that is usual, at most 64.
    """

    kind: ClassVar[str] = "embedding"
    columns: ColumnChoice = "texts"
    width: int | None = None

    @classmethod
    def read(cls, table: RecipeTable) -> EmbeddingStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "width"))
        width = table.integer("width", 1) if table.has("width") else None
        if width is not None and width > MAX_WIDTH:
            table.fail("width", f"a whole number from 1 to {MAX_WIDTH}")
        return cls(table.columns(default="texts"), width)

    def fit(self, rows: TrainingRows) -> FittedStep:
        places = choose_texts(rows, self.columns)
        sizes = [rows.texts[rows.names[place]].num_codes for place in places]
        widths = [min(64, int(np.ceil(1.6 * size**0.56))) if self.width is None else self.width for size in sizes]
        # A missing text is the code after all others.
        step = Impute(rows.width, places, tuple(map(float, sizes)))
        return FittedStep(
            (step,) if places else (),
            rows.names,
            notes=tuple(
                f"{rows.names[place]}: {size + 1} vectors of {width} values"
                for place, size, width in zip(places, sizes, widths, strict=True)
            ),
            embeddings={
                rows.names[place]: (size, width) for place, size, width in zip(places, sizes, widths, strict=True)
            },
        )

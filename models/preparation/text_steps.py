"""Encode texts as numbers: one column for each text, its code, how frequent it is, or rare ones together.

The columns hold codes of texts, as the signature gives them (see `models.artefacts.text_codes`). Shapes: N rows, K codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.preprocessing import OneHot
from forebay.models.artefacts.preprocessing.map_values import MapValues
from forebay.models.artefacts.signature import Feature
from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.training_rows import ColumnChoice, TrainingRows, listed

MAX_ONE_HOT: Final = 10_000
"""A text with more codes makes too many columns."""
MAX_TABLE: Final = 100_000
"""The most codes in a table of a manifest."""


def choose_texts(rows: TrainingRows, choice: ColumnChoice) -> tuple[int, ...]:
    """Return the places of the chosen columns. All must hold codes of texts. Raises ModelError(kind="fit")."""
    places = rows.choose(choice)
    if found := [rows.names[place] for place in places if rows.names[place] not in rows.texts]:
        raise fit_error(
            f"{listed(found)} {'hold' if len(found) > 1 else 'holds'} numbers, and this step takes texts",
            'choose columns = "texts", or declare the type in [data] types',
        )
    return places


def feature_of(rows: TrainingRows, place: int) -> Feature:
    """Return the feature of a column of codes. Raises ModelError(kind="fit") if a table of its codes would be too long."""
    feature = rows.texts[rows.names[place]]
    if feature.num_codes > MAX_TABLE:
        raise fit_error(
            f"{feature.name!r} has {feature.num_codes} codes; allowed here are at most {MAX_TABLE}",
            "use fewer buckets in [data]",
        )
    return feature


def code_names(feature: Feature) -> tuple[str, ...]:
    """Return a name for each code: the text, `other`, or the number of the bucket."""
    if feature.dtype == "hashed":
        return tuple(f"#{bucket}" for bucket in range(feature.buckets))
    names = feature.categories
    if not feature.other:
        return names
    other = "other"
    while other in names:
        other += "_"
    return (*names, other)


def counts_of(rows: TrainingRows, place: int, num_codes: int) -> npt.NDArray[np.int64]:
    """Return how many rows have each code [K]."""
    codes_N = rows.x_NF[:, place]
    counts: npt.NDArray[np.int64] = np.bincount(codes_N[~np.isnan(codes_N)].astype(np.int64), minlength=num_codes)
    return counts


def map_codes(
    rows: TrainingRows,
    places: Sequence[int],
    values: Sequence[Sequence[float | None]],
    *,
    missing: Sequence[float | None],
    unknown: Sequence[float | None],
) -> MapValues:
    """Return the step that replaces code k of column `places[i]` by `values[i][k]`."""
    return MapValues(
        rows.width,
        tuple(places),
        keys=tuple(tuple(map(float, range(len(own)))) for own in values),
        values=tuple(map(tuple, values)),
        missing=tuple(missing),
        unknown=tuple(unknown),
    )


def without(rows: TrainingRows, places: Sequence[int]) -> dict[str, Feature]:
    """Return the columns of codes, except those at `places`: they hold numbers after the step."""
    numbers = {rows.names[place] for place in places}
    return {name: feature for name, feature in rows.texts.items() if name not in numbers}


@dataclass(frozen=True, slots=True)
class OneHotStep(Options):
    """Replaces each column by one column for each text, which is 1 where the row has it. A missing text is all zeros."""

    kind: ClassVar[str] = "one_hot"
    columns: ColumnChoice = "texts"

    @classmethod
    def read(cls, table: RecipeTable) -> OneHotStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns"))
        return cls(table.columns(default="texts"))

    def fit(self, rows: TrainingRows) -> FittedStep:
        places = choose_texts(rows, self.columns)
        if not places:
            return FittedStep((), rows.names)
        features = [feature_of(rows, place) for place in places]
        for feature in features:
            if feature.num_codes > MAX_ONE_HOT:
                raise fit_error(
                    f"{feature.name!r} would become {feature.num_codes} columns, one for each code; allowed are at most "
                    f"{MAX_ONE_HOT}",
                    'put a step "rare" before this one, or use "target" or "frequency"',
                )
        names = [name for place, name in enumerate(rows.names) if place not in places]
        for place, feature in zip(places, features, strict=True):
            names += [f"{rows.names[place]}={text}" for text in code_names(feature)]
        sizes = tuple(feature.num_codes for feature in features)
        return FittedStep(
            (OneHot(rows.width, places, sizes),),
            tuple(names),
            notes=(f"{len(places)} texts become {sum(sizes)} columns",),
            texts=without(rows, places),
        )


@dataclass(frozen=True, slots=True)
class LabelStep(Options):
    """Makes numbers of codes: the place of a text in `order`, or its code (the place in the sorted texts).

    unknown: `code` gives a text that is not in the order the next number, `missing` makes it missing.
    """

    kind: ClassVar[str] = "label"
    columns: ColumnChoice = "texts"
    order: tuple[str, ...] | None = None
    unknown: str = "code"

    @classmethod
    def read(cls, table: RecipeTable) -> LabelStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "order", "unknown"))
        return cls(
            table.columns(default="texts"),
            table.texts("order") if table.has("order") else None,
            table.text("unknown", ("code", "missing"), default="code"),
        )

    def fit(self, rows: TrainingRows) -> FittedStep:
        places = choose_texts(rows, self.columns)
        tables = [self._table(feature_of(rows, place)) for place in places]
        own = [None if self.unknown == "missing" else float(len(table)) for table in tables]
        step = map_codes(rows, places, tables, missing=[None] * len(places), unknown=own)
        return FittedStep((step,) if places else (), rows.names, texts=without(rows, places))

    def _table(self, feature: Feature) -> list[float | None]:
        if feature.dtype == "hashed" and self.order is not None:
            raise fit_error(f"{feature.name!r} is hashed, so its texts have no order", "declare it as a category")
        if self.order is None:
            places: list[float | None] = [float(code) for code in range(feature.num_codes)]
            if feature.other and self.unknown == "missing":
                places[-1] = None
            return places
        if unknown := [text for text in self.order if text not in feature.categories]:
            raise fit_error(f"order has {unknown[0]!r}, which {feature.name!r} does not have", "correct the order")
        rank = {text: float(place) for place, text in enumerate(self.order)}
        rest = None if self.unknown == "missing" else float(len(self.order))
        return [rank.get(text, rest) for text in feature.categories] + ([rest] if feature.other else [])


@dataclass(frozen=True, slots=True)
class FrequencyStep(Options):
    """Replaces a text by its share (or count) in the training rows. A missing or unknown text counts as a text of its own."""

    kind: ClassVar[str] = "frequency"
    columns: ColumnChoice = "texts"
    value: str = "share"

    @classmethod
    def read(cls, table: RecipeTable) -> FrequencyStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "value"))
        return cls(table.columns(default="texts"), table.text("value", ("share", "count"), default="share"))

    def fit(self, rows: TrainingRows) -> FittedStep:
        places = choose_texts(rows, self.columns)
        num_rows = len(rows.x_NF)
        divisor = num_rows if self.value == "share" else 1
        tables, missing = [], []
        for place in places:
            counts = counts_of(rows, place, feature_of(rows, place).num_codes)
            tables.append((counts / divisor).tolist())
            missing.append((num_rows - int(counts.sum())) / divisor)
        step = map_codes(rows, places, tables, missing=missing, unknown=[0.0] * len(places))
        return FittedStep((step,) if places else (), rows.names, texts=without(rows, places))


@dataclass(frozen=True, slots=True)
class RareStep(Options):
    """Gives all texts that few training rows have one code, `other`, which unknown texts get, too.

    min_share, min_count: a text is rare below one of them.
    """

    kind: ClassVar[str] = "rare"
    columns: ColumnChoice = "texts"
    min_share: float | None = None
    min_count: int | None = None

    @classmethod
    def read(cls, table: RecipeTable) -> RareStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "min_share", "min_count"))
        if not table.has("min_share") and not table.has("min_count"):
            raise table.error("min_share or min_count must be given")
        share = table.number("min_share", minimum=0, maximum=1) if table.has("min_share") else None
        count = table.integer("min_count", 1) if table.has("min_count") else None
        return cls(table.columns(default="texts"), share, count)

    def fit(self, rows: TrainingRows) -> FittedStep:
        places = choose_texts(rows, self.columns)
        texts = dict(rows.texts)
        tables, notes = [], []
        least = max(self.min_count or 0, (self.min_share or 0.0) * len(rows.x_NF))
        for place in places:
            feature = feature_of(rows, place)
            counts = counts_of(rows, place, feature.num_codes)
            names = code_names(feature)
            is_kept = (counts >= least) & (counts > 0)
            if feature.other:
                is_kept[-1] = False
            kept = np.flatnonzero(is_kept).tolist()
            new_code = {code: float(number) for number, code in enumerate(kept)}
            tables.append([new_code.get(code, float(len(kept))) for code in range(feature.num_codes)])
            if not kept:
                raise fit_error(f"all texts of {feature.name!r} are rare", "lower the limit, or drop the column")
            texts[rows.names[place]] = replace(
                feature, dtype="category", categories=tuple(names[code] for code in kept), buckets=0, other=True
            )
            notes.append(f"{rows.names[place]}: {feature.num_codes - len(kept)} of {feature.num_codes} codes are rare")
        step = map_codes(
            rows,
            places,
            tables,
            missing=[None] * len(places),
            unknown=[max(table) for table in tables],
        )
        return FittedStep((step,) if places else (), rows.names, notes=tuple(notes), texts=texts)

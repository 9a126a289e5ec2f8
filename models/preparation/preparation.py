"""The preparation of a recipe: its steps in order, and what they give when they are fitted.

Shapes: N training rows, K of them kept; F columns before a step, G after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.preprocessing import Preprocessing, Step
from forebay.models.artefacts.preprocessing.pipeline import CHECKS
from forebay.models.artefacts.signature import Feature
from forebay.models.preparation.catalogue import STEPS
from forebay.models.preparation.errors import fit_error, recipe_error
from forebay.models.preparation.recipe_step import FittedStep, RecipeStep
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.training_rows import BoolArray, TrainingRows, columns_with_any, listed
from forebay.schemas.errors import ModelError


@dataclass(frozen=True, slots=True, eq=False)
class FittedPreparation:
    """A preparation that was fitted to training rows.

    preprocessing: the frozen steps, for the artefact.
    names: of the columns after the last step.
    keep_N: which of the given rows are training rows.
    x_KG: the prepared training rows: what `preprocessing` gives for the kept rows, except where a step is cross-fitted.
    notes: what the training report says of each step, with its place in the recipe.
    required: the names of the features that must have a value.
    embeddings: triples of a column, its number of codes and the width of the vectors that the net learns for them.
    codes: the names of the other columns that hold codes of texts, which no step encoded.
    of_training: what prepares training rows that it was not fitted to: `preprocessing`, and checks that reject what is dropped.
    """

    preprocessing: Preprocessing
    names: tuple[str, ...]
    keep_N: BoolArray
    x_KG: FloatArray
    notes: tuple[str, ...]
    required: frozenset[str]
    of_training: Preprocessing
    embeddings: tuple[tuple[int, int, int], ...] = ()
    codes: tuple[str, ...] = ()

    def features(self, features: Sequence[Feature]) -> tuple[Feature, ...]:
        """Return the features of the signature: those that must have a value are not nullable."""
        return tuple(
            replace(feature, nullable=False) if self.required.intersection(feature.columns) else feature
            for feature in features
        )


@dataclass(frozen=True, slots=True)
class Preparation:
    """The steps of a recipe, in order. place: of the recipe in messages, such as its file name."""

    steps: tuple[RecipeStep, ...] = ()
    place: str = field(default="recipe", compare=False)

    def fit(self, rows: TrainingRows, *, all_rows: int | None = None) -> FittedPreparation:
        """Return the preparation fitted to rows, each step to what the steps before it gave. Never modifies the rows.

        all_rows: how many training rows there are, if these are some of them.

        Raises ModelError(kind="fit") that names the step and the column, also for steps that need all training rows.
        """
        keep_N = np.ones(len(rows.x_NF), dtype=np.bool_)
        frozen: list[Step] = []
        of_training: list[Step] = []
        notes: list[str] = []
        required: frozenset[str] = frozenset()
        embeddings: dict[str, tuple[int, int]] = {}
        for index, step in enumerate(self.steps):
            place = f"{self.place}: prepare[{index}] ({step.kind})"
            try:
                _check_rows(rows)
                fitted = step.fit(rows)
                if fitted.needs_all is not None and all_rows is not None:
                    raise fit_error(
                        f"{fitted.needs_all}, and it is given {len(keep_N):,} of {all_rows:,}",
                        f"set training.fit_rows = {all_rows}, which holds all of them in memory, or leave the step out",
                    )
                rows = _apply(fitted, rows)
            except ModelError as error:
                raise ModelError(f"{place}: {error.message}", kind=error.kind, remedy=error.remedy) from None
            if fitted.keep_N is not None:
                keep_N[keep_N] = fitted.keep_N
            frozen += fitted.steps
            of_training += [*fitted.checks, *fitted.steps]
            notes += [f"{place}: {note}" for note in fitted.notes]
            required |= fitted.required
            embeddings |= fitted.embeddings
        try:
            preprocessing, training = Preprocessing(tuple(frozen)), Preprocessing(tuple(of_training))
        except ModelError as error:
            raise fit_error(f"{self.place}: {error.message}", "use fewer steps, each for more columns") from None
        _check_result(rows, self.place)
        if num_missing := int(np.isnan(rows.x_NF).sum()):
            found = listed([name for name, x_K in zip(rows.names, rows.x_NF.T, strict=True) if np.isnan(x_K).any()])
            notes.append(f"{self.place}: {num_missing} values of the prepared rows are missing: {found}")
        return FittedPreparation(
            preprocessing,
            rows.names,
            keep_N=keep_N,
            x_KG=rows.x_NF,
            notes=tuple(notes),
            required=required,
            of_training=training,
            embeddings=_embeddings(embeddings, rows, self.place),
            codes=tuple(name for name in rows.names if name in rows.texts and name not in embeddings),
        )

    def to_dict(self) -> list[dict[str, object]]:
        """Return the tables `[[prepare]]` of the recipe, with every option."""
        return [step.to_dict() for step in self.steps]


def read_preparation(tables: object, place: str) -> Preparation:
    """Return the preparation in the tables `[[prepare]]` of a recipe.

    place: of the recipe in messages, such as its file name.

    Raises ModelError(kind="recipe") that names the place, what was found and what is allowed.
    """
    if not isinstance(tables, list | tuple):
        raise recipe_error(f"{place}: prepare is {tables!r:.80}; allowed is a list of tables: [[prepare]]")
    steps = []
    for index, values in enumerate(tables):
        table = RecipeTable(values, f"{place}: prepare[{index}]")
        steps.append(STEPS[table.text("step", STEPS.keys())](table))
    return Preparation(tuple(steps), place)


def _check_rows(rows: TrainingRows) -> None:
    if not len(rows.x_NF):
        raise fit_error("no training row is left", "check the data, or the earlier steps that drop rows")


def _embeddings(
    wanted: Mapping[str, tuple[int, int]], rows: TrainingRows, place: str
) -> tuple[tuple[int, int, int], ...]:
    """Return the triples of columns that still hold codes after the last step."""
    if changed := [name for name in wanted if name not in rows.texts or rows.texts[name].num_codes != wanted[name][0]]:
        raise fit_error(
            f"{place}: a step after embedding changes or drops {listed(changed)}", "put the step embedding last"
        )
    return tuple((rows.names.index(name), size, width) for name, (size, width) in wanted.items())


def _check_result(rows: TrainingRows, place: str) -> None:
    is_infinite_F = columns_with_any(np.isinf(rows.x_NF))
    if is_infinite_F.any():
        found = listed([name for name, some in zip(rows.names, is_infinite_F, strict=True) if some])
        raise fit_error(f"{place}: the prepared rows have infinite values: {found}", 'add a step "infinite"')
    if not len(rows.x_NF):
        raise fit_error(f"{place}: no training row is left", "check the data, or the steps that drop rows")


def _apply(fitted: FittedStep, rows: TrainingRows) -> TrainingRows:
    """Return the kept rows after a fitted step."""
    x_NG = fitted.x_NG
    if fitted.keep_N is not None:
        rows = rows.keep(fitted.keep_N)
        x_NG = None if x_NG is None else x_NG[fitted.keep_N]
    if x_NG is None:
        x_NG = rows.x_NF
        if fitted.steps:
            x_NG = Preprocessing(fitted.steps).apply(rows.x_NF, sequences_B=rows.sequences_N)
    twice = {name for name, count in Counter(fitted.names).items() if count > 1}
    if twice:
        raise fit_error(
            f"two columns would be called {', '.join(sorted(twice))}", "rename or drop one of them in a step before it"
        )
    # A step must not create infinite values, which no later step can use.
    before, after = int(np.isinf(rows.x_NF).sum()), np.isinf(x_NG).sum(axis=0)
    if after.sum() > before:
        worst = fitted.names[int(after.argmax())]
        raise fit_error(
            f"the column {worst!r} becomes infinite in {int(after.max())} training rows",
            "limit its values with a step clip before this one",
        )
    texts = rows.texts if fitted.texts is None else fitted.texts
    texts = {name: feature for name, feature in texts.items() if name in fitted.names}
    is_raw = rows.is_raw and fitted.names == rows.names and all(isinstance(step, CHECKS) for step in fitted.steps)
    return replace(rows, names=fitted.names, x_NF=x_NG, texts=texts, is_raw=is_raw)

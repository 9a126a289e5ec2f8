"""Replace texts by the mean of the label in the training rows that have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from forebay.models.artefacts.preprocessing import Step
from forebay.models.artefacts.preprocessing.select_columns import SelectColumns
from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.text_steps import MAX_ONE_HOT, MAX_TABLE, choose_texts, feature_of, map_codes, without
from forebay.models.preparation.training_rows import ColumnChoice, TrainingRows


@dataclass(frozen=True, slots=True)
class TargetStep(Options):
    """Replaces a text by the mean label of the rows that have it, drawn towards the mean of all rows.

    A training row gets the mean of the other parts of the rows (cross-fitting), so that its own label is not in its value. A
    worker gets the mean of all training rows, and the mean of all labels for a text that no training row has. With several
    classes there is one column for each, at the end: the share of the class instead of the mean label.

    smooth: how many rows of the mean of all are added; None for a number from the variances (empirical Bayes).
    cv: the number of parts.
    """

    kind: ClassVar[str] = "target"
    columns: ColumnChoice = "texts"
    smooth: float | None = None
    cv: int = 5

    @classmethod
    def read(cls, table: RecipeTable) -> TargetStep:
        """Return the step in a table of a recipe."""
        table.reject_unknown_keys(("step", "columns", "smooth", "cv"))
        smooth = table.number("smooth", minimum=0) if table.has("smooth") else None
        return cls(table.columns(default="texts"), smooth, table.integer("cv", 2, default=5))

    def fit(self, rows: TrainingRows) -> FittedStep:
        if rows.sequences_N is not None:
            raise fit_error(
                "the label of a sequence would be in the values of its own events",
                'use "one_hot", "frequency" or "embedding", or leave out the windows',
            )
        places = choose_texts(rows, self.columns)
        if not places:
            return FittedStep((), rows.names)
        labels_N = _labels(rows)
        if len(labels_N) < self.cv:
            raise fit_error(f"there are {len(labels_N)} training rows for {self.cv} parts", "lower cv")
        # Numbers of classes in ascending order; one column of labels as they are for values and two classes.
        classes = np.unique(labels_N) if rows.task == "multiclass" else None
        targets_NC = labels_N[:, None] if classes is None else (labels_N[:, None] == classes).astype(np.float64)
        num_targets = targets_NC.shape[1]
        # A missing text is a text of its own: the code -1, which no text has.
        codes_NK = np.where(np.isnan(rows.x_NF[:, list(places)]), -1, rows.x_NF[:, list(places)]).astype(np.int64)
        tables, missing = _tables(rows, places, _fitted(codes_NK, targets_NC, self.smooth), num_targets)
        crossed_NM = np.empty((len(codes_NK), len(tables)))
        for others, part in _parts(labels_N, self.cv, rows, is_class=rows.task != "regression"):
            crossed_NM[part] = _fitted(codes_NK[others], targets_NC[others], self.smooth)(codes_NK[part])
        steps: tuple[Step, ...] = ()
        encoded, columns = rows, places
        note = f"the mean label is {labels_N.mean():.6g}"
        if classes is not None:
            repeat, encoded, columns = _repeated(rows, places, classes.astype(int).tolist())
            steps = (repeat,)
            note = f"{len(places)} texts become {len(columns)} columns, one for each of {num_targets} classes"
        x_NG = encoded.x_NF.copy()
        x_NG[:, list(columns)] = crossed_NM
        unknown = targets_NC.mean(axis=0).tolist() * len(places)
        return FittedStep(
            (*steps, map_codes(encoded, columns, tables, missing=missing, unknown=unknown)),
            encoded.names,
            notes=(f"{note}; training rows are encoded in {self.cv} parts",),
            texts=without(rows, places),
            x_NG=x_NG,
        )


def _repeated(
    rows: TrainingRows, places: Sequence[int], classes: Sequence[int]
) -> tuple[SelectColumns, TrainingRows, tuple[int, ...]]:
    """Return the step that puts copies of columns, one for each class, at the end; what it gives; the places of the copies."""
    if len(places) * len(classes) > MAX_ONE_HOT:
        raise fit_error(
            f"{len(places)} texts would become {len(places) * len(classes)} columns, one for each of {len(classes)} classes; "
            f"allowed are at most {MAX_ONE_HOT}",
            'use "frequency", or choose fewer columns',
        )
    kept = [place for place in range(rows.width) if place not in places]
    copies = [place for place in places for _ in classes]
    names = [rows.names[place] for place in kept]
    names += [f"{rows.names[place]}_class_{number}" for place in places for number in classes]
    repeat = SelectColumns(rows.width, (*kept, *copies))
    return repeat, replace(rows, names=tuple(names), x_NF=repeat.apply(rows.x_NF)), tuple(range(len(kept), len(names)))


def _tables(
    rows: TrainingRows, places: Sequence[int], encode: Callable[[Any], Any], num_targets: int
) -> tuple[list[list[float]], list[float]]:
    """Return the values of all codes, and those of a missing text, of each column and target."""
    tables, missing = [], []
    for index, place in enumerate(places):
        feature = feature_of(rows, place)
        if feature.num_codes * num_targets > MAX_TABLE:
            raise fit_error(
                f"{feature.name!r} has {feature.num_codes} codes for {num_targets} classes; allowed here are at most "
                f"{MAX_TABLE} values",
                'put a step "rare" before this one, or use "frequency"',
            )
        # All codes of one column in one table; other columns have any code.
        probe_CK = np.full((feature.num_codes + 1, len(places)), -1, dtype=np.int64)
        probe_CK[:-1, index] = np.arange(feature.num_codes)
        for values in encode(probe_CK)[:, index * num_targets : (index + 1) * num_targets].T.tolist():
            tables.append(values[:-1])
            missing.append(values[-1])
    return tables, missing


def _fitted(codes_NK: Any, targets_NC: Any, smooth: float | None) -> Callable[[Any], Any]:
    """Return the function from codes [N, K] to the means of the targets [N, K * C], those of one column side by side."""
    try:
        from sklearn.preprocessing import TargetEncoder
    except ImportError:
        raise fit_error("target encoding needs scikit-learn", "pip install 'forebay[training]'") from None
    # Classes are the values 0 and 1: a part of the rows may have one class only, which scikit-learn would number 0.
    smooth_rows = "auto" if smooth is None else smooth
    encoders = [
        TargetEncoder(target_type="continuous", smooth=smooth_rows).fit(codes_NK, np.ascontiguousarray(target_N))
        for target_N in targets_NC.T
    ]

    def encode(others_NK: Any) -> Any:
        return np.stack([encoder.transform(others_NK) for encoder in encoders], axis=2).reshape(len(others_NK), -1)

    return encode


def _parts(labels_N: Any, cv: int, rows: TrainingRows, *, is_class: bool) -> Iterator[tuple[Any, Any]]:
    """Yield the row numbers of all other parts and of a part. Parts have the same share of each class where they can."""
    from sklearn.model_selection import KFold, StratifiedKFold

    counts = np.unique(labels_N, return_counts=True)[1]
    kind = StratifiedKFold if is_class and counts.min() >= cv else KFold
    yield from kind(cv, shuffle=True, random_state=rows.seed).split(rows.x_NF, labels_N)


def _labels(rows: TrainingRows) -> Any:
    if rows.y_N is None:
        raise fit_error("target encoding needs labels", "give data.label")
    labels_N = np.asarray(rows.y_N, dtype=np.float64).reshape(len(rows.x_NF), -1)[:, 0]
    if not np.isfinite(labels_N).all():
        raise fit_error("some labels are missing or infinite", "leave out rows without a label")
    return labels_N

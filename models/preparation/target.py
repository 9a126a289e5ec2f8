"""Replace texts by the mean of the label in the training rows that have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from forebay.models.preparation.errors import fit_error
from forebay.models.preparation.recipe_step import FittedStep, Options
from forebay.models.preparation.recipe_table import RecipeTable
from forebay.models.preparation.text_steps import choose_texts, feature_of, map_codes, without
from forebay.models.preparation.training_rows import ColumnChoice, TrainingRows


@dataclass(frozen=True, slots=True)
class TargetStep(Options):
    """Replaces a text by the mean label of the rows that have it, drawn towards the mean of all rows.

    A training row gets the mean of the other parts of the rows (cross-fitting), so that its own label is not in its value. A
    worker gets the mean of all training rows, and the mean of all labels for a text that no training row has.

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
        # A missing text is a text of its own: the code -1, which no text has.
        codes_NK = np.where(np.isnan(rows.x_NF[:, list(places)]), -1, rows.x_NF[:, list(places)]).astype(np.int64)
        encode = _fitted(codes_NK, labels_N, self.smooth)
        tables, missing = [], []
        for index, place in enumerate(places):
            # All codes of one column in one table; other columns have any code.
            num_codes = feature_of(rows, place).num_codes
            probe_CK = np.full((num_codes + 1, len(places)), -1, dtype=np.int64)
            probe_CK[:num_codes, index] = np.arange(num_codes)
            values = encode(probe_CK)[:, index].tolist()
            tables.append(values[:-1])
            missing.append(values[-1])
        mean = float(labels_N.mean())
        crossed_NK = np.empty(codes_NK.shape)
        for others, part in _parts(labels_N, self.cv, rows, is_class=rows.task == "binary"):
            crossed_NK[part] = _fitted(codes_NK[others], labels_N[others], self.smooth)(codes_NK[part])
        x_NG = rows.x_NF.copy()
        x_NG[:, list(places)] = crossed_NK
        return FittedStep(
            (map_codes(rows, places, tables, missing=missing, unknown=[mean] * len(places)),),
            rows.names,
            notes=(f"the mean label is {mean:.6g}; training rows are encoded in {self.cv} parts",),
            texts=without(rows, places),
            x_NG=x_NG,
        )


def _fitted(codes_NK: Any, labels_N: Any, smooth: float | None) -> Callable[[Any], Any]:
    """Return the function from codes to the means of labels."""
    try:
        from sklearn.preprocessing import TargetEncoder
    except ImportError:
        raise fit_error("target encoding needs scikit-learn", "pip install 'forebay[training]'") from None
    # Two classes are the values 0 and 1: with one class only, scikit-learn would number it 0.
    encoder = TargetEncoder(target_type="continuous", smooth="auto" if smooth is None else smooth)
    encode: Callable[[Any], Any] = encoder.fit(codes_NK, labels_N).transform
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
    if rows.task == "multiclass":
        raise fit_error("target encoding takes values or two classes as the label", 'use "one_hot" or "frequency"')
    labels_N = np.asarray(rows.y_N, dtype=np.float64).reshape(len(rows.x_NF), -1)[:, 0]
    if not np.isfinite(labels_N).all():
        raise fit_error("some labels are missing or infinite", "leave out rows without a label")
    return labels_N

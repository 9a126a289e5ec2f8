"""Fit the preparation of a recipe to training rows, and apply it to all rows.

Shapes: N rows, F features, G columns after preprocessing, R rows that it is fitted to, K of them kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.preparation import prepare, prepared_width
from forebay.models.artefacts.preprocessing import Preprocessing, RowsRejected
from forebay.models.artefacts.signature import Signature
from forebay.models.preparation.preparation import read_preparation
from forebay.models.preparation.training_rows import TrainingRows
from forebay.models.training.fit import fit_preprocessing
from forebay.models.training.recipe import Recipe
from forebay.models.training.row_files import row_blocks, write_rows
from forebay.models.training.table_coding import CodedTable

_ENCODE: Final = 'encode them, such as by the step "one_hot", "target" or "embedding"'


@dataclass(frozen=True, slots=True, eq=False)
class RecipePreparation:
    """A preparation that was fitted to rows of a table.

    signature: with the features that must have a value.
    names: of the columns after the last step.
    of_training: prepares training rows that the preparation was not fitted to, and rejects those that a step drops.
    keep_R, x_KG: the rows that are trained on, and what the preparation gives for them; None for sequences, and where no step
        decides about it.
    embeddings: triples of a column, its number of codes and the width of the vectors that a net learns for them.
    """

    signature: Signature
    preprocessing: Preprocessing
    names: tuple[str, ...]
    of_training: Preprocessing
    notes: tuple[str, ...] = ()
    keep_R: npt.NDArray[np.bool_] | None = None
    x_KG: FloatArray | None = None
    embeddings: tuple[tuple[int, int, int], ...] = ()


def fit_preparation(
    recipe: Recipe, table: CodedTable, rows: npt.NDArray[np.int64], *, all_rows: int | None = None
) -> RecipePreparation:
    """Return the recipe's steps fitted to rows of the table. all_rows: the number of training rows, if these are some of them.

    Without steps, nets get the usual three: missing numbers become the median, numbers are standardised, texts are one-hot
    encoded; trees take the rows as they are. Raises ModelError(kind="fit") that names the step and the column.
    """
    signature = table.signature
    names = signature.column_names
    if not recipe.prepare and not recipe.model.is_net:
        nothing = Preprocessing.identity()
        return RecipePreparation(signature, nothing, names, of_training=nothing)
    x_RF, event_rows = events_of(table, rows)
    if not recipe.prepare:
        preprocessing = fit_preprocessing(signature, x_RF, impute="median")
        return RecipePreparation(signature, preprocessing, _usual_names(signature), of_training=preprocessing)
    y_N, keys_N, times_N = (
        None if values is None else np.asarray(values[event_rows])
        for values in (table.y_N, table.keys_N, table.times_N)
    )
    training = TrainingRows.of(
        signature,
        x_RF,
        y_N=y_N,
        keys_N=keys_N,
        times_N=times_N,
        sequences_N=None if signature.window is None else np.searchsorted(rows, event_rows),
        seed=recipe.training.seed,
    )
    fitted = read_preparation(list(recipe.prepare), "recipe").fit(training, all_rows=all_rows)
    notes = fitted.notes
    if fitted.codes and recipe.model.is_net:
        notes += (f"{', '.join(fitted.codes)}: a net takes the codes of texts as numbers; {_ENCODE}",)
    is_single = signature.window is None
    return RecipePreparation(
        replace(signature, features=fitted.features(signature.features)),
        fitted.preprocessing,
        fitted.names,
        of_training=fitted.of_training,
        notes=notes,
        keep_R=fitted.keep_N if is_single else None,
        x_KG=fitted.x_KG if is_single else None,
        embeddings=fitted.embeddings,
    )


def prepare_rows(
    table: CodedTable, preprocessing: Preprocessing, rows: npt.NDArray[np.int64], path: Path
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return the rows that a worker does not reject, and what the preparation gives for them, in a file at `path`."""
    signature = table.signature
    width = prepared_width(signature, preprocessing)
    keep_N = np.empty(len(rows), dtype=np.bool_)

    def blocks() -> Iterator[FloatArray]:
        for part in row_blocks(len(rows), max(width, signature.row_width)):
            keep_N[part], x_bG = _prepared(signature, preprocessing, np.ascontiguousarray(table.x_NF[rows[part]]))
            yield x_bG

    x_NG = write_rows(path, width, blocks())
    return _kept(rows, keep_N), x_NG


def prepare_training_rows(
    table: CodedTable,
    fitted: RecipePreparation,
    rows: npt.NDArray[np.int64],
    fit_rows: npt.NDArray[np.int64],
    path: Path,
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return the training rows that no step drops, and what they are trained as, in a file at `path`.

    fit_rows: those of them that the preparation was fitted to, ascending as all rows are. What cross-fitted steps give for them
        is not what they give for other rows, whose labels they have not seen.
    """
    if fitted.keep_R is None or fitted.x_KG is None:
        return prepare_rows(table, fitted.of_training, rows, path)
    if len(fit_rows) == len(rows):
        return rows[fitted.keep_R], write_rows(path, fitted.x_KG.shape[1], [fitted.x_KG])
    signature, width = table.signature, fitted.x_KG.shape[1]
    is_fit_N = np.zeros(len(rows), dtype=np.bool_)
    is_fit_N[np.searchsorted(rows, fit_rows)] = True
    keep_N = np.empty(len(rows), dtype=np.bool_)
    keep_N[is_fit_N] = fitted.keep_R
    x_KG = fitted.x_KG

    def blocks() -> Iterator[FloatArray]:
        first = 0
        for part in row_blocks(len(rows), max(width, signature.row_width)):
            is_fit_b = is_fit_N[part]
            x_bF = np.ascontiguousarray(table.x_NF[rows[part][~is_fit_b]])
            keep_b = keep_N[part]  # a view
            keep_b[~is_fit_b], x_rest_bG = _prepared(signature, fitted.of_training, x_bF)
            is_fit_b = is_fit_b[keep_b]
            x_bG = np.empty((len(is_fit_b), width), dtype=np.float32)
            last = first + int(is_fit_b.sum())
            x_bG[is_fit_b], x_bG[~is_fit_b] = x_KG[first:last], x_rest_bG
            first = last
            yield x_bG

    x_NG = write_rows(path, width, blocks())
    return _kept(rows, keep_N), x_NG


def _kept(rows: npt.NDArray[np.int64], keep_N: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the rows to keep, without a copy if all are."""
    return rows if keep_N.all() else rows[keep_N]


def _prepared(
    signature: Signature, preprocessing: Preprocessing, x_bF: FloatArray
) -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """Return which rows a worker would predict, and what the preparation gives for those."""
    usable_b = _usable(signature, preprocessing, x_bF)
    if not usable_b.any():
        return usable_b, np.empty((0, prepared_width(signature, preprocessing)), dtype=np.float32)
    return usable_b, prepare(signature, preprocessing, np.ascontiguousarray(x_bF[usable_b]))


def _usable(signature: Signature, preprocessing: Preprocessing, x_bF: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which rows a worker would predict."""
    usable_b = np.ones(len(x_bF), dtype=np.bool_)
    if signature.window is None:
        required = [place for place, feature in enumerate(signature.column_features) if not feature.nullable]
        usable_b &= ~np.isnan(x_bF[:, required]).any(axis=1)
    while usable_b.any():
        left = np.flatnonzero(usable_b)
        try:
            prepare(signature, preprocessing, np.ascontiguousarray(x_bF[left]), checked=True)
        except RowsRejected as rejected:  # by the first check that rejects any
            usable_b[left[list(rejected.reasons)]] = False
        else:
            break
    return usable_b


def events_of(table: CodedTable, rows: npt.NDArray[np.int64]) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return the events of the rows, and the row of each: a worker prepares the events of a sequence one by one."""
    x_RF = np.ascontiguousarray(table.x_NF[rows])
    window = table.signature.window
    if window is None:
        return x_RF, rows
    x_RTW = x_RF.reshape(len(x_RF), *window.row_shape(table.signature.num_features))
    is_event_RT = x_RTW[:, :, -1] > 0
    return np.ascontiguousarray(x_RTW[is_event_RT][:, :-1]), rows[np.nonzero(is_event_RT)[0]]


def _usual_names(signature: Signature) -> tuple[str, ...]:
    """Return the names of the columns that `fit_preprocessing` gives: numbers, then a column for each code of a text."""
    features = signature.column_features
    names = [feature.name for feature in features if not feature.is_text]
    for feature in features:
        codes = feature.categories or tuple(map(str, range(feature.num_codes)))
        names += (
            [f"{feature.name}={code}" for code in (*codes, "other")[: feature.num_codes]] if feature.is_text else []
        )
    return tuple(names)

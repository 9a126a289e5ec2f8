"""The rows that a compression works with: to train, calibrate and measure.

Shapes: N rows, W values in a row as events give them, G columns after preprocessing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.training.fitted_preparation import prepare_rows
from forebay.models.training.loop import Rows
from forebay.models.training.prepared_data import TableSource
from forebay.models.training.recipe_sections import DataSection, SplitSection
from forebay.models.training.split import split_rows
from forebay.models.training.table_coding import CodedTable, code_table_rows
from forebay.schemas.errors import DataError, ModelError


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows of one part of the data.

    x_NW: as events give them. x_NG: prepared. y: classes from 0 [N], or values [N, 1].
    """

    x_NW: FloatArray
    x_NG: FloatArray
    y: npt.NDArray[np.generic]

    def __len__(self) -> int:
        return len(self.x_NW)

    @property
    def rows(self) -> Rows:
        """The prepared rows with their targets, as a training takes them."""
        return Rows(self.x_NG, self.y)


@dataclass(frozen=True, slots=True, eq=False)
class CompressionData:
    """The rows: `training` to train and calibrate, `validation` to stop a training, `held_out` to measure losses."""

    training: Part
    validation: Part
    held_out: Part

    @property
    def is_finite(self) -> bool:
        """Whether no prepared row has a missing value, so that a net can be trained on them."""
        return all(bool(np.isfinite(part.x_NG).all()) for part in (self.training, self.validation, self.held_out))


def read_data(
    manifest: Manifest, source: TableSource, data: DataSection, split: SplitSection, *, folder: Path
) -> CompressionData:
    """Return the rows of a table, coded and prepared as a worker does it.

    With the sections of the recipe that the model was trained from, the held-out rows are its test rows.

    folder: for files, which must exist as long as the rows are used.

    Raises DataError or ModelError if the table does not have the model's columns, or too few rows.
    """
    signature = manifest.signature
    if signature.window is not None:
        raise ModelError(
            f"{manifest.name}@{manifest.version} takes windows of events; only models that take single events are compressed",
            kind="compression",
            remedy="train a smaller model with `forebay train`",
        )
    named = _named(signature, source, data)
    _check_columns(named, source, data)
    table = code_table_rows(source.name, source.batches(), named, data, folder=folder)
    if split.test == 0:
        raise DataError("split.test is 0: losses are measured on test rows", kind="split", remedy="give it a share")
    parts = split_rows(split, len(table), keys_N=table.keys_N, ids_N=table.ids_N, times_N=table.times_N).parts()
    found = {name: _part(table, manifest.preprocessing, rows, name=name, folder=folder) for name, rows in parts.items()}
    return CompressionData(found["training"], found["validation"], found["test"])


def _named(signature: Signature, source: TableSource, data: DataSection) -> Signature:
    """Return the signature as a flat one, with the names of columns and classes that it leaves out."""
    labels = signature.labels
    if signature.task != "regression" and not labels:
        labels = tuple(map(str, range(signature.num_classes)))
    features = signature.features
    if not features:
        roles = {data.label, data.id, data.key, data.time, *data.exclude}
        columns = data.columns or [name for name in _column_names(source) if name not in roles]
        features = tuple(Feature(name) for name in columns)
        if len(features) != signature.num_features:
            raise DataError(
                f"{source.name} has {len(features)} columns of features; the model takes {signature.num_features}",
                kind="column",
                remedy="name the columns to leave out with data.exclude, or the features in order with data.columns",
            )
    return replace(signature, features=features, labels=labels, shape=(signature.num_features,))


def _column_names(source: TableSource) -> list[str]:
    return list(next(iter(source.batches(1))).schema.names)


def _check_columns(signature: Signature, source: TableSource, data: DataSection) -> None:
    columns = set(_column_names(source))
    wanted = [feature.name for feature in signature.features]
    wanted += [name for name in (data.label, data.id, data.key, data.time) if name is not None]
    missing = [name for name in wanted if name not in columns]
    if missing:
        others = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DataError(
            f"{source.name} has no column {', '.join(missing[:5])}{others}",
            kind="column",
            remedy="give the data that the model was trained on, with the names of its features",
        )


def _part(
    table: CodedTable, preprocessing: Preprocessing, rows: npt.NDArray[np.int64], *, name: str, folder: Path
) -> Part:
    kept_N, x_NG = prepare_rows(table, preprocessing, rows, folder / f"{name}.f32")
    if not len(kept_N):
        raise DataError(
            f"the preparation rejects all {name} rows",
            kind="empty",
            remedy="give the data that the model was trained on",
        )
    y = np.asarray(table.y_N[kept_N])
    match table.signature.task:
        case "regression":
            targets: npt.NDArray[np.generic] = y[:, None]
        case "multiclass":
            targets = y.astype(np.int64)
        case _:
            targets = y
    return Part(np.ascontiguousarray(table.x_NF[kept_N]), np.ascontiguousarray(x_NG), targets)

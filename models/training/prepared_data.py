"""Make training data of a recipe: read, code, split and prepare, in files that are mapped into memory.

Shapes: N rows, F features, G columns after preprocessing, R rows that the preparation is fitted to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Signature
from forebay.models.training.column_scan import ScannedTable, scan, signature_of
from forebay.models.training.fitted_preparation import fit_preparation, prepare_rows, prepare_training_rows
from forebay.models.training.leakage import find_leakage
from forebay.models.training.loop import Rows
from forebay.models.training.recipe import Recipe
from forebay.models.training.row_files import row_blocks
from forebay.models.training.split import Split, split_rows
from forebay.models.training.table_coding import CodedTable, code_table_rows
from forebay.models.training.windowing import as_windows
from forebay.schemas.errors import ModelError, StorageError


class TableSource(Protocol):
    """Where rows come from."""

    @property
    def name(self) -> str: ...

    def batches(self, rows: int = 65_536) -> Iterator[pa.RecordBatch]: ...


@dataclass(frozen=True, slots=True, eq=False)
class PreparedData:
    """The data that a model is trained on.

    table, split: the rows as a worker codes them, and their parts.
    preprocessing: fitted to the training rows. names: of its G columns.
    training, validation, test: the prepared rows; None for an empty test part.
    notes: what was done. warnings: signs of leakage.
    embeddings: triples of a prepared column, its number of codes and the width of the vectors that a net learns for them.
    """

    table: CodedTable
    split: Split
    preprocessing: Preprocessing
    names: tuple[str, ...]
    training: Rows
    validation: Rows
    test: Rows | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    embeddings: tuple[tuple[int, int, int], ...] = ()

    @property
    def signature(self) -> Signature:
        """The model's signature."""
        return self.table.signature

    def raw_rows(self, part: str, limit: int) -> FloatArray:
        """Return at most `limit` rows of a part as a worker codes them, evenly over all of them."""
        rows = self.split.parts()[part]
        count = min(limit, len(rows))
        return np.ascontiguousarray(self.table.x_NF[rows[np.arange(count) * len(rows) // max(1, count)]])


def prepare_data(recipe: Recipe, source: TableSource, folder: Path) -> PreparedData:
    """Return the data. folder: for the files, which must exist as long as the data is used.

    Raises DataError and ModelError that name the file, the column or the step, and StorageError.
    """
    table, notes = _read(recipe, source, folder)
    split = split_rows(recipe.split, len(table), keys_N=table.keys_N, ids_N=table.ids_N, times_N=table.times_N)
    warnings = find_leakage(table, split, split_by=recipe.split.by, time_name=recipe.data.time)
    fit_rows = _fit_rows(split.training, recipe.training.fit_rows, recipe.training.seed)
    if len(fit_rows) < len(split.training):
        notes.append(f"the preparation is fitted on {len(fit_rows):,} of {len(split.training):,} training rows")
    all_rows = len(split.training)
    fitted = fit_preparation(recipe, table, fit_rows, all_rows=all_rows if len(fit_rows) < all_rows else None)
    notes += fitted.notes
    table = replace(table, signature=fitted.signature)
    kept, prepared = {}, {}
    for name, rows in split.parts().items():
        path = folder / f"{name}.f32"
        if name == "training":
            kept[name], x_NG = prepare_training_rows(table, fitted, rows, fit_rows, path=path)
        else:
            kept[name], x_NG = prepare_rows(table, fitted.preprocessing, rows, path)
        if len(kept[name]) < len(rows):
            notes.append(
                f"{len(rows) - len(kept[name]):,} of {len(rows):,} {name} rows are dropped: a worker would reject them, or the "
                "preparation drops them"
            )
        if len(x_NG):
            prepared[name] = Rows(x_NG, _targets(table, kept[name]))
            if recipe.model.is_net:
                _check_finite(prepared[name], fitted.names, name)
    for name in ("training", "validation"):
        if name not in prepared:
            raise ModelError(
                f"the preparation leaves no {name} row", kind="fit", remedy="check the steps that drop or reject rows"
            )
    return PreparedData(
        table,
        Split(**kept),
        fitted.preprocessing,
        names=fitted.names,
        training=prepared["training"],
        validation=prepared["validation"],
        test=prepared.get("test"),
        notes=tuple(notes),
        warnings=warnings,
        embeddings=fitted.embeddings,
    )


def _read(recipe: Recipe, source: TableSource, folder: Path) -> tuple[CodedTable, list[str]]:
    """Return the coded table. The needed columns are kept in a file between the scan and the coding: a pipe is read once."""
    spool = folder / "columns.arrow"
    scanned: ScannedTable | None = None
    writer: pa.RecordBatchFileWriter | None = None
    try:
        with pa.OSFile(str(spool), "wb") as sink:
            for item in scan(source.name, source.batches(), recipe.data):
                if isinstance(item, ScannedTable):
                    scanned = item
                    continue
                writer = writer or pa.ipc.new_file(sink, item.schema)
                writer.write_batch(item)
            assert scanned is not None and writer is not None
            writer.close()
    except OSError as error:
        raise StorageError(
            f"{spool}: cannot be written: {error.strerror or error}",
            remedy="free space, or choose another folder with --cache-dir",
        ) from None
    task = scanned.task(recipe.data.task, recipe.training.loss, recipe.model.architecture)
    classes = () if task == "regression" else scanned.classes(recipe.data.classes)
    signature = signature_of(scanned, task, classes, _shape(recipe))
    with pa.memory_map(str(spool)) as file:
        reader = pa.ipc.open_file(file)
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        table = code_table_rows(source.name, batches, signature, data=recipe.data, folder=folder)
    spool.unlink()
    notes = [*scanned.notes]
    notes += [f"{count:,} of {scanned.rows:,} rows are not used: {why}" for why, count in table.dropped.items()]
    if recipe.model.sequence_length is not None and recipe.data.window_ms is not None:
        events = len(table)
        table = as_windows(table, recipe.model.sequence_length, recipe.data.window_ms, folder)
        notes.append(f"{events:,} events are {len(table):,} windows of a key")
    return table, notes


def _shape(recipe: Recipe) -> tuple[int, ...] | None:
    model = recipe.model
    if model.architecture != "cnn":
        return None
    assert model.image_size is not None
    return (model.in_channels, model.image_size, model.image_size)


def _fit_rows(rows: npt.NDArray[np.int64], limit: int, seed: int) -> npt.NDArray[np.int64]:
    if len(rows) <= limit:
        return rows
    return np.sort(np.random.default_rng((seed, 2)).choice(rows, size=limit, replace=False))


def _targets(table: CodedTable, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
    y_N = np.asarray(table.y_N[rows])
    match table.signature.task:
        case "regression":
            return y_N[:, None]
        case "multiclass":
            return y_N.astype(np.int64)
        case "binary":
            return y_N


def _check_finite(rows: Rows, names: tuple[str, ...], what: str) -> None:
    for part in row_blocks(len(rows), rows.x.shape[1]):
        is_finite = np.isfinite(rows.x[part]).all(axis=0)
        if not is_finite.all():
            name = names[int(np.argmin(is_finite)) % len(names)]
            raise ModelError(
                f"after the preparation, {name} has missing or infinite values in the {what} rows",
                kind="fit",
                remedy='add a step to the recipe: [[prepare]] step = "impute", strategy = "median"',
            )

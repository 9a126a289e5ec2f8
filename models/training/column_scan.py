"""Find out what the columns of a table are, in one pass: the features, the label, and what cannot be used.

A feature is a number or a text. Texts with few values become categories, others are hashed, as in `forebay.register`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forebay.models.artefacts.date_parts import MISSING, NEEDS_REFERENCE
from forebay.models.artefacts.signature import Feature, Signature, Task
from forebay.models.data.event_columns import ENVELOPE_FIELDS, EVENT_ROWS
from forebay.models.training.recipe_sections import DataSection
from forebay.models.training.table_dates import dates_of
from forebay.schemas.errors import DataError, ModelError

MAX_CLASSES: Final = 1000
_SHOWN: Final = 12


@dataclass(slots=True)
class ScannedColumn:
    """What was seen of a column. texts: the distinct texts, None once there are too many. dates: the feature of a time."""

    name: str
    kind: str
    dates: Feature | None = None
    missing: int = 0
    present: int = 0
    texts: set[str] | None = field(default_factory=set)
    numbers: set[float] | None = field(default_factory=set)

    def add(self, column: pa.Array, max_texts: int) -> None:
        """Take a batch's values into account."""
        missing = column.null_count
        if self.dates is not None:
            missing = int((dates_of(column, self.dates.time_format) == MISSING).sum())
        elif self.kind == "number":
            values = as_float64(column)
            missing = int(np.isnan(values).sum())
            if self.numbers is not None:
                self.numbers.update(np.unique(values[~np.isnan(values)])[: MAX_CLASSES + 1].tolist())
                if len(self.numbers) > MAX_CLASSES:
                    self.numbers = None
        elif self.texts is not None and self.kind in ("text", "boolean"):
            distinct = pc.unique(column.cast(pa.string()) if self.kind == "boolean" else as_text(column))
            self.texts.update(text for text in distinct.to_pylist() if text is not None)
            if len(self.texts) > max_texts:
                self.texts = None
        self.missing += missing
        self.present += len(column) - missing


@dataclass(frozen=True, slots=True)
class ScannedTable:
    """The columns of a table and what will be done with them.

    notes: columns that are left out, and why.
    """

    name: str
    rows: int
    features: tuple[Feature, ...]
    label: ScannedColumn
    notes: tuple[str, ...]

    def task(self, wanted: str, loss: str, architecture: str) -> Task:
        """Return the task: the stated one, or what the loss, the architecture and the label's values say.

        Raises DataError if the label cannot be what they say.
        """
        is_of_values = wanted == "regression" or loss in ("mse", "mae", "huber") or architecture == "linear"
        if is_of_values and wanted in ("auto", "regression"):
            if self.label.kind != "number":
                raise DataError(
                    f"{self.name}: the label {self.label.name!r} holds {self.label.kind}s, and the recipe predicts values "
                    "(regression)",
                    kind="label",
                    remedy="check data.label, data.task, training.loss and model.architecture",
                )
            return "regression"
        if wanted != "auto":
            return wanted  # type: ignore[return-value]
        is_classifier = self.label.kind != "number" or self.label.numbers == {0.0, 1.0}
        if is_classifier or loss in ("binary", "cross_entropy") or architecture == "logistic":
            return "binary" if loss != "cross_entropy" and len(self.classes(())) == 2 else "multiclass"
        return "regression"

    def classes(self, stated: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the classes in the order of the outputs. Raises DataError if there are too few or many."""
        label = self.label
        found: list[str] = []
        if label.kind == "number":
            if label.numbers is not None and all(value == int(value) for value in label.numbers):
                found = [f"{int(value)}" for value in sorted(label.numbers)]
        elif label.texts is not None:
            found = sorted(label.texts)
        if not 2 <= len(found) <= MAX_CLASSES:
            what = "no classes: numbers that are not whole, or too many values"
            if found:
                what = "one class" if len(found) == 1 else f"{len(found)} classes"
            raise DataError(
                f"{self.name}: the label {label.name!r} has {what}",
                kind="label",
                remedy=f"a classifier needs 2 to {MAX_CLASSES} classes; for values set data.task = 'regression'",
            )
        if stated and set(stated) != set(found):
            unknown = sorted(set(stated) ^ set(found))
            raise DataError(
                f"{self.name}: data.classes is {list(stated)}, and the label {label.name!r} has "
                f"{', '.join(found[:_SHOWN])}; the difference is {', '.join(unknown[:_SHOWN])}",
                kind="label",
                remedy="correct data.classes, or leave it out",
            )
        return stated or tuple(found)


def scan(name: str, batches: Iterable[pa.RecordBatch], data: DataSection) -> Iterator[pa.RecordBatch | ScannedTable]:
    """Yield each batch with the needed columns after it was scanned, and the result last.

    Raises DataError for columns that are missing or cannot be what the recipe says.
    """
    columns: dict[str, ScannedColumn] = {}
    notes: list[str] = []
    others = [role for role in (data.id, data.key, data.time) if role is not None]
    rows = 0
    for batch in batches:
        if not columns:
            columns = _columns(name, batch.schema, data, notes)
        needed = list(dict.fromkeys([*columns, *others]))
        batch = batch.select(needed)
        if data.max_rows is not None:
            batch = batch.slice(0, data.max_rows - rows)
        rows += len(batch)
        for column in columns.values():
            column.add(batch.column(column.name), MAX_CLASSES if column.name == data.label else data.max_categories)
        yield batch
        if data.max_rows is not None and rows >= data.max_rows:
            break
    if not rows:
        raise DataError(f"{name}: there are no rows", kind="empty", remedy="check data.path or data.topic")
    label = columns.pop(data.label)
    if not label.present:
        raise DataError(f"{name}: the label {label.name!r} has no value", kind="label", remedy="check data.label")
    features = []
    for column in columns.values():
        if column.present:
            features.append(_feature(name, column, data))
        elif column.name in data.columns:
            raise DataError(f"{name}: column {column.name!r} has no value", kind="column", remedy="leave it out")
        else:
            notes.append(f"column {column.name!r} is left out: it has no value")
    if not features:
        raise DataError(f"{name}: no column is a feature", kind="column", remedy="check data.columns and data.exclude")
    yield ScannedTable(name, rows, tuple(features), label=label, notes=tuple(notes))


def signature_of(table: ScannedTable, task: Task, classes: tuple[str, ...], shape: tuple[int, ...] | None) -> Signature:
    """Return the signature of a model on this table. shape: of a row; None for a vector."""
    outputs = {"regression": 1, "binary": 1, "multiclass": len(classes)}[task]
    return Signature(
        features=table.features,
        shape=(sum(len(feature.columns) for feature in table.features),) if shape is None else shape,
        task=task,
        output_dim=outputs,
        labels=classes if task != "regression" else (),
    )


def as_float64(column: pa.Array) -> Any:
    """Return a column of numbers as float64; a missing value is NaN."""
    return np.asarray(column.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy(zero_copy_only=False))


def as_text(column: pa.Array) -> pa.Array:
    """Return a column of texts as plain texts, in which an empty text is a missing value, as in CSV."""
    plain = column.cast(pa.string())
    return pc.if_else(pc.equal(plain, ""), pa.scalar(None, pa.string()), plain)


def _columns(name: str, schema: pa.Schema, data: DataSection, notes: list[str]) -> dict[str, ScannedColumn]:
    known = list(schema.names)
    wanted = [data.label, *data.columns, *data.exclude, *data.types, *data.dates]
    wanted += [role for role in (data.id, data.key, data.time) if role is not None]
    problems = []
    for column in dict.fromkeys(wanted):
        if column not in known:
            near = get_close_matches(column, known, n=1)
            problems.append(f"{column!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    if problems:
        shown = ", ".join(known[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")
        raise DataError(
            f"{name}: there is no column {', '.join(problems)}", kind="column", remedy=f"the columns are {shown}"
        )
    left_out = {*data.exclude, data.label, *(role for role in (data.id, data.time) if role is not None)}
    if data.topic is not None or EVENT_ROWS.items() <= (schema.metadata or {}).items():
        left_out |= ENVELOPE_FIELDS
    if data.key is not None and data.key not in data.columns:
        left_out.add(data.key)
    features = data.columns or tuple(column for column in known if column not in left_out)
    if unused := [column for column in data.dates if column not in features]:
        raise DataError(
            f"{name}: data.dates has {unused[0]!r}, which is not a feature",
            kind="column",
            remedy="add it to data.columns; an event's own timestamp is not a feature",
        )
    columns = {data.label: ScannedColumn(data.label, _kind(schema.field(data.label).type))}
    if columns[data.label].kind == "other":
        raise DataError(
            f"{name}: the label {data.label!r} is {schema.field(data.label).type}",
            kind="label",
            remedy="allowed are numbers, texts and booleans",
        )
    for column in features:
        kind = _kind(schema.field(column).type)
        if column in data.dates:
            columns[column] = _dates(name, column, schema.field(column).type, data)
            continue
        if kind in ("number", "text", "empty"):
            columns[column] = ScannedColumn(column, kind)
            continue
        problem = f"column {column!r} holds {schema.field(column).type}; events have numbers and texts"
        if column in data.columns:
            raise DataError(f"{name}: {problem}", kind="column", remedy="convert it to a number or a text first")
        notes.append(f"{problem}: it is left out")
    return columns


def _dates(name: str, column: str, kind: pa.DataType, data: DataSection) -> ScannedColumn:
    if _kind(kind) not in ("number", "text") and not pa.types.is_timestamp(kind) and not pa.types.is_date(kind):
        raise DataError(
            f"{name}: data.dates has {column!r}, which holds {kind}",
            kind="column",
            remedy="allowed are ISO 8601 texts, numbers since 1970, dates and timestamps",
        )
    try:
        feature = Feature(
            column,
            "timestamp",
            nullable=True,
            parts=data.dates[column],
            unit=data.date_unit,
            clock=data.date_clock,
            reference=data.date_reference if NEEDS_REFERENCE.intersection(data.dates[column]) else "",
        )
    except ModelError as error:
        raise DataError(
            f"{name}: data.dates: {error.message}", kind="column", remedy="correct data.dates or data.date_reference"
        ) from None
    return ScannedColumn(column, "date", feature)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    return "empty" if pa.types.is_null(kind) else "other"


def _feature(name: str, column: ScannedColumn, data: DataSection) -> Feature:
    nullable = column.missing > 0
    if column.dates is not None:
        return replace(column.dates, nullable=nullable)
    wanted = data.types.get(column.name)
    if column.kind == "number":
        if wanted in (None, "float32"):
            return Feature(column.name, nullable=nullable)
        raise DataError(
            f"{name}: data.types.{column.name} is {wanted!r}, and the column holds numbers",
            kind="column",
            remedy="events give texts for categories: write the column as text, or use a step that bins it",
        )
    if wanted == "float32":
        raise DataError(
            f"{name}: data.types.{column.name} is 'float32', and the column holds texts",
            kind="column",
            remedy="correct the cells that are not numbers, or leave data.types out",
        )
    if column.texts is None or wanted == "hashed":
        return Feature(column.name, "hashed", nullable=nullable, buckets=data.buckets)
    return Feature(
        column.name, "category", tuple(sorted(column.texts)), nullable=nullable, other=data.unknown == "other"
    )

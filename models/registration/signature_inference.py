"""Infer a model's signature from its data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forebay.models.artefacts.signature import Signature, Task
from forebay.models.registration.sample import Sample, read_sample, sample_of_columns
from forebay.schemas.errors import ModelError


def infer_signature(
    data: object,
    *,
    target: str | None = None,
    task: Task | None = None,
    labels: Sequence[str] = (),
    names: Sequence[str] | None = None,
    output_dim: int | None = None,
) -> Signature:
    """Return the signature of a model that takes the columns of a table.

    Numbers and truth values become float32 features, texts become categories, or hashed if there are more than 1,000; a column
    with missing values is nullable. At most 100,000 rows are read, so give rows with all categories.

    data: a DataFrame of pandas or polars, a Table or RecordBatch of pyarrow, the path of a CSV file with a header, or an array
        [N, F] of numbers.
    target: the column to predict, which is not a feature. Texts, truth values and the numbers 0 and 1 are classes.
    task: `regression`, `binary` or `multiclass`; by default, what the target says.
    labels: the classes in the order of the outputs; by default, the sorted values of the target if these are texts.
    names: of the columns of an array. Arrays without names give a signature without names.
    output_dim: the number of outputs of a regression, if there are several.

    Raises ModelError that names the column and the remedy.

        signature = forebay.infer_signature(frame, target="late")
    """
    if isinstance(data, np.ndarray):
        if names is None:
            return _unnamed(data, target, task, labels=tuple(labels), output_dim=output_dim)
        sample = _named(data, tuple(names))
    else:
        if names is not None:
            raise _error("names are given, and the data has names of its own", "give names with arrays only")
        sample = read_sample(data, argument="data")
    if target is not None:
        sample = sample.split(target)
    features = sample.features()
    if not features:
        raise _error(f"{sample.place}: there is no column besides the target", "give the columns that the model takes")
    found = task or _task(sample, tuple(labels))
    classes = () if found == "regression" else tuple(labels) or _classes(sample, found)
    return Signature(features, (len(features),), found, _outputs(found, classes, output_dim), labels=classes)


def _named(data: np.ndarray[tuple[int, ...], np.dtype[np.generic]], names: tuple[str, ...]) -> Sample:
    if data.ndim != 2 or data.shape[1] != len(names):
        raise _error(f"there are {len(names)} names for an array {list(data.shape)}", "give [N, F], and F names")
    return sample_of_columns("the array", names, [data[:, column].tolist() for column in range(len(names))])


def _unnamed(
    data: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
    target: str | None,
    task: Task | None,
    labels: tuple[str, ...],
    output_dim: int | None,
) -> Signature:
    if target is not None or task is None:
        raise _error("the array has no names, so it has no target", "give names, or the task without a target")
    if data.ndim < 2 or data.dtype.kind not in "biuf":
        raise _error(
            f"the array is {data.dtype} {list(data.shape)}", "give numbers, with the rows in the first dimension"
        )
    return Signature((), data.shape[1:], task, _outputs(task, labels, output_dim), labels=labels)


def _task(sample: Sample, labels: tuple[str, ...]) -> Task:
    if not sample.target:
        raise _error(
            "neither task nor target is given", 'give target="…", or task="regression", "binary" or "multiclass"'
        )
    values = {cell for cell in sample.target if cell is not None}
    if sample.has_text_target() or labels:
        return "binary" if len(labels or sample.labels()) == 2 else "multiclass"
    return "binary" if values == {0.0, 1.0} else "regression"


def _classes(sample: Sample, task: Task) -> tuple[str, ...]:
    """Return the classes that the target has; the numbers 0 and 1 of a binary target need no names."""
    return sample.labels() if sample.has_text_target() or task == "multiclass" else ()


def _outputs(task: Task, classes: Sequence[str], stated: int | None) -> int:
    if task == "multiclass":
        if not classes and stated is None:
            raise _error("the classes are not known", "give labels, target or output_dim")
        return len(classes) if stated is None else stated
    return 1 if stated is None else stated


def _error(message: str, remedy: str) -> ModelError:
    return ModelError(message, kind="signature", remedy=remedy)

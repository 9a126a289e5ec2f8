"""Read the transformers of a fitted pipeline of scikit-learn: its containers, and the table of all readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from forebay.models.registration.sklearn_columns import Column, Conversion, ConversionRefused
from forebay.models.registration.sklearn_encoders import ENCODER_READERS
from forebay.models.registration.sklearn_scalers import NUMERIC_READERS

StepReader = Callable[[Any, list[Column], Conversion, str], list[Column]]

STEP_READERS: Final[Mapping[type, StepReader]] = MappingProxyType({**NUMERIC_READERS, **ENCODER_READERS})
"""The readers by exact type: a subclass may transform otherwise."""

_REMEDIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "PolynomialFeatures": "add the products to the events, or use trees, which need none",
        "PCA": "leave it out, or export the pipeline to ONNX and register the file",
        "KNNImputer": "use SimpleImputer",
        "IterativeImputer": "use SimpleImputer",
        "Normalizer": "use StandardScaler or MinMaxScaler",
        "CountVectorizer": "use a hashed feature or OneHotEncoder for short texts",
        "TfidfVectorizer": "use a hashed feature or OneHotEncoder for short texts",
    }
)


def read_step(step: Any, columns: Sequence[Column | None], to: Conversion, part: str) -> list[Column]:
    """Return the columns after a transformer. Raises ModelError for one that cannot be converted.

    columns: None for a column that no transformer takes.
    part: the name of the step, for notes and messages.
    """
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return _present(columns)
    if type(step) is Pipeline:
        for name, inner in step.steps:
            columns = list(read_step(inner, columns, to, f"{part}.{name}"))
        return _present(columns)
    if type(step) is ColumnTransformer:
        return _read_column_transformer(step, columns, to, part)
    if type(step) is FeatureUnion:
        return _read_union(step, columns, to, part)
    label = f"{part} ({type(step).__name__})"
    reader = STEP_READERS.get(type(step))
    if reader is None:
        to.refuse(
            label,
            "there is no step that does the same",
            _REMEDIES.get(type(step).__name__, "leave it out, or export the pipeline to ONNX and register the file"),
        )
    return reader(step, _present(columns), to, label)


def used_columns(steps: Sequence[tuple[str, Any]], width: int) -> list[int]:
    """Return the places of the table's columns that are used: all, unless the first step is a ColumnTransformer."""
    if not steps:
        return list(range(width))
    first = steps[0][1]
    if type(first) is Pipeline:
        return used_columns(first.steps, width)
    if type(first) is not ColumnTransformer:
        return list(range(width))
    used = {place for _, transformer, places in _branches(first) if not _is_drop(transformer) for place in places}
    return sorted(used)


def _read_column_transformer(
    step: ColumnTransformer, columns: Sequence[Column | None], to: Conversion, part: str
) -> list[Column]:
    if step.transformer_weights:
        to.refuse(part, "it has transformer_weights", "leave them out: the model has weights of its own")
    branches = [(name, inner, places) for name, inner, places in _branches(step) if places and not _is_drop(inner)]
    groups = [_present([columns[place] for place in places]) for _, _, places in branches]
    return _read_branches([(name, inner) for name, inner, _ in branches], groups, to, part)


def _read_union(step: FeatureUnion, columns: Sequence[Column | None], to: Conversion, part: str) -> list[Column]:
    if step.transformer_weights:
        to.refuse(part, "it has transformer_weights", "leave them out: the model has weights of its own")
    branches = [(name, inner) for name, inner in step.transformer_list if not _is_drop(inner)]
    return _read_branches(branches, [_present(columns)] * len(branches), to, part)


def _read_branches(
    branches: Sequence[tuple[str, Any]], groups: Sequence[list[Column]], to: Conversion, part: str
) -> list[Column]:
    """Return the columns after transformers side by side. All are read, even after one was refused, for the report."""
    result: list[Column] = []
    refused: ConversionRefused | None = None
    for (name, inner), group in zip(branches, _separate(groups, to), strict=True):
        try:
            result += read_step(inner, group, to, f"{part}.{name}")
        except ConversionRefused as error:
            refused = refused or error
    if refused is not None:
        raise refused
    return result


def _is_drop(transformer: Any) -> bool:
    return isinstance(transformer, str) and transformer == "drop"


def _separate(groups: Sequence[list[Column]], to: Conversion) -> list[list[Column]]:
    """Return the groups, with copies of columns that an earlier group has: the steps of a group change its columns."""
    taken: set[int] = set()
    shared: list[tuple[int, int]] = []
    for group, columns in enumerate(groups):
        for index, column in enumerate(columns):
            if column.number in taken:
                shared.append((group, index))
            taken.add(column.number)
    result = [list(columns) for columns in groups]
    if shared:
        copies = to.flow.repeat([groups[group][index].number for group, index in shared])
        for (group, index), number in zip(shared, copies, strict=True):
            result[group][index] = groups[group][index]._replace(number=number)
    return result


def _branches(step: ColumnTransformer) -> list[tuple[str, Any, list[int]]]:
    """Return each transformer with its name and the places of its columns."""
    names = [str(name) for name in getattr(step, "feature_names_in_", ())]
    return [
        (name, transformer, _places(columns, names, int(step.n_features_in_)))
        for name, transformer, columns in step.transformers_
    ]


def _places(columns: Any, names: Sequence[str], width: int) -> list[int]:
    if isinstance(columns, slice):
        start, stop = columns.start, columns.stop
        if isinstance(start, str) or isinstance(stop, str):  # by name, both ends included
            first = 0 if start is None else names.index(start)
            last = width - 1 if stop is None else names.index(stop)
            return list(range(first, last + 1, columns.step or 1))
        return list(range(width)[columns])
    listed = [columns] if isinstance(columns, str | int) else list(columns)
    if listed and isinstance(listed[0], bool | np.bool_):
        return [place for place, chosen in enumerate(listed) if chosen]
    return [names.index(column) if isinstance(column, str) else range(width)[int(column)] for column in listed]


def _present(columns: Sequence[Column | None]) -> list[Column]:
    return [column for column in columns if column is not None]

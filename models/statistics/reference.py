"""The reference statistics that a manifest keeps, from the rows of a training.

Shapes: N rows of F features as the signature codes them; N rows of O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.reference_statistics import (
    MAX_CATEGORIES,
    MAX_COLUMNS,
    CategoryReference,
    NumberReference,
    ReferenceStatistics,
)
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.statistics.counted_values import Counts, Values, count_values
from forebay.models.statistics.number_distribution import NumberDistribution
from forebay.schemas.errors import DataError

NUM_BINS: Final = 20
"""Bins of a number, with about as many rows in each."""


def reference_statistics(
    signature: Signature, rows: Iterable[FloatArray], outputs: Iterable[FloatArray] = ()
) -> ReferenceStatistics:
    """Return the statistics to store in a manifest; `to_dict` gives them in its form.

        reference_statistics(signature, [x_NF], [probabilities_NO]).to_dict()

    rows: batches of training rows before preprocessing, float32 [N, F], NaN for missing values; read once.
    outputs: batches of what the model answers: probabilities ([N] for binary, that of class 1), or values for regression.
        Outputs for rows that were not trained on represent the future better.
    Raises DataError if there is no row.
    """
    features = signature.column_features or tuple(
        Feature(str(index), nullable=True) for index in range(min(signature.num_features, MAX_COLUMNS))
    )
    columns = [_column(feature) for feature in features[:MAX_COLUMNS]]
    num_rows = 0
    for x_NF in rows:
        num_rows += len(x_NF)
        flat_NF = x_NF.reshape(len(x_NF), math.prod(x_NF.shape[1:]))
        for index, column in enumerate(columns):
            column.add(flat_NF[:, index])
    if not num_rows:
        raise DataError("there are no rows to describe", kind="empty", remedy="give at least one training row")
    return ReferenceStatistics(num_rows, tuple(column.reference() for column in columns), _outputs(signature, outputs))


def _outputs(signature: Signature, outputs: Iterable[FloatArray]) -> tuple[NumberReference, ...]:
    columns: list[_Number] = []
    for y_NO in outputs:
        flat_NO = y_NO.reshape(len(y_NO), math.prod(y_NO.shape[1:]))
        if not columns:
            names = _output_names(signature, min(flat_NO.shape[1], MAX_COLUMNS))
            columns = [_Number(name) for name in names]
        for index, column in enumerate(columns):
            column.add(flat_NO[:, index])
    return tuple(column.reference() for column in columns)


def _output_names(signature: Signature, num_outputs: int) -> list[str]:
    labels = signature.labels
    if signature.task == "binary" and num_outputs == 1:
        return [labels[1] if labels else "1"]
    return list(labels[:num_outputs]) if len(labels) >= num_outputs else [str(index) for index in range(num_outputs)]


class _Number:
    def __init__(self, name: str) -> None:
        self._name = name
        self._missing = self._below = self._above = 0
        self._finite = NumberDistribution(np.dtype(np.float64))

    def add(self, values: FloatArray) -> None:
        finite = values[np.isfinite(values)]
        if len(finite) < len(values):
            self._missing += int(np.isnan(values).sum())
            self._below += int((values == -np.inf).sum())
            self._above += int((values == np.inf).sum())
        distinct, counts = count_values(finite.astype(np.float32) + np.float32(0))
        self._finite.add_counted(distinct.astype(np.float64), counts)

    def reference(self) -> NumberReference:
        values, counts = self._finite.counted()
        edges = _edges(values, counts)
        bins = np.zeros(len(edges) + 1, np.int64)
        np.add.at(bins, np.searchsorted(edges, values, side="right"), counts)
        bins[0] += self._below
        bins[-1] += self._above
        moments = self._finite.moments
        return NumberReference(
            self._name,
            self._missing,
            mean=moments.mean,
            standard_deviation=moments.standard_deviation,
            edges=tuple(edges.tolist()),
            counts=tuple(bins.tolist()),
        )


class _Category:
    def __init__(self, feature: Feature) -> None:
        self._feature = feature
        self._missing = 0
        self._counts = np.zeros(len(feature.categories) + 1, np.int64)

    def add(self, values: FloatArray) -> None:
        codes = values[~np.isnan(values)]
        self._missing += len(values) - len(codes)
        self._counts += np.bincount(
            np.clip(codes, 0, len(self._feature.categories)).astype(np.int64), minlength=len(self._counts)
        )

    def reference(self) -> CategoryReference:
        known = self._counts[:-1]
        chosen = np.sort(np.argsort(-known, kind="stable")[:MAX_CATEGORIES])
        return CategoryReference(
            self._feature.name,
            self._missing,
            categories=tuple(self._feature.categories[code] for code in chosen),
            counts=tuple(known[chosen].tolist()),
            other=int(self._counts.sum() - known[chosen].sum()),
        )


def _column(feature: Feature) -> _Number | _Category:
    return _Category(feature) if feature.dtype == "category" else _Number(feature.name)


def _edges(values: Values, counts: Counts) -> NDArray[np.float64]:
    """Return values of the data between which about as many rows lie; all are float32."""
    if not len(values):
        return np.zeros(0)
    if len(values) == 1:
        # A bin for the constant alone, so that any other value is noticed.
        constant = np.float32(values[0])
        upper = np.nextafter(constant, np.float32(np.inf))
        return np.array([constant, upper] if np.isfinite(upper) else [constant], np.float64)
    ends = np.cumsum(counts)
    ranks = ends[-1] * np.arange(1, NUM_BINS) / NUM_BINS
    edges = np.unique(values[np.searchsorted(ends, ranks, side="right")])
    above: NDArray[np.float64] = edges[edges > values[0]]
    return above

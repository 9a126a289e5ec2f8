"""The bins in which the rows of a model version are counted, from the reference statistics of its manifest."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from forebay.models.artefacts.reference_statistics import CategoryReference, NumberReference, ReferenceStatistics
from forebay.models.artefacts.signature import Feature, Signature

NUM_BINS: Final = 10
"""Bins of a number, with about as many rows of the reference in each. With more, small windows look as if they had drifted."""
MAX_CATEGORY_BINS: Final = 20
MIN_CATEGORY_SHARE: Final = 0.01
"""Categories that are rarer in the reference share one bin."""
MAX_SCORES: Final = 32
"""The outputs of a model beyond this number are not counted."""
MAX_CLASSES: Final = 64
"""The predicted classes of a model with more are not counted."""
RANGE_DEVIATIONS: Final = 8.0
"""Values this many standard deviations from the mean are out of range, if the reference does not have empty outermost bins. At
most one value in 65 of any distribution lies beyond on one side (Cantelli)."""
REST: Final = "(rest)"


class ColumnKind(StrEnum):
    """What a column is: a feature (the first two), an output, or the predicted class."""

    NUMBER = "number"
    CATEGORY = "category"
    SCORE = "score"
    CLASS = "class"


@dataclass(frozen=True, slots=True)
class ColumnBins:
    """The bins of one column.

    index: the column's index among those of the rows or outputs.
    edges: of numbers and scores: strictly increasing float32 values, between the bins. A value is in the bin after the last
        edge that is not greater.
    low, high: numbers below `low`, and from `high` upwards, are out of range; they are in the outermost bins too.
    bins_of_codes: of categories and classes: the bin of each code. A code beyond is unseen.
    labels: the names of their bins.
    expected: the share of each bin in the reference, of the rows that are in bins; None if it is unknown.
    reference_rows: the number of rows of the reference that are in bins; None if it is unknown.
    expected_missing, expected_unseen, expected_outside: shares of all rows of the reference, or upper bounds of them.
    expected_mean: of the numbers; None if it is unknown or means nothing, as for buckets of texts.
    """

    name: str
    kind: ColumnKind
    index: int
    edges: tuple[float, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    bins_of_codes: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    expected: tuple[float, ...] | None = None
    reference_rows: int | None = None
    expected_missing: float = 0.0
    expected_unseen: float = 0.0
    expected_outside: float = 0.0
    expected_mean: float | None = None

    @property
    def is_coded(self) -> bool:
        """Whether the values are codes of categories or classes."""
        return self.kind in (ColumnKind.CATEGORY, ColumnKind.CLASS)

    @property
    def num_bins(self) -> int:
        """The number of bins."""
        return len(self.labels) if self.is_coded else len(self.edges) + 1


@dataclass(frozen=True, slots=True)
class ModelBins:
    """The bins of a model version: of its features, of its outputs, and of the predicted class if it has classes."""

    features: tuple[ColumnBins, ...]
    scores: tuple[ColumnBins, ...]
    classes: ColumnBins | None = None

    @property
    def columns(self) -> tuple[ColumnBins, ...]:
        """All columns, in the order of the records."""
        return (*self.features, *self.scores, *(() if self.classes is None else (self.classes,)))


def model_bins(
    signature: Signature, reference: ReferenceStatistics | None, *, ignored: Collection[str] = ()
) -> ModelBins:
    """Return the bins of a model version.

    reference: None if the manifest has none: then features are not counted, and probabilities in bins of equal width.
    ignored: names of features that are not counted. Parts of times, such as an hour, never are: they differ from window to
        window without any drift.
    """
    times = {column for feature in signature.features if feature.parts for column in feature.columns}
    skipped = {*ignored, *times}
    features = () if reference is None else _feature_bins(signature, reference, skipped)
    return ModelBins(features, _score_bins(signature, reference), _class_bins(signature))


def _feature_bins(signature: Signature, reference: ReferenceStatistics, skipped: set[str]) -> tuple[ColumnBins, ...]:
    columns = signature.column_features
    bins = []
    for index, column in enumerate(reference.features[: signature.num_features]):
        if column.name in skipped:
            continue
        if isinstance(column, NumberReference):
            is_hashed = bool(columns) and columns[index].dtype == "hashed"
            bins.append(number_bins(column, index, has_range=not is_hashed))
        elif columns and columns[index].dtype == "category":
            bins.append(category_bins(column, columns[index], index))
    return tuple(bins)


def number_bins(
    reference: NumberReference, index: int, *, kind: ColumnKind = ColumnKind.NUMBER, has_range: bool = True
) -> ColumnBins:
    """Return the bins of a number: those of the reference, merged to about NUM_BINS of about equal shares.

    has_range: whether values can be out of range. Outermost bins of the reference that are empty are out of its range; if they
        are not, see RANGE_DEVIATIONS.
    """
    edges, counts = reference.edges, np.array(reference.counts, np.int64)
    low = high = None
    outside = 0.0
    if has_range and edges:
        low, low_share = _fence(reference, edges[0], int(counts[0]), side=-1)
        high, high_share = _fence(reference, edges[-1], int(counts[-1]), side=1)
        outside = low_share + high_share
    kept = _merged_edges(counts)
    starts = [0, *(number + 1 for number in kept)]
    total = int(counts.sum())
    shares = np.add.reduceat(counts, starts) / total if total else None
    return ColumnBins(
        reference.name,
        kind,
        index,
        edges=tuple(edges[number] for number in kept),
        low=-math.inf if low is None else low,
        high=math.inf if high is None else high,
        expected=None if shares is None else tuple(shares.tolist()),
        reference_rows=total or None,
        expected_missing=reference.missing / max(1, reference.rows),
        expected_outside=outside,
        expected_mean=reference.mean if has_range else None,
    )


def _fence(reference: NumberReference, edge: float, outer_count: int, *, side: int) -> tuple[float | None, float]:
    """Return where the range ends on one side, and the largest share of the reference that may lie beyond."""
    if not outer_count:
        return edge, 0.0
    mean, deviation = reference.mean, reference.standard_deviation
    if mean is None or deviation is None or not math.isfinite(mean) or not math.isfinite(deviation):
        return None, 0.0
    far = mean + side * RANGE_DEVIATIONS * deviation
    far = min(far, edge) if side < 0 else max(far, edge)
    bound = min(1 / (1 + RANGE_DEVIATIONS**2), outer_count / max(1, reference.rows))
    return far, bound


def _merged_edges(counts: np.typing.NDArray[np.int64]) -> list[int]:
    """Return the indices of the edges to keep: for each tenth, the edge whose cumulative share is nearest."""
    if len(counts) <= NUM_BINS:
        return list(range(len(counts) - 1))
    total = int(counts.sum())
    if not total:
        return []
    cumulative = np.cumsum(counts)[:-1] / total
    wanted = np.arange(1, NUM_BINS) / NUM_BINS
    nearest = np.abs(cumulative[None, :] - wanted[:, None]).argmin(axis=1)
    return sorted(set(nearest.tolist()))


def category_bins(reference: CategoryReference, feature: Feature, index: int) -> ColumnBins:
    """Return the bins of a category: one for each frequent category, and one for all other known ones."""
    counts = dict(zip(reference.categories, reference.counts, strict=True))
    # The reference lists all categories unless there are too many. Then `other` counts the rare ones as well as the unknown.
    is_complete = all(category in counts for category in feature.categories)
    rest = 0 if is_complete else reference.other
    known = sum(counts.values()) + rest
    by_count = sorted(counts, key=lambda category: -counts[category])
    frequent = [name for name in by_count if counts[name] >= MIN_CATEGORY_SHARE * max(1, known)]
    frequent = frequent[: MAX_CATEGORY_BINS - 1]
    has_rest = len(frequent) < len(feature.categories)
    labels = (*frequent, REST) if has_rest else tuple(frequent)
    bin_of = {name: number for number, name in enumerate(frequent)}
    shares = [counts[name] for name in frequent]
    if has_rest:
        shares.append(known - sum(shares))
    return ColumnBins(
        reference.name,
        ColumnKind.CATEGORY,
        index,
        bins_of_codes=tuple(bin_of.get(category, len(frequent)) for category in feature.categories),
        labels=labels,
        expected=tuple(count / known for count in shares) if known else None,
        reference_rows=known or None,
        expected_missing=reference.missing / max(1, reference.rows),
        expected_unseen=reference.other / max(1, reference.rows),
    )


def _score_bins(signature: Signature, reference: ReferenceStatistics | None) -> tuple[ColumnBins, ...]:
    if reference is not None and reference.outputs:
        return tuple(
            number_bins(output, index, kind=ColumnKind.SCORE, has_range=signature.task == "regression")
            for index, output in enumerate(reference.outputs[: min(MAX_SCORES, signature.output_dim)])
        )
    if signature.task == "regression":
        return ()
    edges = tuple(float(np.float32(number / NUM_BINS)) for number in range(1, NUM_BINS))
    return tuple(
        ColumnBins(name, ColumnKind.SCORE, index, edges=edges) for index, name in enumerate(_score_names(signature))
    )


def _score_names(signature: Signature) -> Sequence[str]:
    labels = signature.labels
    if signature.task == "binary":
        return [labels[1] if labels else "1"]
    names = labels or tuple(str(number) for number in range(signature.output_dim))
    return names[:MAX_SCORES]


def _class_bins(signature: Signature) -> ColumnBins | None:
    if not 0 < signature.num_classes <= MAX_CLASSES:
        return None
    labels = signature.labels or tuple(str(number) for number in range(signature.num_classes))
    return ColumnBins(
        "class", ColumnKind.CLASS, 0, bins_of_codes=tuple(range(signature.num_classes)), labels=tuple(labels)
    )

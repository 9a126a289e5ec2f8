"""Bins from reference statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from forebay.models.artefacts.reference_statistics import CategoryReference, NumberReference, ReferenceStatistics
from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.drift.bins import NUM_BINS, REST, ColumnKind, category_bins, model_bins, number_bins
from tests.drift.build import COLOURS, reference_of, signature_of


def number(counts: list[int], *, mean: float = 0.0, deviation: float = 1.0, missing: int = 0) -> NumberReference:
    edges = tuple(float(edge) for edge in range(len(counts) - 1))
    return NumberReference("x", missing, mean, deviation, edges=edges, counts=tuple(counts))


@pytest.mark.parametrize("num_bins", [20, 200, 256])
def test_many_bins_become_about_ten_of_equal_shares(num_bins: int) -> None:
    bins = number_bins(number([5] * num_bins), 0)
    assert bins.num_bins == NUM_BINS
    assert bins.expected == pytest.approx([0.1] * NUM_BINS, abs=0.01)


def test_bins_are_unions_of_those_of_the_reference() -> None:
    bins = number_bins(number([0, 90, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]), 0)
    assert bins.expected is not None and sum(bins.expected) == pytest.approx(1)
    assert max(bins.expected) >= 0.9 and bins.num_bins == len(bins.expected) == len(bins.edges) + 1


def test_an_empty_outermost_bin_is_out_of_range() -> None:
    bins = number_bins(number([0, *[5] * 20, 0]), 0)
    assert (bins.low, bins.high, bins.expected_outside) == (0.0, 20.0, 0.0)


def test_otherwise_the_range_ends_eight_deviations_from_the_mean() -> None:
    bins = number_bins(number([50] * 20, mean=9.0, deviation=5.0), 0)
    assert (bins.low, bins.high) == (-31.0, 49.0)
    assert bins.expected_outside == pytest.approx(2 / 65)


def test_a_number_without_values_has_one_bin_and_no_shares() -> None:
    bins = number_bins(NumberReference("x", 7, None, None, edges=(), counts=(0,)), 0)
    assert (bins.num_bins, bins.expected, bins.expected_missing) == (1, None, 1.0)
    assert (bins.low, bins.high) == (-math.inf, math.inf)


def test_a_constant_keeps_a_bin_of_its_own() -> None:
    signature = signature_of(1)
    x = model_bins(signature, reference_of(signature, np.full((50, 1), 3, np.float32))).features[0]
    assert x.expected == (0.0, 1.0, 0.0)
    assert x.low == 3.0 and x.high > 3.0


def test_rare_categories_share_a_bin() -> None:
    feature = Feature("c", "category", ("a", "b", "rare", "never"), other=True)
    reference = CategoryReference("c", 10, feature.categories, (700, 285, 5, 0), other=0)
    bins = category_bins(reference, feature, 3)
    assert bins.labels == ("a", "b", REST)
    assert bins.bins_of_codes == (0, 1, 2, 2)
    assert bins.expected == pytest.approx((700 / 990, 285 / 990, 5 / 990))
    assert bins.expected_missing == 0.01


def test_categories_beyond_those_of_the_reference_are_rest_and_bound_the_unseen() -> None:
    feature = Feature("c", "category", tuple("abcd"), other=True)
    bins = category_bins(CategoryReference("c", 0, ("a", "b"), (60, 20), other=20), feature, 0)
    assert bins.labels == ("a", "b", REST) and bins.expected == pytest.approx((0.6, 0.2, 0.2))
    assert bins.expected_unseen == 0.2


def test_a_model_has_features_scores_and_classes() -> None:
    signature = signature_of(2, categories=COLOURS)
    rng = np.random.default_rng(0)
    x_NF = np.column_stack([rng.normal(size=(500, 2)), rng.integers(0, 4, 500)]).astype(np.float32)
    bins = model_bins(signature, reference_of(signature, x_NF, rng.random(500, np.float32)))
    assert [(column.name, column.kind) for column in bins.columns] == [
        ("x0", ColumnKind.NUMBER),
        ("x1", ColumnKind.NUMBER),
        ("colour", ColumnKind.CATEGORY),
        ("leave", ColumnKind.SCORE),
        ("class", ColumnKind.CLASS),
    ]
    assert bins.classes is not None and bins.classes.labels == ("stay", "leave")
    assert 0.15 < bins.features[2].expected_unseen < 0.35
    assert bins.scores[0].num_bins == NUM_BINS


def test_ignored_features_and_parts_of_times_are_not_counted() -> None:
    features = (Feature("at", "timestamp", parts=("hour", "weekday")), Feature("a"), Feature("b"))
    signature = Signature(features, (4,), "regression", 1)
    reference = reference_of(signature, np.random.default_rng(0).random((50, 4), np.float32))
    bins = model_bins(signature, reference, ignored=["b"])
    assert [(column.name, column.index) for column in bins.columns] == [("a", 2)]


def test_without_a_reference_only_probabilities_and_classes_are_counted() -> None:
    bins = model_bins(signature_of(2), None)
    assert [column.name for column in bins.columns] == ["leave", "class"]
    assert bins.scores[0].expected is None and bins.scores[0].num_bins == NUM_BINS
    regression = Signature((Feature("a"),), (1,), "regression", 1)
    assert model_bins(regression, None).columns == ()


def test_hashed_texts_have_no_range() -> None:
    signature = Signature((Feature("h", "hashed", buckets=8),), (1,), "regression", 1)
    reference = ReferenceStatistics(4, (NumberReference("h", 0, 1.0, 0.5, edges=(1.0,), counts=(0, 4)),))
    assert model_bins(signature, reference).features[0].high == math.inf

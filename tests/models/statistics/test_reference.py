"""Reference statistics made from training rows, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from forebay.models.artefacts.reference_statistics import CategoryReference, NumberReference, ReferenceStatistics
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.statistics.reference import NUM_BINS, reference_statistics
from forebay.schemas.errors import DataError

RANDOM = np.random.default_rng(9)
SIGNATURE = Signature(
    (
        Feature("age", nullable=True),
        Feature("city", "category", ("Basel", "Bern", "Chur"), nullable=True, other=True),
        Feature("user", "hashed", buckets=1_000),
        Feature("constant"),
    ),
    (4,),
    "binary",
    1,
    labels=("no", "yes"),
)


def make_rows(num_rows: int) -> np.ndarray:
    rows_NF = np.empty((num_rows, 4), np.float32)
    rows_NF[:, 0] = RANDOM.standard_normal(num_rows)
    rows_NF[::10, 0] = np.nan
    rows_NF[:, 1] = RANDOM.integers(0, 4, num_rows)
    rows_NF[::4, 1] = np.nan
    rows_NF[:, 2] = RANDOM.integers(0, 1_000, num_rows)
    rows_NF[:, 3] = 0.1
    return rows_NF


def test_the_statistics_agree_with_numpy() -> None:
    rows_NF, scores_N = make_rows(5_000), RANDOM.random(300).astype(np.float32)
    found = reference_statistics(SIGNATURE, np.array_split(rows_NF, 3), [scores_N[:100], scores_N[100:]])
    assert ReferenceStatistics.from_dict(found.to_dict()) == found
    assert found.rows == 5_000
    age, city, user, constant = found.features
    (score,) = found.outputs
    assert isinstance(age, NumberReference) and isinstance(user, NumberReference)
    present = rows_NF[~np.isnan(rows_NF[:, 0]), 0]
    assert (age.name, age.missing, len(age.edges)) == ("age", 500, NUM_BINS - 1)
    for column, values in ((age, present), (user, rows_NF[:, 2]), (score, scores_N)):
        # float32 values fall into the bins in which they were counted.
        edges = np.array(column.edges, np.float32)
        assert edges.tolist() == list(column.edges)
        bins = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
        assert list(column.counts) == bins.tolist()
        assert max(column.counts) <= 1.2 * len(values) / NUM_BINS
        assert column.mean == pytest.approx(values.astype(np.float64).mean(), rel=1e-12, abs=1e-12)
        assert column.standard_deviation == pytest.approx(values.astype(np.float64).std(ddof=1), rel=1e-12)
    assert isinstance(city, CategoryReference)
    codes = rows_NF[:, 1]
    assert (city.missing, city.other) == (np.isnan(codes).sum(), (codes == 3).sum())
    assert dict(zip(city.categories, city.counts, strict=True)) == {
        name: (codes == code).sum() for code, name in enumerate(("Basel", "Bern", "Chur"))
    }
    assert isinstance(constant, NumberReference)
    assert constant.counts == (0, 5_000, 0) and constant.edges[0] == np.float32(0.1)
    assert score.name == "yes" and score.rows == 300


def test_a_value_that_is_half_of_the_rows_has_a_bin() -> None:
    values = np.concatenate([np.zeros(500), RANDOM.standard_normal(500)]).astype(np.float32)
    (column,) = reference_statistics(Signature((Feature("x"),), (1,), "regression", 1), [values[:, None]]).features
    assert isinstance(column, NumberReference)
    assert 0.0 in column.edges and sum(column.counts) == 1_000
    assert column.counts[column.edges.index(0.0) + 1] >= 500


def test_infinite_and_missing_values_are_counted() -> None:
    values = np.array([[np.inf, np.nan], [-np.inf, np.nan], [1, np.nan], [2, np.nan]], np.float32)
    first, second = reference_statistics(Signature((), (2,), "regression", 1), [values]).features
    assert isinstance(first, NumberReference) and isinstance(second, NumberReference)
    assert (first.name, first.mean, sum(first.counts), first.missing) == ("0", 1.5, 4, 0)
    assert first.counts[0] == 2 and first.counts[-1] == 2
    assert (second.mean, second.standard_deviation, second.edges, second.counts) == (None, None, (), (0,))
    assert second.missing == 4


def test_rare_categories_are_counted_together() -> None:
    names = tuple(f"c{number}" for number in range(400))
    codes = np.repeat(np.arange(400), np.arange(400)).astype(np.float32)
    signature = Signature((Feature("x", "category", names),), (1,), "multiclass", 3, labels=("a", "b", "c"))
    found = reference_statistics(signature, [codes[:, None]], [np.zeros((2, 3), np.float32)])
    (column,) = found.features
    assert isinstance(column, CategoryReference)
    assert column.categories == names[144:] and column.counts == tuple(range(144, 400))
    assert column.other == sum(range(144))
    assert [output.name for output in found.outputs] == ["a", "b", "c"]


def test_images_are_described_up_to_the_limit() -> None:
    rows = np.zeros((3, 1, 40, 40), np.float32)
    found = reference_statistics(Signature((), (1, 40, 40), "regression", 1), [rows])
    assert [feature.name for feature in found.features[-2:]] == ["1022", "1023"]
    assert ReferenceStatistics.from_dict(found.to_dict()) == found


def test_no_rows_cannot_be_described() -> None:
    with pytest.raises(DataError, match="there are no rows"):
        reference_statistics(SIGNATURE, [np.zeros((0, 4), np.float32)])

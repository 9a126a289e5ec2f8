from __future__ import annotations

import doctest
import math

import numpy as np
import pandas as pd
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

import forebay
from forebay.models.artefacts import text_codes
from forebay.models.artefacts.signature import MAX_CATEGORIES, Feature
from forebay.models.artefacts.text_codes import bucket, code_table, encode_texts
from forebay.schemas.errors import ModelError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(TEXTS, st.integers(1, MAX_CATEGORIES))
def test_a_bucket_is_that_of_the_reference_implementation(text: str, buckets: int) -> None:
    expected = xxhash.xxh3_64(text.encode("utf-8"), seed=0).intdigest() % buckets
    feature = Feature("city", "hashed", buckets=buckets)
    assert bucket(text, buckets) == expected
    assert encode_texts(feature, [text]).tolist() == [expected]
    table = code_table(feature)
    assert table[text] == table[text] == expected  # computed, then perhaps remembered


def test_buckets_are_the_published_ones() -> None:
    # Constants, so that no release of a library changes what a trained model takes.
    assert [bucket(text, 1024) for text in ("", "Basel", "Zürich", "東京", "a" * 300)] == [194, 581, 846, 438, 545]


def test_remembering_buckets_takes_bounded_memory() -> None:
    table = code_table(Feature("id", "hashed", buckets=7))
    for number in range(10_000):
        assert table[f"{number}"] == bucket(f"{number}", 7)
    assert table["x" * 100] == bucket("x" * 100, 7)
    assert 0 < len(table) <= 4_096
    assert "x" * 100 not in table


def test_a_hundred_thousand_categories() -> None:
    categories = tuple(f"sku-{number}" for number in range(100_000))
    feature = Feature("sku", "category", categories)
    assert encode_texts(feature, ["sku-0", "sku-99999", "sku-5"]).tolist() == [0, 99_999, 5]


@pytest.mark.parametrize("missing", [None, math.nan, np.float32("nan"), pd.NA])
def test_a_missing_text_becomes_nan_if_the_feature_is_nullable(missing: object) -> None:
    for feature in (Feature("c", "category", ("a",), nullable=True), Feature("c", "hashed", nullable=True, buckets=4)):
        codes = encode_texts(feature, ["a", missing])
        assert codes.dtype == np.float32 and not np.isnan(codes[0]) and np.isnan(codes[1])


def test_a_column_of_pandas() -> None:
    column = pd.Series(["b", None, "a", "z"])
    feature = Feature("c", "category", ("a", "b"), nullable=True)
    np.testing.assert_array_equal(encode_texts(feature, column.tolist()), encode_texts(feature, column.to_numpy()))
    np.testing.assert_array_equal(encode_texts(feature, column), np.array([1, np.nan, 0, np.nan], np.float32))


def test_an_unknown_category_may_have_a_code_of_its_own() -> None:
    feature = Feature("c", "category", ("a", "b"), nullable=True, other=True)
    np.testing.assert_array_equal(encode_texts(feature, ["b", "z", None]), np.array([1, 2, np.nan], np.float32))
    assert feature.num_codes == 3


@pytest.mark.parametrize(
    ("feature", "text", "says"),
    [
        (Feature("c", "category", ("a",)), None, "feature 'c': row 1 has no value"),
        (Feature("c", "category", ("a",)), "b", "feature 'c': row 1 has the unknown category 'b'"),
        (Feature("c", "hashed", buckets=4), None, "feature 'c': row 1 has no value"),
        (Feature("c", "hashed", buckets=4), 7, "feature 'c': row 1 is 7 (int)"),
        (Feature("c", "hashed", buckets=4, nullable=True), True, "feature 'c': row 1 is True (bool)"),
        (Feature("c", "hashed", buckets=4), "\ud800", "feature 'c': row 1 is "),
        (Feature("c"), "a", "feature 'c' is float32, not a text"),
    ],
)
def test_values_that_a_worker_would_reject_raise(feature: Feature, text: object, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        encode_texts(feature, ["a", text])
    assert caught.value.message.startswith(says)
    assert caught.value.remedy


def test_the_example_in_the_documentation_is_true() -> None:
    names = {"Feature": forebay.Feature, "encode_texts": forebay.encode_texts}
    assert doctest.testmod(text_codes, extraglobs=names).failed == 0

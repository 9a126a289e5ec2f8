"""The statistics of a table: the choice of columns, merging, and correlations against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.models.statistics.table import TableStatistics, describe
from forebay.schemas.errors import DataError
from tests.conftest import examples

TABLE = pa.table(
    {"age": [1, 2, None], "city": ["a", "b", "b"], "late": [True, False, True], "city_code": [1.5, 2.5, 0.5]}
)


def test_all_columns_are_described_in_order() -> None:
    rows: list[int] = []
    table = describe(TABLE.to_batches(2), on_rows=rows.append)
    assert table is not None
    assert [column.name for column in table.columns] == ["age", "city", "late", "city_code"]
    assert (table.rows, rows) == (3, [2, 3] if len(rows) == 2 else [3])
    assert table.correlations is None


def test_chosen_columns_are_described_in_the_order_of_their_choice() -> None:
    table = describe(TABLE.to_batches(), ["late", "age", "late"])
    assert table is not None and [column.name for column in table.columns] == ["late", "age"]


def test_no_batch_gives_no_statistics() -> None:
    assert describe([]) is None


def test_an_unknown_column_is_named_with_a_similar_one() -> None:
    with pytest.raises(
        DataError, match="there is no column 'cty'; the columns are age, city, late, city_code"
    ) as caught:
        describe(TABLE.to_batches(), ["cty"])
    assert caught.value.remedy == "did you mean 'city'?"


def test_a_column_that_occurs_twice_cannot_be_chosen() -> None:
    batch = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    assert len(TableStatistics(batch.schema).columns) == 2
    with pytest.raises(DataError, match="'x' occurs 2 times"):
        describe([batch], ["x"])


numbers = (
    st.none() | st.sampled_from([0.0, 1.0, np.inf, np.nan]) | st.floats(-1e3, 1e3).map(lambda value: round(value, 3))
)


@given(
    st.lists(
        st.tuples(numbers, numbers, st.none() | st.integers(-9, 9), st.none() | st.booleans()), min_size=1, max_size=30
    ),
    st.integers(0, 30),
)
@settings(max_examples=examples(40), deadline=None)
def test_correlations_agree_with_pandas(rows: list[tuple[float | None, ...]], split: int) -> None:
    names, types = ["a", "b", "c", "d"], [pa.float64(), pa.float64(), pa.int8(), pa.bool_()]
    arrays = [pa.array(list(values), one) for values, one in zip(zip(*rows, strict=True), types, strict=True)]
    batch = pa.RecordBatch.from_arrays(arrays, names=names)
    table, added = (TableStatistics(batch.schema, correlations=True) for _ in range(2))
    table.add(batch.slice(0, split))
    added.add(batch.slice(split))
    table.merge(added)
    assert table.correlations is not None
    found = table.correlations.pearson()
    frame = pd.DataFrame(
        {
            name: pd.Series([None if value is None else float(value) for value in array.to_pylist()], dtype="float64")
            for name, array in zip(names, arrays, strict=True)
        }
    )
    expected = frame.replace([np.inf, -np.inf], np.nan).corr(min_periods=2).to_numpy()
    # Columns that are constant but for rounding have no correlation, or any: compare the others.
    for i in range(4):
        for j in range(4):
            both = frame.iloc[:, [i, j]].replace([np.inf, -np.inf], np.nan).dropna().to_numpy()
            spread = both.std(axis=0) if len(both) else np.zeros(2)
            if len(both) >= 2 and (spread > 0.01).all():
                assert found[i, j] == pytest.approx(expected[i, j], abs=1e-6)
            elif len(both) < 2:
                assert np.isnan(found[i, j])


def test_correlations_far_from_zero_are_precise() -> None:
    random = np.random.default_rng(2)
    x = random.standard_normal(5_000)
    frame = pd.DataFrame({"x": x + 1e9, "y": 0.3 * x + random.standard_normal(5_000) - 1e9, "constant": 0.1})
    table = describe(pa.Table.from_pandas(frame).to_batches(700), correlations=True)
    assert table is not None and table.correlations is not None
    found = table.correlations.pearson()
    assert found[0, 1] == pytest.approx(np.corrcoef(frame["x"] - 1e9, frame["y"] + 1e9)[0, 1], abs=1e-12)
    assert np.isnan(found[2]).all()


def test_tables_with_other_columns_are_not_merged() -> None:
    first, second = (TableStatistics(TABLE.schema, columns) for columns in ((), ("age",)))
    with pytest.raises(ValueError, match="different columns"):
        first.merge(second)

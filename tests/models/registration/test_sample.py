"""Features, labels and golden rows are read from a sample of the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.registration.sample import BUCKETS, Sample, read_sample
from forebay.schemas.errors import ModelError

TEXT = "age,city,pay,left\n30,Bern,1.5,no\n41,,2e3,yes\n,Basel,-7,no\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "people.csv"
    file.write_text(TEXT)
    return file


def signature(sample: Sample) -> Signature:
    features = sample.features()
    return Signature(features, (len(features),), task="binary", output_dim=1, labels=sample.labels())


def test_numbers_texts_and_empty_cells_of_a_csv_file(file: Path) -> None:
    sample = read_sample(file, "left")
    assert sample.features() == (
        Feature("age", nullable=True),
        Feature("city", "category", ("Basel", "Bern"), nullable=True),
        Feature("pay"),
    )
    assert sample.labels() == ("no", "yes") and sample.has_text_target()
    assert read_sample(file).features()[-1] == Feature("left", "category", ("no", "yes"))


def test_rows_are_encoded_as_a_worker_encodes_events(file: Path) -> None:
    sample = read_sample(str(file), "left")
    expected = np.array([[30, 1, 1.5], [41, np.nan, 2000], [np.nan, 0, -7]], dtype=np.float32)
    rows = sample.rows(signature(sample))
    assert rows is not None and rows.dtype == np.float32
    np.testing.assert_array_equal(rows, expected)


def test_rows_that_a_worker_would_reject_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("a,b\n1,x\n,x\n1e99,x\n4,z\n5,y\n")
    features = (Feature("a"), Feature("b", "category", ("y", "x")))
    rows = read_sample(file).rows(Signature(features, (2,), task="regression", output_dim=1))
    np.testing.assert_array_equal(rows, np.array([[1, 1], [5, 0]], dtype=np.float32))
    missing = Signature((Feature("c"),), (1,), task="regression", output_dim=1)
    assert read_sample(file).rows(missing) is None
    other = Signature((Feature("b", "category", ("q",)),), (1,), task="regression", output_dim=1)
    assert read_sample(file).rows(other) is None


def test_a_table_gives_the_same_as_its_csv_file(file: Path) -> None:
    table, sample = read_sample(pd.read_csv(file), "left"), read_sample(file, "left")
    assert (table.features(), table.labels()) == (sample.features(), sample.labels())
    np.testing.assert_array_equal(table.rows(signature(table)), sample.rows(signature(sample)))


def test_types_of_a_table() -> None:
    table = pd.DataFrame(
        {
            "flag": [True, False, True],
            "whole": pd.array([1, None, 3], dtype="Int64"),
            "kind": pd.Categorical(["b", "a", None]),
            "code": np.array([1, 2, 3], dtype=np.int8),
        }
    )
    assert read_sample(table).features() == (
        Feature("flag"),
        Feature("whole", nullable=True),
        Feature("kind", "category", ("a", "b"), nullable=True),
        Feature("code"),
    )


def test_a_column_of_very_many_texts_is_hashed(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("id\n" + "\n".join(f"event {number}" for number in range(1001)))
    sample = read_sample(file)
    assert sample.features() == (Feature("id", "hashed", buckets=BUCKETS),)
    rows = sample.rows(Signature(sample.features(), (1,), task="regression", output_dim=1))
    assert rows is not None and len(rows) == 1001 and len(np.unique(rows)) > 800


def test_labels_that_are_numbers_are_sorted_by_size() -> None:
    sample = read_sample(pd.DataFrame({"x": [1.0, 2, 3], "y": [10, 9, 9]}), "y")
    assert sample.labels() == ("9", "10") and not sample.has_text_target()


@pytest.mark.parametrize(
    ("text", "target", "says"),
    [
        ("", None, "there is no header"),
        ("a,b\n", None, "there is no row below the header"),
        ("a,b\n1\n", None, "row 2 has 1 cells; the header has 2"),
        ("a,a\n1,2\n", None, "the column 'a' occurs 2 times"),
        ("a,\n1,2\n", None, "a column has no name"),
        ("a,b\n,1\n,2\n", None, "column 'a' has no value"),
        ("a,b\n1,2\n", "c", "there is no column 'c'"),
        ("a\n\xff\n", None, "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, target: str | None, says: str) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=says) as caught:
        read_sample(file, target).features()
    assert str(file) in caught.value.message and caught.value.remedy


def test_other_wrong_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        read_sample(tmp_path / "nothing.csv")
    with pytest.raises(ModelError, match="signature is a list"):
        read_sample(["age"])
    with pytest.raises(ModelError, match="column 'when' holds a Timestamp"):
        read_sample(pd.DataFrame({"when": pd.to_datetime(["2026-11-02"])}))
    with pytest.raises(ModelError, match="has no rows"):
        read_sample(pd.DataFrame({"a": []}))

"""Signatures that are read from data of several libraries."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import forebay
from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.errors import ModelError

ROWS: dict[str, list[Any]] = {
    "delay": [3.5, None, -1.0, 2.0],
    "carrier": ["UA", "AA", None, "UA"],
    "seats": [100, 200, 300, 400],
    "full": [True, False, True, True],
    "late": ["no", "yes", "no", "no"],
}
WANTED = Signature(
    (
        Feature("delay", nullable=True),
        Feature("carrier", "category", ("AA", "UA"), nullable=True),
        Feature("seats"),
        Feature("full"),
    ),
    (4,),
    "binary",
    1,
    labels=("no", "yes"),
)


def csv_file(folder: Path) -> Path:
    path = folder / "rows.csv"
    pd.DataFrame({**ROWS, "full": [1, 0, 1, 1]}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("kind", ["pandas", "table", "batch", "csv"])
def test_each_kind_of_table_gives_the_same_signature(kind: str, tmp_path: Path) -> None:
    data = {
        "pandas": lambda: pd.DataFrame(ROWS),
        "table": lambda: pa.table(ROWS),
        "batch": lambda: pa.table(ROWS).to_batches()[0],
        "csv": lambda: csv_file(tmp_path),
    }[kind]()
    assert forebay.infer_signature(data, target="late") == WANTED


class FrameOfPolars:
    """What is used of a polars.DataFrame, which the tests do not install."""

    __module__ = "polars.dataframe.frame"

    def __init__(self, rows: dict[str, list[Any]]) -> None:
        self.columns = list(rows)
        self._rows = rows

    def slice(self, offset: int, length: int) -> FrameOfPolars:
        return FrameOfPolars({name: values[offset : offset + length] for name, values in self._rows.items()})

    def get_columns(self) -> list[Any]:
        return [pd.Series(values, dtype=object) for values in self._rows.values()]


def test_polars_gives_the_same_signature() -> None:
    assert forebay.infer_signature(FrameOfPolars(ROWS), target="late") == WANTED


def test_the_target_says_what_the_task_is() -> None:
    def of(*target: Any, **options: Any) -> Signature:
        return forebay.infer_signature(pa.table({"x": [1.0] * len(target), "y": target}), target="y", **options)

    assert (of(0, 1, 1).task, of(0, 1).labels, of(True, False).task) == ("binary", (), "binary")
    assert (of(0, 1, 2).task, of(1.5, 2.5).output_dim) == ("regression", 1)
    assert of("b", "a", "c").labels == ("a", "b", "c") and of("b", "a", "c").output_dim == 3
    assert of(0, 1, 2, task="multiclass").labels == ("0", "1", "2")
    assert of("b", "a", labels=("b", "a")).labels == ("b", "a")
    assert of(Decimal("1.5"), None, output_dim=2).output_dim == 2


def test_arrays_have_the_names_that_are_given() -> None:
    x_NF = np.array([[1.0, np.nan], [2.0, 3.0]])
    named = forebay.infer_signature(x_NF, names=["a", "b"], task="regression")
    assert named == Signature((Feature("a"), Feature("b", nullable=True)), (2,), "regression", 1)
    assert forebay.infer_signature(x_NF, names=["a", "y"], target="y").features == (Feature("a"),)
    image = forebay.infer_signature(np.zeros((5, 3, 8, 8)), task="multiclass", output_dim=10)
    assert image == Signature((), (3, 8, 8), "multiclass", 10)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (pa.table(ROWS), {}, "neither task nor target is given"),
        (pa.table(ROWS), {"target": "later"}, "there is no column 'later'"),
        (pa.table(ROWS), {"target": "late", "names": ["a"]}, "the data has names of its own"),
        (pa.table({"y": [1.0]}), {"target": "y"}, "there is no column besides the target"),
        (pa.table({"x": pa.nulls(2)}), {"task": "binary"}, "column 'x' has no value"),
        (pa.table({"x": [[1], [2]]}), {"task": "binary"}, "column 'x' holds a list"),
        (pa.table({"x": pa.array([], pa.float64())}), {"task": "binary"}, "has no rows"),
        (pa.table({"x": [1.0]}), {"task": "multiclass"}, "the classes are not known"),
        (np.zeros((2, 2)), {"names": ["a"], "task": "binary"}, r"1 names for an array \[2, 2\]"),
        (np.zeros((2, 2)), {}, "the array has no names"),
        (np.array([["a"]]), {"task": "binary"}, "the array is <U1"),
        ([1, 2], {"task": "binary"}, "data is a list"),
        (pa.schema([]), {"task": "binary"}, "data is a Schema"),
    ],
    ids=str,
)
def test_data_without_a_signature_is_refused(data: object, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        forebay.infer_signature(data, **options)
    assert caught.value.remedy

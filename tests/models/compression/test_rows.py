"""The rows of a compression, and the losses by slice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.compression.accuracy import accuracy_loss, slices_of
from forebay.models.compression.training_rows import Part, read_data
from forebay.models.training.recipe_sections import DataSection, SplitSection
from forebay.schemas.errors import ConfigError, DataError
from tests.models.compression.small_models import graph_subject, published, spots_data, spots_layers, spots_signature

COLUMNS = 6


class Table:
    """A table of one batch."""

    name = "spots.parquet"

    def __init__(self, columns: dict[str, object]) -> None:
        self._batch = pa.RecordBatch.from_pydict(columns)

    def batches(self, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        yield self._batch


def manifest(signature: Signature, folder: Path) -> Manifest:
    return published(graph_subject(spots_layers(), signature), folder, spots_data()).manifest


def columns(prefix: str, rows: int = 100) -> dict[str, object]:
    values = np.arange(rows, dtype=np.float64)
    return {f"{prefix}{index}": values + index for index in range(COLUMNS)}


def test_rows_are_coded_as_a_worker_codes_events_and_each_is_in_one_part(tmp_path: Path) -> None:
    labels = ["a", "b", "c", "a"] * 25
    table = Table({**columns("f"), "more": labels, "label": labels})
    model = manifest(spots_signature(), tmp_path)
    data = read_data(model, table, DataSection(path="x", label="label"), SplitSection(), folder=tmp_path)
    parts = (data.training, data.validation, data.held_out)
    assert [len(part) for part in parts] == [70, 15, 15]
    seen = np.concatenate([part.x_NW[:, 0] for part in parts])
    assert sorted(seen.tolist()) == list(range(100))
    part = data.held_out
    assert part.y.tolist() == ["abca".index("abca"[int(row) % 4]) for row in part.x_NW[:, 0]]
    assert data.is_finite


def test_a_model_without_names_takes_the_other_columns_in_their_order(tmp_path: Path) -> None:
    signature = Signature((), (COLUMNS,), "multiclass", 3)
    table = Table({**columns("p"), "id": list(range(100)), "digit": [0, 1, 2, 1] * 25})
    model = manifest(signature, tmp_path)
    section = DataSection(path="x", label="digit", id="id")
    data = read_data(model, table, section, SplitSection(), folder=tmp_path)
    assert (data.training.x_NW[:, 1] - data.training.x_NW[:, 0] == 1).all()
    with pytest.raises(DataError, match="7 columns of features; the model takes 6"):
        read_data(model, table, DataSection(path="x", label="digit"), SplitSection(), folder=tmp_path)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    model = manifest(spots_signature(), tmp_path)
    with pytest.raises(DataError, match="no column f0, f1, f2, f3, f4 and 2 more"):
        read_data(model, Table({"x": [1.0]}), DataSection(path="x", label="y"), SplitSection(), folder=tmp_path)


def test_slices_are_classes_categories_and_quarters() -> None:
    signature = Signature(
        (Feature("kind", "category", ("x", "y")), Feature("size")), (2,), "binary", 1, labels=("no", "yes")
    )
    x = np.stack([np.arange(80) % 2, np.arange(80)], axis=1).astype(np.float32)
    part = Part(x, x, (np.arange(80) >= 20).astype(np.float32))
    found = slices_of(signature, part, ["kind", "size"])
    counts = {name: int(rows.sum()) for name, rows in found.items()}
    assert counts["label=no"] == 20 and counts["kind=x"] == 40
    assert [count for name, count in counts.items() if "size" in name] == [20, 20, 20, 20]
    with pytest.raises(ConfigError, match="no feature 'colour'"):
        slices_of(signature, part, ["colour"])


def test_small_slices_are_not_judged_and_the_worst_comes_first() -> None:
    original, other = np.zeros(100), np.zeros(100)
    other[:10] = 1.0
    rows = np.arange(100)
    slices = {"all": rows >= 0, "worst": rows < 40, "few": rows < 10}
    found = accuracy_loss(original, other, is_classifier=True, slices=slices, random=np.random.default_rng(0))
    assert [(part.name, part.loss) for part in found.slices] == [("worst", 0.25), ("all", 0.1)]
    assert found.loss.value == pytest.approx(0.1) and 0.03 < found.loss.low < 0.1 < found.loss.high < 0.18
    assert found.test is not None and found.test.p_value == pytest.approx(2 / 2**10)


def test_the_loss_of_a_regression_is_the_relative_increase_of_the_error() -> None:
    random = np.random.default_rng(1)
    original = random.chisquare(1, 500)
    found = accuracy_loss(original, original * 1.21, is_classifier=False, slices={}, random=random)
    assert found.loss.value == pytest.approx(0.1) and found.loss.low == pytest.approx(0.1)
    assert found.other / found.original == pytest.approx(1.1) and found.test is None

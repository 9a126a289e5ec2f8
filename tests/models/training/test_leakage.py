from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from forebay.models.training.leakage import association
from forebay.models.training.prepared_data import prepare_data
from tests.models.training.tables import MemoryTable, recipe_with

RANDOM = np.random.default_rng(0)
ROWS = 600


def warnings_for(folder: Path, columns: dict[str, Any], **sections: Any) -> tuple[str, ...]:
    y = (RANDOM.random(ROWS) < 0.4).astype(np.int64)
    table = pa.table({"noise": RANDOM.normal(size=ROWS), **{name: make(y) for name, make in columns.items()}, "y": y})
    return prepare_data(recipe_with(folder, **sections), MemoryTable(table), folder).warnings


def test_clean_data_gives_no_warning(tmp_path: Path) -> None:
    columns = {
        "weak": lambda y: y + RANDOM.normal(size=ROWS),
        "text": lambda y: RANDOM.choice(["a", "b"], ROWS).tolist(),
    }
    assert warnings_for(tmp_path, columns) == ()


def test_a_feature_that_holds_the_label_is_named(tmp_path: Path) -> None:
    columns = {
        "outcome": lambda y: np.where(y == 1, "yes", "no").tolist(),
        "paid": lambda y: 3.0 - 2 * y + RANDOM.normal(0, 0.01, ROWS),
    }
    found = warnings_for(tmp_path, columns)
    assert [warning.split("'")[1] for warning in found] == ["outcome", "paid"]
    assert "data.exclude" in found[0]


def test_shared_keys_identical_rows_and_the_order_of_time_are_reported(tmp_path: Path) -> None:
    columns = {"who": lambda y: RANDOM.integers(0, 30, ROWS).astype(str).tolist(), "when": lambda y: np.arange(ROWS)}
    data = {"key": "who", "time": "when"}
    found = warnings_for(tmp_path, columns, data=data)
    assert len([warning for warning in found if "keys have rows in training and in" in warning]) == 2
    assert any("the split ignores when" in warning for warning in found)
    assert not any("keys" in warning for warning in warnings_for(tmp_path, columns, data=data, split={"by": "key"}))
    assert not any("ignores" in warning for warning in warnings_for(tmp_path, columns, data=data, split={"by": "time"}))


def test_identical_rows_are_reported(tmp_path: Path) -> None:
    columns = {"noise": lambda y: RANDOM.integers(0, 5, ROWS)}
    found = warnings_for(tmp_path, columns)
    assert any("have the same features as a training row" in warning for warning in found)


def test_associations_of_values_are_rank_correlations() -> None:
    x = RANDOM.normal(size=2000).astype(np.float32)
    y = np.exp(x)
    assert association(x, y, x, -y, task="regression", is_text=False) == 1.0
    noise = RANDOM.normal(size=2000).astype(np.float32)
    assert association(noise, y, noise, y, task="regression", is_text=False) < 0.1


def test_a_class_of_few_rows_says_nothing() -> None:
    y = np.repeat([0.0, 1.0], [100, 5]).astype(np.float32)
    x = y + np.float32(1)
    assert association(x, y, x, y, task="binary", is_text=False) == 0.0
    y = np.repeat([0.0, 1.0], [100, 30]).astype(np.float32)
    x = y + np.float32(1)
    assert association(x, y, x, y, task="binary", is_text=False) == 1.0

"""Files of the libraries, registered and validated from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from xgboost import XGBClassifier

from forebay.stream.cli import main

ROWS = 300


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """A table with numbers, texts, empty cells and the label `left`, and the folder with its file people.csv."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(7)
    age, city = random.integers(18, 80, ROWS).astype(np.float32), random.choice(["Basel", "Bern", "Chur"], ROWS)
    table = pd.DataFrame({"id": np.arange(ROWS), "city": city, "age": age})
    table.loc[::7, "age"] = np.nan
    table.loc[::11, "city"] = None
    table["left"] = np.where((age > 50) ^ (city == "Bern"), "yes", "no")
    table.to_csv("people.csv", index=False)
    return table


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["models", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("file", ["people.ubj", "people.json", "people.txt"])
def test_a_file_is_registered_with_a_sample_and_serves(
    sample: pd.DataFrame, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    # The columns of the model are in another order than those of the file, which has one more.
    x, y = sample[["age", "city"]].astype({"city": "category"}), (sample["left"] == "yes").astype(int)
    if file == "people.txt":
        LGBMClassifier(n_estimators=5, verbose=-1).fit(x, y).booster_.save_model(file)
    else:
        XGBClassifier(n_estimators=5, max_depth=3, enable_categorical=True).fit(x, y).save_model(file)
    done = run(capsys, "register", file, "--name", "people", "--signature", "people.csv", "--target", "left")
    assert (done["backend"], done["compared"], done["golden_rows_given"]) == ("trees", True, True)
    signature = run(capsys, "show", "people")["signature"]
    assert [(one["name"], one["categories"], one["nullable"]) for one in signature["features"]] == [
        ("age", [], True),
        ("city", ["Basel", "Bern", "Chur"], True),
    ]
    assert (signature["task"], signature["labels"]) == ("binary", ["no", "yes"])
    (result,) = run(capsys, "validate", "people")
    assert result["ok"] and "32 golden rows agree" in result["detail"]

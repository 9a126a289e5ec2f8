"""Put a model of LightGBM behind a topic.

    python examples/register_lightgbm.py models
    forebay run --set model.repository=models --set model.name=wine-lightgbm

Needs lightgbm and scikit-learn: `pip install 'forebay[trees]'`. The worker needs neither.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lightgbm import LGBMClassifier
from sklearn.datasets import load_wine

import forebay


def main(repository: Path) -> tuple[object, object]:
    x, y = load_wine(return_X_y=True, as_frame=True)
    x = x.astype("float32")  # as events give them, so that no threshold lies between a number and its float32
    model = LGBMClassifier(n_estimators=20, verbose=-1).fit(x[::2], y[::2])
    model.booster_.save_model(repository.parent / "wine.txt")
    done = forebay.register(
        repository.parent / "wine.txt",  # the file, or the object `model`
        name="wine-lightgbm",
        repository=repository,
        signature=x,  # a sample: names and types of the columns, and golden rows
        metrics={"accuracy": model.score(x[1::2], y[1::2])},
        note="examples/register_lightgbm.py",
    )
    print(f"published {done.folder}")
    return x[1:40:2], model.predict_proba(x[1:40:2])  # what the worker predicts for these events


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/register_lightgbm.py REPOSITORY")
    main(Path(sys.argv[1]))

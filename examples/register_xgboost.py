"""Put a model of XGBoost behind a topic.

    python examples/register_xgboost.py models
    forebay run --set model.repository=models --set model.name=tumours-xgboost

Needs xgboost and scikit-learn: `pip install 'forebay[trees]'`. The worker needs neither.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer
from xgboost import XGBClassifier

import forebay


def main(repository: Path) -> tuple[object, object]:
    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    model = XGBClassifier(n_estimators=40, max_depth=4).fit(x[:400], y[:400])
    done = forebay.register(
        model,
        name="tumours-xgboost",
        repository=repository,
        signature=x,  # a sample: names and types of the columns, and golden rows
        labels=("malignant", "benign"),
        metrics={"accuracy": model.score(x[400:], y[400:])},
        note="examples/register_xgboost.py",
    )
    print(f"published {done.folder}")
    return x[400:420], model.predict_proba(x[400:420])[:, 1]  # what the worker predicts for these events


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/register_xgboost.py REPOSITORY")
    main(Path(sys.argv[1]))

"""Put a plain Python function behind a topic. This file becomes part of the model, so workers must trust the repository.

    python examples/register_function.py models
    forebay run --set model.repository=models --set model.name=iris-function --set trust.repositories=models

Needs scikit-learn, for its data.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def predict(x: np.ndarray) -> np.ndarray:
    """Return probabilities [B, 3] for float32 [B, 4]."""
    petal_length, petal_width = x[:, 2], x[:, 3]
    species = np.where(petal_length < 2.45, 0, np.where(petal_width < 1.75, 1, 2))
    return 0.05 + 0.85 * np.eye(3, dtype=np.float32)[species]


def main(repository: Path) -> tuple[object, object]:
    from sklearn.datasets import load_iris  # not at the top, which the worker runs

    import forebay

    x, y = load_iris(return_X_y=True, as_frame=True)
    done = forebay.register(
        __file__,
        name="iris-function",
        repository=repository,
        signature=x,
        task="multiclass",
        labels=("setosa", "versicolor", "virginica"),
        metrics={"accuracy": float((predict(x.to_numpy()).argmax(1) == y).mean())},
    )
    print(f"published {done.folder}")
    return x[::8], predict(x[::8].to_numpy("float32"))  # what the worker predicts for these events


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/register_function.py REPOSITORY")
    main(Path(sys.argv[1]))

"""Train a model and publish it to a model repository, from which a worker serves it.

    python examples/train_model.py models
    forebay run --set model.repository=models --set model.name=damp

The data are synthetic: a room feels damp when it is humid and cold, and a cellar feels damp sooner. The script shows the
steps: define a signature, fit the preprocessing, train the model, save the artefact. It needs no broker.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from forebay import Feature, Signature, TrainOptions, fit_preprocessing, save_artefact, train
from forebay.schemas.errors import ForebayError


def main(repository: Path, rows: int = 20_000) -> Path:
    # 1. Define the features of an event: names and types, in the order of the columns. N rows, F = 3 features.
    signature = Signature(
        features=(
            Feature("sensor", "category", categories=("cellar", "kitchen")),
            Feature("temperature"),
            Feature("humidity", nullable=True),
        ),
        shape=(3,),
        task="binary",
        output_dim=1,
        labels=("fine", "damp"),
    )

    # 2. Make training rows, encoded as the worker encodes events: a category is its index, a missing value is NaN.
    random = np.random.default_rng(7)
    sensor_N = random.integers(0, 2, rows)
    temperature_N = random.normal(20, 5, rows)
    humidity_N = random.uniform(30, 70, rows)
    damp_N = humidity_N - temperature_N + 10 * (sensor_N == 0) + random.normal(0, 3, rows) > 35
    humidity_N[random.random(rows) < 0.1] = np.nan
    x_NF = np.column_stack([sensor_N, temperature_N, humidity_N]).astype(np.float32)

    # 3. Fit the preprocessing: impute, scale, one-hot. It becomes part of the artefact, and the worker applies it too.
    preprocessing = fit_preprocessing(signature, x_NF, impute="median")

    # 4. Train.
    trained = train(
        "mlp",
        {"input_dim": preprocessing.output_width(signature.num_features), "hidden_dims": [16], "output_dim": 1},
        "binary",
        x_NG=preprocessing.apply(x_NF),
        y_N=damp_N.astype(np.float32),
        options=TrainOptions(epochs=10, batch_size=512, learning_rate=5e-3, seed=7),
    )

    # 5. Publish the model under the next version. Publishing is atomic. A few of the training rows are stored with the model's
    # outputs for them, which every worker compares with its own.
    folder = save_artefact(
        repository,
        "damp",
        trained.net,
        signature=signature,
        preprocessing=preprocessing,
        metrics=trained.metrics,
        created_at=datetime.now(UTC),
        golden_rows=x_NF,
        note="examples/train_model.py, synthetic data",
    )
    print(f"published {folder}, validation accuracy {trained.metrics['accuracy']:.1%}")
    return folder


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/train_model.py REPOSITORY")
    try:
        main(Path(sys.argv[1]))
    except ForebayError as error:
        # For example a repository that cannot be written. The message names the cause, and the remedy what to do.
        sys.exit(f"{error}\nhint: {error.remedy}" if error.remedy else str(error))

"""Predict files with Ray Data: actors that load a model once and predict blocks of rows.

    pip install forebay "ray[data]"
    python examples/ray_data_backfill.py models damp events.parquet outcomes

Reads Parquet or JSON Lines whose columns are the features, with `id` if there is one, and writes Parquet with a row for each
event: the outcome, the label or the value, and the message of a failure. The order of rows is that of the input.
"""

from __future__ import annotations

import sys
from typing import Any

import pandas as pd
import ray

import forebay


class Predictor:
    """Predicts blocks of rows. version: a number or an alias; None for the highest."""

    def __init__(self, repository: str, name: str, version: int | str | None = None) -> None:
        self._model = forebay.load(repository, name, version)
        self._features = [feature.name for feature in self._model.signature.features]

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        values = rows[self._features].astype(object)
        values = values.where(values.notna(), None)  # pandas has NaN where a feature is missing
        ids = rows["id"].astype(str) if "id" in rows else [None] * len(rows)
        events = [
            {"features": features} if id is None else {"id": id, "features": features}
            for id, features in zip(ids, values.to_dict("records"), strict=True)
        ]
        return pd.DataFrame([row_of(outcome) for outcome in self._model.predict(events)])


def row_of(outcome: Any) -> dict[str, Any]:
    label, values = outcome.prediction.get("label"), outcome.prediction.get("prediction", [])
    return {"id": outcome.id, "outcome": outcome.kind, "label": label, "values": values, "message": outcome.message}


def main(repository: str, name: str, events: str, outcomes: str, num_actors: str = "1") -> None:
    read = ray.data.read_json if events.endswith((".json", ".jsonl")) else ray.data.read_parquet
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    read(events).map_batches(
        Predictor,
        fn_constructor_args=(repository, name),
        batch_size=1_000,
        batch_format="pandas",
        compute=ray.data.ActorPoolStrategy(size=int(num_actors)),
    ).write_parquet(outcomes)


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6) or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/ray_data_backfill.py REPOSITORY NAME EVENTS OUTCOMES [ACTORS]")
    main(*sys.argv[1:])

"""Run the pipelined aiokafka worker with XGBoost's own prediction instead of a torch net.

The booster is read from `<model>.json` beside the repository, with one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import orjson
import xgboost

from benchmarks.contestants.aiokafka_worker import main
from benchmarks.contestants.job import PIPELINED_COMMIT_S, Job
from benchmarks.contestants.predict import Origin


def make_predictor(job: Job) -> Callable[[Sequence[bytes], Sequence[Origin]], list[bytes | None]]:
    """Return a function like `Predictor` for the booster; features are given by name, as the events contain them."""
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(Path(job.repository).parent / f"{job.model}.json")
    names = booster.feature_names
    assert names is not None

    def predict(values: Sequence[bytes], origins: Sequence[Origin]) -> list[bytes | None]:
        ids, timestamps, rows, places = [], [], [], []
        for place, value in enumerate(values):
            try:
                event = orjson.loads(value)
                features = event["features"]
                rows.append([features[name] for name in names] if isinstance(features, dict) else features)
                ids.append(event["id"])
                timestamps.append(event["timestamp"])
                places.append(place)
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue
        p_B = booster.inplace_predict(np.array(rows, dtype=np.float32))
        classes = (p_B >= 0.5).astype(int).tolist()
        scores = p_B.astype(np.float64).round(8).tolist()
        encoded: list[bytes | None] = [None] * len(values)
        for place, event_id, timestamp, score, chosen in zip(places, ids, timestamps, scores, classes, strict=True):
            topic, partition, offset = origins[place]
            encoded[place] = orjson.dumps(
                {
                    "id": event_id,
                    "model": job.model,
                    "version": 1,
                    "prediction": score,
                    "confidence": max(score, 1 - score),
                    "class": chosen,
                    "label": None,
                    "source": {"topic": topic, "partition": partition, "offset": offset, "timestamp": timestamp},
                }
            )
        return encoded

    return predict


if __name__ == "__main__":
    main(commit_interval_s=PIPELINED_COMMIT_S, make_predictor=make_predictor)

"""Decode, predict and encode a batch, for the hand-written workers.

The model is the artefact's net. It runs eagerly on one thread, as in Forebay. orjson parses and writes JSON.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson
import torch

from benchmarks.contestants.job import Job
from forebay.models.artefacts.artefact import read_artefact, read_version
from forebay.models.backends.torch.backend import load_net

NUM_FEATURES = 32

Origin = tuple[str, int, int]
"""Topic, partition, offset."""


class Predictor:
    """Turn record values and their origins into predictions; None for a value that is not a valid event."""

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(1)
        artefact = read_artefact(read_version(job.repository, job.model))
        self._net = load_net(artefact)
        self._model = artefact.manifest.name
        self._version = artefact.manifest.version
        for size in (1, 64, 512):
            with torch.inference_mode():
                self._net(torch.zeros(size, NUM_FEATURES))

    def __call__(self, values: Sequence[bytes], origins: Sequence[Origin]) -> list[bytes | None]:
        ids, timestamps, rows, places = self.parse(values)
        with torch.inference_mode():
            p_BO = torch.softmax(self._net(torch.from_numpy(np.array(rows, dtype=np.float32))), dim=1).numpy()
        classes = p_BO.argmax(axis=1).tolist()
        # Rounded to the digits of float32, so that the documents are as long as Forebay's.
        scores = p_BO.astype(np.float64).round(8).tolist()
        encoded: list[bytes | None] = [None] * len(values)
        for place, event_id, timestamp, score, chosen in zip(places, ids, timestamps, scores, classes, strict=True):
            topic, partition, offset = origins[place]
            encoded[place] = orjson.dumps(
                {
                    "id": event_id,
                    "model": self._model,
                    "version": self._version,
                    "prediction": score,
                    "confidence": score[chosen],
                    "class": chosen,
                    "label": None,
                    "source": {"topic": topic, "partition": partition, "offset": offset, "timestamp": timestamp},
                }
            )
        return encoded

    def parse(self, values: Sequence[bytes]) -> tuple[list[str], list[int], list[list[float]], list[int]]:
        """Return the ids, times, features and places of those values that are valid events in JSON."""
        ids, timestamps, rows, places = [], [], [], []
        for place, value in enumerate(values):
            try:
                event = orjson.loads(value)
                event_id, timestamp, features = event["id"], event["timestamp"], event["features"]
                if len(features) != NUM_FEATURES:
                    continue
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue
            ids.append(event_id)
            timestamps.append(timestamp)
            rows.append(features)
            places.append(place)
        return ids, timestamps, rows, places

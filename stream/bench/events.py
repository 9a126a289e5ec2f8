"""Synthetic events with the size and shape of real ones, the same in every run."""

from __future__ import annotations

from typing import Final

import numpy as np
import orjson

from forebay.models.artefacts.signature import Signature

DISTINCT_ROWS: Final = 1_000
NUM_KEYS: Final = 1_000
_SEED: Final = 20_130_101


class EventGenerator:
    """Generates events for one signature. The features are encoded once, so that it is fast enough to generate load."""

    def __init__(self, signature: Signature) -> None:
        rng = np.random.default_rng(_SEED)
        numbers = rng.normal(size=(DISTINCT_ROWS, signature.num_features)).round(4).tolist()
        for index, feature in enumerate(signature.features):
            if feature.dtype == "category":
                codes = rng.integers(len(feature.categories), size=DISTINCT_ROWS).tolist()
                for row, code in enumerate(codes):
                    numbers[row][index] = feature.categories[code]
        self._rows = [orjson.dumps(row) for row in numbers]

    def key(self, number: int) -> bytes:
        """Return the record key of event `number`."""
        return b"key-%d" % (number % NUM_KEYS)

    def value(self, number: int, timestamp_ms: int) -> bytes:
        """Return event `number` as JSON; its id ends in `number` (see `number_of`)."""
        return b'{"id":"event-%d","timestamp":%d,"features":%b}' % (
            number,
            timestamp_ms,
            self._rows[number % DISTINCT_ROWS],
        )


def number_of(prediction: bytes) -> int:
    """Return the number of the event of a prediction. Raises ValueError or KeyError if it does not belong to such an event."""
    event_id: str = orjson.loads(prediction)["id"]
    return int(event_id.removeprefix("event-"))

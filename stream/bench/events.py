"""Synthetic events with the size and shape of real ones, the same in every run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import numpy as np
import orjson

from forebay.models.artefacts.signature import Signature

DISTINCT_ROWS: Final = 1_000
NUM_KEYS: Final = 1_000
_SEED: Final = 20_130_101


class Events(Protocol):
    """Generates events by number."""

    def key(self, number: int) -> bytes: ...
    def value(self, number: int, timestamp_ms: int) -> bytes: ...


class EventGenerator:
    """Generates events for one signature. The features are encoded once, so that it is fast enough to generate load.

    model: the model that each event names; None if it names none.
    by_name: whether the features are an object with their names rather than an array.
    """

    def __init__(self, signature: Signature, *, model: str | None = None, by_name: bool = False) -> None:
        rng = np.random.default_rng(_SEED)
        width = len(signature.features) or signature.num_features
        numbers = rng.normal(size=(DISTINCT_ROWS, width)).round(4).tolist()
        for index, feature in enumerate(signature.features):
            if feature.is_text:
                texts = feature.categories or tuple(f"text-{number}" for number in range(DISTINCT_ROWS))
                for row, code in enumerate(rng.integers(len(texts), size=DISTINCT_ROWS).tolist()):
                    numbers[row][index] = texts[code]
            elif feature.parts:
                for row, milliseconds in enumerate(rng.integers(1_577_836_800_000, size=DISTINCT_ROWS).tolist()):
                    numbers[row][index] = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()
        end = b"" if model is None else b',"model":' + orjson.dumps(model)
        names = [feature.name for feature in signature.features]
        self._rows = [orjson.dumps(dict(zip(names, row, strict=True)) if by_name else row) + end for row in numbers]

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


class AlternatingEvents:
    """Takes events from several generators in turn."""

    def __init__(self, generators: Sequence[Events]) -> None:
        self._generators = tuple(generators)

    def key(self, number: int) -> bytes:
        """Return the record key of event `number`."""
        return self._of(number).key(number)

    def value(self, number: int, timestamp_ms: int) -> bytes:
        """Return event `number` as JSON."""
        return self._of(number).value(number, timestamp_ms)

    def _of(self, number: int) -> Events:
        return self._generators[number % len(self._generators)]


def number_of(prediction: bytes) -> int:
    """Return the number of the event of a prediction. Raises ValueError or KeyError if it does not belong to such an event."""
    event_id: str = orjson.loads(prediction)["id"]
    return int(event_id.removeprefix("event-"))

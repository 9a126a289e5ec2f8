"""Three models in one worker, one failing on rows, one slow, one with windows, and the events of a proof for all of them.

The topic `features` is mixed; `orders` belongs to the slow model, and now and then has events for the others.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from forebay.schemas import headers as names
from forebay.stream.core.outputs import Headers
from tests.eventtime.test_exact import SPEC, WINDOW
from tests.exactness.feed import GARBAGE, GARBAGE_EVERY, ID_HEADER, KIND_HEADER, FeedEvent
from tests.worker.echo import NUM_FEATURES, POISON

FAILING, SLOW, WINDOWS = "failing", "slow", "windows"
WINDOW_SPEC = SPEC
OF_TOPIC: Final = {"features": WINDOWS, "orders": SLOW}
WIDTHS: Final = {FAILING: NUM_FEATURES, SLOW: 6, WINDOWS: NUM_FEATURES}
MODELS: Final[tuple[dict[str, Any], ...]] = (
    {"name": FAILING, "mode": "raise"},
    {
        "name": SLOW,
        "mode": "slow",
        "width": WIDTHS[SLOW],
        "topics": ["orders"],
        "batch": {"max_batch_size": 256, "max_queue_delay_ms": 20},
    },
    {
        "name": WINDOWS,
        "mode": "windows",
        "topics": ["features"],
        # Longer than any outage of the proof: else windows would close at times that the log does not show.
        "window": WINDOW | {"idle_timeout_ms": 30_000},
    },
)
MODEL_HEADER: Final = "proof-model"
"""Header of garbage only: the model that it counts for."""

KEYS: Final = 40
OF_ORDERS: Final = 0.25
POISONED: Final = 0.03
OUT_OF_ORDER: Final = 0.2
LATE: Final = 0.02
"""Shares of the events."""


class Choice(NamedTuple):
    """How an event chooses its model; None for the field and the header: by its topic."""

    field: str | None
    header: str | None


CHOICES: Final[dict[str, dict[Choice, int]]] = {
    "features": {
        Choice(None, None): 40,
        Choice(FAILING, None): 20,
        Choice(None, FAILING): 10,
        Choice(FAILING, SLOW): 5,
        Choice(SLOW, None): 10,
        Choice(None, SLOW): 5,
        Choice(WINDOWS, None): 10,
    },
    "orders": {Choice(None, None): 70, Choice(FAILING, None): 20, Choice(WINDOWS, None): 5, Choice(None, WINDOWS): 5},
}
"""The weights of the choices, by topic."""

NAMED_GARBAGE: Final = (
    ("unknown_model", None, b'{"id":"x","timestamp":1790000000000,"model":"nobody","features":[1,2,3,4]}'),
    ("wrong_length", FAILING, b'{"id":"x","timestamp":1790000000000,"model":"failing","features":[1,2,3,4,5,6]}'),
    ("wrong_length", SLOW, b'{"id":"x","timestamp":1790000000000,"model":"slow","features":[1,2,3,4]}'),
    ("missing_value", FAILING, b'{"id":"x","timestamp":1790000000000,"model":"failing","features":[1,2,null,4]}'),
    ("missing_field", WINDOWS, b'{"id":"x","timestamp":1790000000000,"model":"windows"}'),
)
"""The kind of failure, the model that it counts for (None: that of the topic), and the value."""
UNNAMED_GARBAGE: Final = tuple((kind, None, value) for kind, value in GARBAGE.items() if kind != "missing_value")
"""Without the kind that depends on the number of the model's features."""


class MixtureAuthor:
    """Makes up events for all models on both topics, some of them poisoned or late, and garbage."""

    def __init__(self, rng: random.Random, partitions: int) -> None:
        self._random = rng
        self._numpy = np.random.default_rng(rng.randrange(1 << 32))
        self._partitions = partitions
        self._serials: Counter[tuple[str, int]] = Counter()
        self._num_events = 0

    def write(self, count: int, now_ms: int) -> Iterator[FeedEvent]:
        """Yield events with about this timestamp."""
        rng = self._random
        rows = self._numpy.normal(size=(count, max(WIDTHS.values()))).astype(np.float32)
        for row in rows:
            topic = "orders" if rng.random() < OF_ORDERS else "features"
            key = rng.randrange(KEYS)
            event_id = f"{topic}/{key}/{self._serials[topic, key]:07d}"
            self._serials[topic, key] += 1
            self._num_events += 1
            if self._num_events % GARBAGE_EVERY == 0:
                value, headers = self._garbage(topic, event_id)
            else:
                value, headers = self._event(topic, event_id, row, now_ms)
            yield FeedEvent(
                event_id,
                topic,
                key % self._partitions,
                key=f"{topic}-{key}".encode(),
                value=value,
                headers=headers,
            )

    def _garbage(self, topic: str, event_id: str) -> tuple[bytes, Headers]:
        rng = self._random
        kind, model, value = rng.choice([*NAMED_GARBAGE, *UNNAMED_GARBAGE])
        counts_for = model or OF_TOPIC[topic]
        headers = [(ID_HEADER, event_id), (KIND_HEADER, kind), (MODEL_HEADER, counts_for)]
        return value, [(name, text.encode()) for name, text in headers]

    def _event(self, topic: str, event_id: str, row: Any, now_ms: int) -> tuple[bytes, Headers]:
        rng, choices = self._random, CHOICES[topic]
        (choice,) = rng.choices(list(choices), list(choices.values()))
        features = row[: WIDTHS[choice.field or choice.header or OF_TOPIC[topic]]].tolist()
        if rng.random() < POISONED:
            features[0] = POISON
        back = 0
        if rng.random() < OUT_OF_ORDER:
            back = rng.randint(0, 300)
        elif rng.random() < LATE:
            back = rng.randint(2000, 9000)
        document = {"id": event_id, "timestamp": now_ms - back, "features": features}
        if choice.field is not None:
            document["model"] = choice.field
        return orjson.dumps(document), [] if choice.header is None else [(names.MODEL, choice.header.encode())]

"""Events whose routing key is their record key, their field `key`, or their id, and some garbage."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
import orjson

from forebay.stream.core.outputs import Headers
from tests.exactness.feed import GARBAGE, GARBAGE_EVERY, ID_HEADER, KIND_HEADER, FeedEvent
from tests.worker.echo import NUM_FEATURES

KEYS: Final = 2000
CUSTOMERS: Final = 500
CUSTOMER: Final = "customer"
"""The field that some rollouts choose as the routing key."""
WITHOUT_RECORD_KEY: Final = 0.2


class RolloutAuthor:
    """Makes up events for one model. All events of a key are in one partition."""

    def __init__(self, rng: random.Random, partitions: int) -> None:
        self._random = rng
        self._numpy = np.random.default_rng(rng.randrange(1 << 32))
        self._partitions = partitions
        self._serials: Counter[int] = Counter()
        self._num_events = 0

    def write(self, count: int, now_ms: int) -> Iterator[FeedEvent]:
        """Yield events with this timestamp."""
        rng = self._random
        for row in self._numpy.normal(size=(count, NUM_FEATURES)).astype(np.float32).tolist():
            number = rng.randrange(KEYS)
            event_id = f"{number}/{self._serials[number]:07d}"
            self._serials[number] += 1
            self._num_events += 1
            key: bytes | None = b"key-%d" % number
            headers: Headers = []
            if self._num_events % GARBAGE_EVERY == 0:
                kind = rng.choice(list(GARBAGE))
                value = GARBAGE[kind]
                headers = [(ID_HEADER, event_id.encode()), (KIND_HEADER, kind.encode())]
            else:
                document = {
                    "id": event_id,
                    "timestamp": now_ms,
                    "features": row,
                    CUSTOMER: f"c{rng.randrange(CUSTOMERS)}",
                }
                if rng.random() < WITHOUT_RECORD_KEY:
                    key = None
                    if rng.random() < 0.5:
                        document["key"] = f"key-{number}"
                value = orjson.dumps(document)
            yield FeedEvent(event_id, "features", number % self._partitions, key=key, value=value, headers=headers)

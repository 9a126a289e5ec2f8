"""Verify the outputs of a run: exactly one prediction for each event, with the model's scores."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from forebay.schemas.topics import PREDICTIONS, topic_name
from forebay.stream.config.sections import Settings
from forebay.stream.kafka.client import client_options

SAMPLED = 997
"""One prediction in this number is compared with the model's scores."""
TOLERANCE = 1e-5
_ID_START = b'{"id":"event-'

Scores = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Ends = dict[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a correct contestant writes.

    scores_RO: the probabilities for each distinct row of features. Event number n has row n % R.
    """

    scores_RO: Scores


class PredictionCheck:
    """Count predictions, and find those that are missing, duplicate or wrong.

    events: the number of events, numbered from 0.
    expected: the scores; None only counts records.
    """

    def __init__(self, events: int, expected: Expected | None) -> None:
        self._events = events
        self._expected = expected
        self._seen = bytearray(events)
        self._fault = ""
        self.count = 0

    def add(self, value: bytes) -> None:
        """Check one output record."""
        self.count += 1
        if self._expected is None:
            return
        try:
            number = _number(value)
            duplicate = bool(self._seen[number])
            self._seen[number] = 1
            if duplicate:
                self._fault = self._fault or f"two predictions for event-{number}"
            if number % SAMPLED == 0:
                self._compare(number, orjson.loads(value)["prediction"], self._expected.scores_RO)
        except (ValueError, KeyError, IndexError, TypeError):
            self._fault = self._fault or f"an output that is not a prediction of an event: {value[:200]!r}"

    def _compare(self, number: int, scores: list[float], expected_RO: Scores) -> None:
        row = expected_RO[number % len(expected_RO)]
        if len(scores) != len(row) or not np.allclose(scores, row, atol=TOLERANCE):
            self._fault = self._fault or f"the prediction {scores} for event-{number} instead of {row.tolist()}"

    def fault(self) -> str:
        """Return what is wrong, as the end of a sentence; empty if nothing is."""
        if self._fault:
            return self._fault
        if self.count != self._events:
            return f"{self.count:,} predictions for {self._events:,} events"
        return ""


def _number(value: bytes) -> int:
    if value.startswith(_ID_START):
        return int(value[len(_ID_START) : value.index(b'"', len(_ID_START))])
    event_id: str = orjson.loads(value)["id"]
    return int(event_id.removeprefix("event-"))


async def prediction_ends(settings: Settings) -> Ends:
    """Return the end of each partition of the output topic."""
    async with _consumer(settings) as (consumer, places):
        ends: Ends = await consumer.end_offsets(places)
        return ends


async def read_predictions(settings: Settings, starts: Ends, check: PredictionCheck) -> None:
    """Check the committed predictions after `starts`. They are read, because offsets also count transaction markers."""
    async with _consumer(settings) as (consumer, places):
        for place, start in starts.items():
            consumer.seek(place, start)
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(place) < ends[place] for place in places]):
            polled: dict[Any, list[Any]] = await consumer.getmany(timeout_ms=100)
            for records in polled.values():
                for record in records:
                    check.add(record.value)


@contextlib.asynccontextmanager
async def _consumer(settings: Settings) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
    """Yield a consumer of the output topic, and its partitions."""
    topic = topic_name(settings.topics.prefix, PREDICTIONS.name)
    places = [TopicPartition(topic, number) for number in range(settings.topics.partitions)]
    consumer = AIOKafkaConsumer(
        **client_options(settings.kafka),
        group_id=None,
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 << 20,
    )
    await consumer.start()
    try:
        consumer.assign(places)
        yield consumer, places
    finally:
        await consumer.stop()

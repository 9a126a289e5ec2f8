"""What became of one event: its prediction or its dead letter, found by the event's position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import orjson

from forebay.schemas import headers as names
from forebay.schemas.errors import BrokerError
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.kafka.consumer.topic_reader import TopicReader
from forebay.stream.publish.publish_job import PublishedEvent


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """The record that answers an event, and where it is."""

    predicted: bool
    partition: TopicPartition
    record: Record


class OutcomeReader:
    """Reads predictions and dead letters from now on: start it before the event is published."""

    def __init__(self, reader: TopicReader, *, predictions: str, clock: Clock) -> None:
        self._predictions: Final = predictions
        self._clock: Final = clock
        self._polls: Final = reader.polls(idle_timeout_s=None, ticks=True)

    async def to(self, topic: str, sent: PublishedEvent, timeout_s: float) -> EventOutcome:
        """Raises BrokerError (kind "no_answer") when there is none in time."""
        deadline_s = self._clock.monotonic_s() + timeout_s
        async for partition, records in self._polls:
            predicted = partition.topic == self._predictions
            for record in records:
                if answered_event(record, predicted=predicted) == (topic, sent.partition, sent.offset):
                    return EventOutcome(predicted, partition, record)
            if self._clock.monotonic_s() >= deadline_s:
                break
        raise BrokerError(
            f"neither a prediction nor a dead letter came for {sent.id} within {timeout_s:g} s",
            kind="no_answer",
            remedy="see that a worker runs and reads this topic; `forebay check` tells about the rest",
        )


def answered_event(record: Record, *, predicted: bool) -> tuple[str, int, int] | None:
    """Topic, partition and offset of the event that a record answers; None where it does not say."""
    try:
        if predicted:
            source = orjson.loads(record.value or b"")["source"]
            return str(source["topic"]), int(source["partition"]), int(source["offset"])
        said = {name.lower(): value for name, value in record.headers}
        return said[names.ERROR_TOPIC].decode(), int(said[names.ERROR_PARTITION]), int(said[names.ERROR_OFFSET])
    except (LookupError, TypeError, ValueError, AttributeError):
        return None

"""The outcome of one event: its prediction or dead letter, found by the event's topic, partition and offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from forebay.schemas import headers as names
from forebay.schemas.errors import BrokerError
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.decode.value_reader import ValueReader
from forebay.stream.kafka.consumer.topic_reader import TopicReader
from forebay.stream.publish.publish_job import PublishedEvent


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """The record of a prediction or dead letter, and its partition."""

    predicted: bool
    partition: TopicPartition
    record: Record


class OutcomeReader:
    """Reads new predictions and dead letters. Create it before the event is published.

    values: reads predictions in other formats than JSON; None if there are none.
    """

    def __init__(
        self, reader: TopicReader, *, predictions: str, clock: Clock, values: ValueReader | None = None
    ) -> None:
        self._values = values
        self._predictions: Final = predictions
        self._clock: Final = clock
        self._polls: Final = reader.polls(idle_timeout_s=None, ticks=True)

    async def wait_for(self, topic: str, event: PublishedEvent, timeout_s: float) -> EventOutcome:
        """Wait for the outcome of an event. Raises BrokerError (kind "no_answer") if there is none in time."""
        deadline_s = self._clock.monotonic_s() + timeout_s
        async for partition, records in self._polls:
            predicted = partition.topic == self._predictions
            for record in await self._decoded(partition.topic, records) if predicted else records:
                if answered_event(record, predicted=predicted) == (topic, event.partition, event.offset):
                    return EventOutcome(predicted, partition, record)
            if self._clock.monotonic_s() >= deadline_s:
                break
        raise BrokerError(
            f"there was neither a prediction nor a dead letter for {event.id} within {timeout_s:g} s",
            kind="no_answer",
            remedy="check that a worker runs and reads this topic; `forebay check` checks the rest",
        )

    async def _decoded(self, topic: str, records: Sequence[Record]) -> Sequence[Record]:
        if self._values is None:
            return records
        await self._values.resolve(topic, records)
        return [self._values.decoded(topic, record)[0] for record in records]


def answered_event(record: Record, *, predicted: bool) -> tuple[str, int, int] | None:
    """Return the topic, partition and offset of a record's event; None if the record does not have them."""
    try:
        if predicted:
            source = orjson.loads(record.value or b"")["source"]
            return str(source["topic"]), int(source["partition"]), int(source["offset"])
        headers = {name.lower(): value for name, value in record.headers}
        return (
            headers[names.ERROR_TOPIC].decode(),
            int(headers[names.ERROR_PARTITION]),
            int(headers[names.ERROR_OFFSET]),
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        return None

"""A subscriber like any client: reads committed predictions and dead letters into the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import orjson

from forebay.schemas import headers as names
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import Record
from forebay.stream.demo.ledger import Ledger
from forebay.stream.kafka.consumer.topic_reader import TopicReader

_POLL_RECORDS: Final = 2000


class Subscriber:
    """Reads predictions and dead letters from the beginning and records them in a ledger."""

    def __init__(
        self, options: Mapping[str, object], predictions: str, dead_letters: str, ledger: Ledger, clock: Clock
    ) -> None:
        self._predictions = predictions
        self._ledger = ledger
        self._clock = clock
        self._reader = TopicReader(options, [predictions, dead_letters], from_beginning=True, clock=clock)

    async def start(self) -> None:
        """Connect. Raises BrokerError."""
        await self._reader.start()

    async def stop(self) -> None:
        """Close the client."""
        await self._reader.stop()

    async def read_until(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set and the end of both topics is reached. Raises BrokerError."""
        async for partition, records in self._reader.polls(idle_timeout_s=None, poll_records=_POLL_RECORDS, ticks=True):
            now_s = self._clock.monotonic_s()
            add = self._add_prediction if partition.topic == self._predictions else self._add_dead_letter
            for record in records:
                add(record, now_s)
            if not records and stop.is_set() and await self._reader.at_end():
                return

    def _add_prediction(self, record: Record, now_s: float) -> None:
        try:
            value = orjson.loads(record.value or b"")
            event_id, probability = value["id"], float(value["prediction"][0])
        except (ValueError, KeyError, TypeError, IndexError):
            self._ledger.record_unexpected(f"unreadable prediction at offset {record.offset}")
            return
        self._ledger.record_prediction(event_id, probability, now_s)

    def _add_dead_letter(self, record: Record, now_s: float) -> None:
        headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
        try:
            event_id = orjson.loads(record.value or b"")["id"]
        except (ValueError, KeyError, TypeError):
            self._ledger.record_unexpected(f"unreadable dead letter at offset {record.offset}")
            return
        self._ledger.record_dead_letter(
            event_id, headers.get(names.ERROR_KIND, "(none)"), headers.get(names.ERROR_MESSAGE, ""), now_s
        )

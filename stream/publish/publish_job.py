"""One run of `forebay publish`: its options, and the publication of one event or of a file's rows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from forebay.models.data.input_row import InputRow, InputRows
from forebay.schemas.errors import DataError
from forebay.stream.core.clock import Clock
from forebay.stream.publish.event_builder import Columns, EventBuilder, Message
from forebay.stream.publish.event_times import TimeRule
from forebay.stream.publish.inspection import Candidate, Inspection
from forebay.stream.publish.publisher import MAX_REQUEST_BYTES, Headers, Publisher, oversize
from forebay.stream.publish.rate_limited_publish import PublishResult, publish_rows
from forebay.stream.publish.row_fault import RowFault

Features = list[object] | dict[str, object]
EventFields = tuple[Features, str | None, str | None]
"""Features, id and record key."""


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """The id of a published event, and the partition and offset of its record."""

    id: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class PublishJob:
    """The options of a run.

    options: for the Kafka client.
    rate: events per second, None for as fast as possible.
    inspection: see `publish_rows`.
    """

    options: Mapping[str, object]
    topic: str
    headers: Headers
    columns: Columns
    times: TimeRule
    model: str | None
    deadline_after_ms: int | None
    rate: float | None
    limit: int | None
    skip_invalid: bool
    clock: Clock
    inspection: Inspection | None = None

    async def publish_one(
        self, features: Features, event_id: str | None = None, key: str | None = None
    ) -> PublishedEvent:
        """Publish one event. event_id: None for a random one. Raises BrokerError, DataError."""
        event_id = event_id or uuid.uuid4().hex
        try:
            message = self._builder("").build(InputRow(1, {"id": event_id, "features": features}, None))
        except RowFault as fault:
            raise DataError(fault.reason, kind="event", remedy=fault.remedy) from None
        record_key = None if key is None else key.encode()
        if self.inspection is not None:
            self.inspection.inspect([Candidate("--features", Message(record_key, message.value), False)])
        if (size := oversize(record_key, message.value, self.headers)) is not None:
            raise DataError(
                f"the event's record has {size:,} bytes; a request holds at most {MAX_REQUEST_BYTES:,}",
                kind="too_large",
                remedy="send smaller features",
            )
        publisher = Publisher(self.options, self.topic)
        await publisher.start()
        try:
            await publisher.send([record_key], [message.value], timestamp_ms=self.clock.wall_ms(), headers=self.headers)
            await publisher.flush()
            assert publisher.last_delivery is not None
            return PublishedEvent(event_id, *publisher.last_delivery)
        finally:
            await publisher.stop()

    async def publish_rows(self, rows: InputRows, source: str, progress: Callable[[int, int], None]) -> PublishResult:
        """Publish all rows, or the first `limit`. Raises BrokerError, DataError."""
        publisher = Publisher(self.options, self.topic)
        await publisher.start()
        try:
            return await publish_rows(
                rows,
                self._builder(source),
                publisher,
                source=source,
                clock=self.clock,
                rate=self.rate,
                limit=self.limit,
                skip_invalid=self.skip_invalid,
                headers=self.headers,
                progress=progress,
                inspection=self.inspection,
            )
        finally:
            await publisher.stop()

    def _builder(self, source: str) -> EventBuilder:
        return EventBuilder(
            source,
            now_ms=self.clock.wall_ms,
            columns=self.columns,
            times=self.times,
            model=self.model,
            deadline_after_ms=self.deadline_after_ms,
        )

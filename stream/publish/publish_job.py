"""One run of `forebay publish`: its options, and the publication of one event or of a file's rows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from forebay.models.data.input_row import InputRow, InputRows
from forebay.schemas.errors import BrokerError, DataError
from forebay.stream.core.clock import Clock
from forebay.stream.core.quantities import quantity
from forebay.stream.publish.encrypted import EventEncryption
from forebay.stream.publish.event_builder import Columns, EventBuilder, Message, RowBuilder
from forebay.stream.publish.event_times import TimeRule
from forebay.stream.publish.formatted_builder import EnvelopeValues, SchemaValues, format_builder
from forebay.stream.publish.inspection import Candidate, Inspection
from forebay.stream.publish.label_builder import JoinBy, LabelBuilder, LabelCheck, LabelColumns, LabelTarget
from forebay.stream.publish.publisher import MAX_REQUEST_BYTES, Headers, Publisher, oversize
from forebay.stream.publish.rate_limited_publish import PublishResult, publish_rows
from forebay.stream.publish.row_fault import RowFault

if TYPE_CHECKING:
    from forebay.stream.publish.arrow_values import ArrowValues

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
class LabelOptions:
    """The options of a run that publishes labels.

    join_by: how the evaluator finds the prediction of a label.
    input_topic: the topic of the events, for rows that name none.
    predictions: the topic of the predictions; it must have as many partitions as that of the labels.
    max_future_ms: see `LabelTarget`.
    """

    join_by: JoinBy
    input_topic: str
    predictions: str
    max_future_ms: int
    columns: LabelColumns = field(default_factory=LabelColumns)
    check: LabelCheck | None = None


@dataclass(frozen=True, slots=True)
class PublishJob:
    """The options of a run.

    options: for the Kafka client.
    rate: events per second, None for as fast as possible.
    inspection: see `publish_rows`.
    labels: None if the rows are events.
    format: of the events; None for JSON.
    encryption: None if events are not encrypted.
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
    labels: LabelOptions | None = None
    format: SchemaValues | EnvelopeValues | ArrowValues | None = None
    encryption: EventEncryption | None = None

    @property
    def noun(self) -> str:
        """What the rows become: events, records of several events, or labels, without the s."""
        return "record" if self.groups_rows else "event" if self.labels is None else "label"

    def check_columns(self, columns: Collection[str]) -> None:
        """Raise ConfigError if an option names a column that does not exist."""
        (self.columns if self.labels is None else self.labels.columns).check(columns)

    async def publish_one(
        self, features: Features, event_id: str | None = None, key: str | None = None
    ) -> PublishedEvent:
        """Publish one event. event_id: None for a random one. Raises BrokerError, DataError."""
        event_id = event_id or uuid.uuid4().hex
        try:
            message = self._event_builder("").build(InputRow(1, {"id": event_id, "features": features}, None))
        except RowFault as fault:
            raise DataError(fault.reason, kind="event", remedy=fault.remedy) from None
        record_key = None if key is None else key.encode()
        if self.inspection is not None:
            self.inspection.inspect([Candidate("--features", Message(record_key, message.value), False)])
        if self.encryption is not None:
            message = self._encrypted(Message(record_key, message.value), self.encryption)
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
                self.records_of(rows),
                self.row_builder(source) if self.labels is None else self._label_builder(self.labels, publisher),
                publisher,
                source=source,
                clock=self.clock,
                rate=self.rate,
                limit=self.limit,
                skip_invalid=self.skip_invalid,
                headers=self.headers,
                progress=progress,
                inspection=self.inspection,
                encrypt=None if self.labels is not None or self.encryption is None else self.encryption.encrypt,
            )
        finally:
            await publisher.stop()

    def _label_builder(self, labels: LabelOptions, publisher: Publisher) -> RowBuilder:
        counts = publisher.partition_counts
        num_labels, num_predictions = counts[self.topic], counts.get(labels.predictions)
        if num_predictions is not None and num_predictions != num_labels:
            raise BrokerError(
                f"{self.topic} has {quantity(num_labels, 'partition')} and {labels.predictions} {num_predictions:,}; a label "
                "must be in the partition of its prediction",
                kind="label_partitions",
                remedy=f"create {self.topic} again with {quantity(num_predictions, 'partition')}",
            )
        target = LabelTarget(
            labels.join_by,
            labels.input_topic,
            num_labels,
            same_partitions=counts.get(labels.input_topic) == num_labels,
            max_future_ms=labels.max_future_ms,
        )
        return LabelBuilder(
            target,
            now_ms=self.clock.wall_ms,
            columns=labels.columns,
            times=self.times,
            model=self.model,
            check=labels.check,
        )

    def _encrypted(self, message: Message, encryption: EventEncryption) -> Message:
        try:
            return encryption.encrypt(message)
        except RowFault as fault:
            raise DataError(fault.reason, kind="event", remedy=fault.remedy) from None

    def row_builder(self, source: str) -> RowBuilder:
        """Return what builds the records of events."""
        events = self._event_builder(source)
        if self.format is None:
            return events
        if self.groups_rows:
            from forebay.stream.publish.arrow_values import ArrowRowsBuilder

            return ArrowRowsBuilder(cast("ArrowValues", self.format))
        return format_builder(cast("SchemaValues | EnvelopeValues", self.format), self.columns.key, events)

    @property
    def groups_rows(self) -> bool:
        """Whether a record has several rows."""
        return self.format is not None and self.format.name == "arrow"

    def records_of(self, rows: InputRows) -> InputRows:
        """Return the rows by record: as they are, or in groups."""
        if not self.groups_rows:
            return rows
        from forebay.stream.publish.arrow_values import grouped

        return grouped(rows, cast("ArrowValues", self.format).rows_per_record)

    def _event_builder(self, source: str) -> EventBuilder:
        return EventBuilder(
            source,
            now_ms=self.clock.wall_ms,
            columns=self.columns,
            times=self.times,
            model=self.model,
            deadline_after_ms=self.deadline_after_ms,
        )

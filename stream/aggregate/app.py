"""The aggregator's Faust application: reads deltas, writes the changelog, publishes error-aggregates."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from faust.types import TP, EventT
from yarl import URL

from forebay.schemas.errors import BrokerError, ForebayError
from forebay.stream.aggregate.delta import parse_delta
from forebay.stream.aggregate.state import PartitionState, Rows, Timing
from forebay.stream.aggregate.table import StateTable
from forebay.stream.aggregate.transport import PREVIOUS_HEADER, AggregatorApp, Transport
from forebay.stream.core.clock import Clock
from forebay.stream.telemetry.aggregator_traces import DeltaTraces

log = logging.getLogger("forebay.aggregate")

TABLE: Final = "windows"


@dataclass(frozen=True, slots=True)
class Topics:
    """Topic names with the prefix. num_aggregates: number of partitions of error-aggregates."""

    deltas: str
    changelog: str
    aggregates: str
    num_aggregates: int


@dataclass(frozen=True, slots=True)
class WriteLimits:
    """Limits of one write to the changelog.

    max_batch: number of deltas that are counted and written together.
    linger_s: time to wait for a full batch.
    confirm_timeout_s: time in which the brokers must confirm a write.
    """

    max_batch: int
    linger_s: float
    confirm_timeout_s: float


class Aggregation:
    """Merges the deltas of the partitions that are assigned to this process.

    on_fatal: receives an error after which the process cannot continue.
    """

    def __init__(
        self,
        *,
        group_id: str,
        client_options: Any,
        consumer_options: Mapping[str, Any],
        topics: Topics,
        timing: Timing,
        limits: WriteLimits,
        clock: Clock,
        traces: DeltaTraces,
        on_fatal: Any,
    ) -> None:
        self.source_topic = topics.deltas
        self.client_options = client_options
        self._consumer_options = dict(consumer_options)
        self._topics = topics
        self._timing = timing
        self._limits = limits
        self._clock = clock
        self._traces = traces
        self._on_fatal = on_fatal
        self._states: dict[int, PartitionState] = {}
        self._lock = asyncio.Lock()
        self._unreadable = 0
        self.counted = 0
        self._app = self._build(group_id)

    # ---- the application

    def _build(self, group_id: str) -> AggregatorApp:
        app = AggregatorApp(
            group_id,
            broker="kafka://",  # the clients are built from client_options
            store="memory://",
            datadir=os.devnull,  # see AggregatorApp: nothing is ever written to disk
            autodiscover=False,
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            table_standby_replicas=0,
            stream_wait_empty=False,
        )
        app.owner = self
        url = [URL("kafka://")]
        app.transport = app.producer_transport = Transport(url, app)
        raw: dict[str, Any] = {
            "key_type": bytes,
            "value_type": bytes,
            "key_serializer": "raw",
            "value_serializer": "raw",
        }
        table = StateTable(
            app,
            name=TABLE,
            key_type=bytes,
            value_type=bytes,
            changelog_topic=app.topic(self._topics.changelog, acks=False, internal=True, allow_empty=True, **raw),
        )
        table.on_restored = self._restore
        app.tables.add(table)
        app.agent(app.topic(self._topics.deltas, allow_empty=True, **raw), name="count")(self._agent)
        return app

    async def start(self) -> None:
        """Join the group and restore the state of the assigned partitions, if any."""
        await self._app.start()

    async def stop(self) -> None:
        """Publish what was counted and leave the group."""
        if not self._app.crashed:
            await self.tick()
        await self._app.stop()

    @property
    def crashed(self) -> BaseException | None:
        """The error with which Faust ended, or None while it runs."""
        if not self._app.crashed:
            return None
        return self._app.crash_reason or RuntimeError("Faust gives no reason")

    @property
    def partitions(self) -> list[int]:
        """The assigned partitions of outcome-deltas whose state is restored."""
        return sorted(self._states)

    async def publish(self, topic: str, partition: int | None, rows: Rows) -> None:
        """Write records and wait until the brokers have confirmed them. Raises BrokerError."""
        if not rows:
            return
        timeout_s = self._limits.confirm_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                send = self._app.producer.send
                sent = [await send(topic, key, value, partition, None, None) for key, value in rows]
                await asyncio.gather(*sent)
        except TimeoutError:
            raise BrokerError(
                f"{topic}: {len(rows)} records were not confirmed within {timeout_s:g} s",
                kind="confirm_timeout",
                remedy="run `forebay check`, then start the aggregator again; it counts the unconfirmed deltas again",
            ) from None

    # ---- for the transport

    def consumer_options(self) -> dict[str, Any]:
        """Return the options of the group's consumer besides those of every client."""
        return self._consumer_options

    def on_revoked(self) -> None:
        """Forget the state of all partitions."""
        self._states.clear()

    def positions(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
        """Return the offset at which to continue, for each partition whose state is restored.

        starts, ends: first and end offset of each partition's log.
        """
        positions = {}
        for partition, state in self._states.items():
            if partition not in starts:
                continue
            start, end, position = starts[partition], ends[partition], state.next_offset
            if position is None:
                position = start
            elif position > end:
                self._on_fatal(
                    BrokerError(
                        f"partition {partition} of {self.source_topic} ends at offset {end}, but the aggregator has "
                        f"counted it up to {position}: the topic was deleted and created again",
                        kind="topic_made_anew",
                        remedy=f"delete the topic {self._topics.changelog}; `forebay aggregate` creates it again",
                    )
                )
            elif position < start:
                log.warning(
                    "%s: partition %d begins at offset %d; the deltas from %d on were deleted before they were counted",
                    self.source_topic,
                    partition,
                    start,
                    position,
                )
                position = start
            positions[partition] = state.next_offset = position
        return positions

    # ---- counting

    def _restore(self, partition: int, rows: dict[bytes, bytes]) -> None:
        state = self._states[partition] = PartitionState.restore(partition, rows)
        log.info(
            "partition %d: %d buckets restored, counted up to %s",
            partition,
            len(state.buckets),
            "its beginning" if state.next_offset is None else f"offset {state.next_offset}",
        )

    async def _agent(self, stream: Any) -> None:
        try:
            async for events in stream.noack_take(self._limits.max_batch, within=self._limits.linger_s):
                await self._count(stream, events)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            # Faust would log it and continue with the next batch, past what was not written.
            self._on_fatal(error)
            await asyncio.Event().wait()

    async def _count(self, stream: Any, events: Sequence[EventT[Any]]) -> None:
        gaps: dict[TP, int] = {}
        began_s = self._clock.monotonic_s()
        async with self._lock:
            states = dict(self._states)
            counted: list[EventT[Any]] = []
            for event in events:
                message = event.message
                state = states.get(message.partition)
                if state is None or message.generation_id != self._app.consumer_generation_id:
                    continue  # of a revoked partition; its new owner reads it again
                assert state.next_offset is not None, "positions() sets it before the first record arrives"
                if _previous(message.headers) > state.next_offset:
                    gaps[message.tp] = state.next_offset
                    continue
                delta = parse_delta(message.value)
                if delta is None:
                    self._log_unreadable(message)
                state.apply(message.offset, round(message.timestamp * 1000), delta)
                counted.append(event)
            for partition, state in states.items():
                await self.publish(self._topics.changelog, partition, state.take_changes())
            for event in counted:
                await stream.ack(event)
            self.counted += len(counted)
        self._traces.record(self.source_topic, [event.message for event in counted], began_s)
        for tp, position in gaps.items():
            log.warning(
                "partition %d: records were lost between fetch and processing; reading again from offset %d",
                tp.partition,
                position,
            )
            await self._app.consumer.seek(tp, position)

    def _log_unreadable(self, message: Any) -> None:
        self._unreadable += 1
        if self._unreadable & (self._unreadable - 1) == 0:  # 1, 2, 4, 8, ...
            log.warning(
                "%s-%d@%d is not an outcome delta; %d such records so far",
                message.topic,
                message.partition,
                message.offset,
                self._unreadable,
            )

    # ---- publishing

    async def tick(self) -> None:
        """Publish the buckets that have changed, and close those whose time is over. Raises BrokerError."""
        async with self._lock:
            for partition, state in dict(self._states).items():
                progress_ms = await self._progress_ms(partition, state)
                if self._states.get(partition) is not state:
                    continue
                target = partition % self._topics.num_aggregates
                await self.publish(self._topics.aggregates, target, state.take_updates(progress_ms, self._timing))
                closed = state.close(progress_ms, self._timing)
                if closed is not None:
                    await self.publish(self._topics.aggregates, target, closed.finals)
                    await self.publish(self._topics.changelog, partition, closed.position)
                    await self.publish(self._topics.changelog, partition, closed.tombstones)

    async def _progress_ms(self, partition: int, state: PartitionState) -> int | None:
        """Return the time up to which all written deltas are counted; None if unknown.

        It is now if everything committed has been read, and otherwise the time of the last delta.
        """
        now_ms, tp = self._clock.wall_ms(), TP(self.source_topic, partition)
        try:
            consumer: Any = self._app.consumer
            end = (await consumer.highwaters(tp))[tp]
            delivered, fetched = await consumer.delivered_and_fetched(tp)
        except ForebayError:
            raise
        except Exception as error:  # a rebalance can revoke the partition at any moment
            log.debug("partition %d: its end offset is not known at present: %s", partition, error)
            return state.last_timestamp
        if delivered is None or fetched is None or state.next_offset is None:
            return state.last_timestamp
        return now_ms if delivered <= state.next_offset and fetched >= end else state.last_timestamp


def _previous(headers: Any) -> int:
    """Return the position that a record follows, from its header."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return next(int(value) for name, value in reversed(list(pairs)) if name == PREVIOUS_HEADER)

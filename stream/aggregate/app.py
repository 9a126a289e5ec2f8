"""The aggregator's Faust application: deltas in, the changelog, error-aggregates out."""

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
    """Names as the cluster has them. num_aggregates: partitions of error-aggregates."""

    deltas: str
    changelog: str
    aggregates: str
    num_aggregates: int


@dataclass(frozen=True, slots=True)
class WriteLimits:
    """max_batch, linger_s: so many deltas, or what came in that time, are written together.

    confirm_timeout_s: for each write.
    """

    max_batch: int
    linger_s: float
    confirm_timeout_s: float


class Aggregation:
    """Merges the deltas of the partitions that are this process's.

    on_fatal gets what cannot be gone on with.
    """

    def __init__(
        self,
        *,
        group_id: str,
        client_options: Any,
        consumer_options: Mapping[str, Any],
        topics: Topics,
        timing: Timing,
        pace: WriteLimits,
        clock: Clock,
        traces: DeltaTraces,
        on_fatal: Any,
    ) -> None:
        self.source_topic = topics.deltas
        self.client_options = client_options
        self._consumer_options = dict(consumer_options)
        self._topics = topics
        self._timing = timing
        self._pace = pace
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
            datadir=os.devnull,  # see AggregatorApp: nothing is ever put on disk
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
        """Returns once the group has given partitions, or none, and their state is read."""
        await self._app.start()

    async def stop(self) -> None:
        """Give out what was counted, and leave the group."""
        if not self._app.crashed:
            await self.tick()
        await self._app.stop()

    @property
    def crashed(self) -> BaseException | None:
        """What Faust has ended with, if it has."""
        if not self._app.crashed:
            return None
        return self._app.crash_reason or RuntimeError("no reason was given")

    @property
    def partitions(self) -> list[int]:
        """Those of this process."""
        return sorted(self._states)

    async def publish(self, topic: str, partition: int | None, rows: Rows) -> None:
        """Write records and wait until they are there. Raises BrokerError."""
        if not rows:
            return
        timeout_s = self._pace.confirm_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                send = self._app.producer.send
                sent = [await send(topic, key, value, partition, None, None) for key, value in rows]
                await asyncio.gather(*sent)
        except TimeoutError:
            raise BrokerError(
                f"{topic}: {len(rows)} records were not confirmed within {timeout_s:g} s; they will be counted again",
                kind="confirm_timeout",
                remedy="see that the cluster is well; a restart goes on where it was",
            ) from None

    # ---- for the transport

    def consumer_options(self) -> dict[str, Any]:
        return self._consumer_options

    def on_revoked(self) -> None:
        self._states.clear()

    def positions(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
        found = {}
        for partition, state in self._states.items():
            if partition not in starts:
                continue
            start, end, position = starts[partition], ends[partition], state.next_offset
            if position is None:
                position = start
            elif position > end:
                self._on_fatal(
                    BrokerError(
                        f"{self.source_topic} ends at {end} in partition {partition}, and the aggregator had counted it "
                        f"up to {position}: the topic was made anew",
                        kind="topic_made_anew",
                        remedy=f"delete the topic {self._topics.changelog}; `forebay aggregate` makes it anew",
                    )
                )
            elif position < start:
                log.warning(
                    "%s: partition %d begins at %d; the deltas from %d on were removed before they were counted",
                    self.source_topic,
                    partition,
                    start,
                    position,
                )
                position = start
            found[partition] = state.next_offset = position
        return found

    # ---- counting

    def _restore(self, partition: int, rows: dict[bytes, bytes]) -> None:
        state = self._states[partition] = PartitionState.restore(partition, rows)
        log.info(
            "partition %d: %d windows restored, counted up to %s",
            partition,
            len(state.buckets),
            "its beginning" if state.next_offset is None else state.next_offset,
        )

    async def _agent(self, stream: Any) -> None:
        try:
            async for events in stream.noack_take(self._pace.max_batch, within=self._pace.linger_s):
                await self._count(stream, events)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            # Faust would log it and go on with the next one, past what was not written.
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
                    continue  # of partitions that were taken away; whoever has them reads it again
                assert state.next_offset is not None, "positions() has set it before the first record comes"
                if _previous(message.headers) > state.next_offset:
                    gaps[message.tp] = state.next_offset
                    continue
                delta = parse_delta(message.value)
                if delta is None:
                    self._tell_unreadable(message)
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
                "partition %d: records were lost on their way here; reading again from %d", tp.partition, position
            )
            await self._app.consumer.seek(tp, position)

    def _tell_unreadable(self, message: Any) -> None:
        self._unreadable += 1
        if self._unreadable & (self._unreadable - 1) == 0:  # 1, 2, 4, 8, ...
            log.warning("%s@%d is no outcome delta; %d by now", message.tp, message.offset, self._unreadable)

    # ---- giving out

    async def tick(self) -> None:
        """Give out what has changed, and remove what is over. Raises BrokerError."""
        async with self._lock:
            for partition, state in dict(self._states).items():
                progress_ms = await self._progress_ms(partition, state)
                if self._states.get(partition) is not state:
                    continue
                at = partition % self._topics.num_aggregates
                await self.publish(self._topics.aggregates, at, state.take_updates(progress_ms, self._timing))
                closing = state.close(progress_ms, self._timing)
                if closing is not None:
                    await self.publish(self._topics.aggregates, at, closing.finals)
                    await self.publish(self._topics.changelog, partition, closing.position)
                    await self.publish(self._topics.changelog, partition, closing.tombstones)

    async def _progress_ms(self, partition: int, state: PartitionState) -> int | None:
        """Up to when all that was written is counted: now, where all that is committed was read, else the last delta's time."""
        now_ms, tp = self._clock.wall_ms(), TP(self.source_topic, partition)
        try:
            consumer: Any = self._app.consumer
            end = (await consumer.highwaters(tp))[tp]
            handed, fetched = await consumer.handed_and_fetched(tp)
        except ForebayError:
            raise
        except Exception as error:  # a rebalance takes the partition away at any moment
            log.debug("partition %d: where it ends is not known now: %s", partition, error)
            return state.last_timestamp
        if handed is None or fetched is None or state.next_offset is None:
            return state.last_timestamp
        return now_ms if handed <= state.next_offset and fetched >= end else state.last_timestamp


def _previous(headers: Any) -> int:
    """The position that a record follows."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return next(int(value) for name, value in reversed(list(pairs)) if name == PREVIOUS_HEADER)

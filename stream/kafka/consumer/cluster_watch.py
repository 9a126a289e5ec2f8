"""Asks the cluster about its brokers and the input topics: at most once a second while records are read, and when required.

The client's own metadata requests know no topic ids, so that it goes on reading at the same offset in a topic that was deleted
and created again (`topic_identity`). A fetch that is under way when a topic is deleted fails, whereupon the client refreshes
its metadata: after a refresh, as after a pause, ids are compared before any record is used. Whether a broker answers, and which
brokers it names, is logged as it changes (`outage`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    UnknownTopicOrPartitionError,
)

from forebay.stream.core.clock import Clock
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.cluster.outage_log import OutageLog
from forebay.stream.kafka.cluster.topic_identity import TopicIdentity, recreated_error
from forebay.stream.kafka.protocol.offset_requests import NO_TOPIC_ID, TopicMetadata

log = logging.getLogger("forebay.kafka.cluster")

EVERY_S: Final = 1.0
SILENT_AFTER_S: Final = 5.0
"""How long a request may be under way before the log calls it unanswered."""
PATIENCE_S: Final = 1.0
"""How long a poll waits for an answer that is due; it goes on without one, and the answer is looked at when it comes."""


class ClusterWatch:
    """Compares topic ids over a started client's connections.

    Only a topic in which the worker holds a position can be recreated under it. One that was taken from the worker, as a
    deleted topic is at the next assignment, is a new topic when it comes back without committed positions.
    """

    def __init__(self, client: AIOKafkaClient, topics: Collection[str], *, clock: Clock) -> None:
        self._client = client
        self._topics = sorted(topics)
        self._clock = clock
        self._identity = TopicIdentity()
        self._outage = OutageLog(clock=clock, client_log=logging.getLogger("aiokafka"))
        self._held: frozenset[str] = frozenset()
        self._asked_s = 0.0
        self._due_s = 0.0
        self._asking: asyncio.Task[frozenset[str]] | None = None
        self._has_ids = True
        self._refresh: asyncio.Future[Any] | None = None
        client.cluster.add_listener(lambda _cluster: self.expire())

    def expire(self) -> None:
        """Make the next `look` wait for a new comparison."""
        self._due_s = 0.0

    async def look(self) -> frozenset[str]:
        """Return the topics recreated while positions in them are held, asking again where the last answer is too old.

        An answer that does not come in time is looked at by a later call. Raises nothing.
        """
        now_s = self._clock.monotonic_s()
        refresh = self._client._md_update_fut
        if refresh is not None and refresh is not self._refresh:
            self.expire()
        self._refresh = refresh
        if self._asking is not None:
            if recreated := self._answer():
                return recreated
            if self._asking is not None and now_s - self._asked_s >= SILENT_AFTER_S:
                self._outage.silent(f"no answer for {now_s - self._asked_s:.0f} s")
        if self._asking is None and now_s >= self._due_s:
            self._due_s, self._asked_s = now_s + EVERY_S, now_s
            self._asking = asyncio.create_task(self._recreated(), name="compare-topic-ids")
            await asyncio.wait({self._asking}, timeout=PATIENCE_S)
            return self._answer()
        return frozenset()

    def _answer(self) -> frozenset[str]:
        """What the request under way has found; nothing before it is done, or where no broker has answered it."""
        asked = self._asking
        if asked is None or not asked.done():
            return frozenset()
        self._asking = None
        try:
            return asked.result() & self._held
        except (KafkaError, TimeoutError, asyncio.CancelledError):
            return frozenset()

    async def refuse_recreated(
        self, positions: Mapping[TopicPartition, int], committed: Collection[TopicPartition] = ()
    ) -> None:
        """Ask now; raise TopicRecreated where `positions` are those of a topic that was deleted and created again.

        committed: partitions in which the group has committed positions; in others only what is held already counts.
        Raises KafkaError when no broker answers.
        """
        lost = await self._recreated() & {*self._held, *(partition.topic for partition in committed)}
        if lost:
            raise recreated_error(lost, positions)

    def hold(self, partitions: Collection[TopicPartition]) -> None:
        """Note that positions are held in these partitions and no others, of the topics as they were found last."""
        self._held = frozenset(partition.topic for partition in partitions)
        self._identity.adopt(self._held)

    async def _recreated(self) -> frozenset[str]:
        answer = await self._ask()
        ids, missing = {}, set()
        for topic in answer["topics"]:
            if topic["error_code"] == UnknownTopicOrPartitionError.errno:
                missing.add(topic["topic"])
            elif topic.get("topic_id", NO_TOPIC_ID) != NO_TOPIC_ID:
                ids[topic["topic"]] = topic["topic_id"]
        if self._has_ids and not ids and len(missing) < len(self._topics):
            self._has_ids = False
            log.info("the brokers report no topic ids: an input topic that is deleted and created again is not noticed")
        return self._identity.compare(ids, missing)

    async def stop(self) -> None:
        """Drop what is being asked."""
        self._outage.stop()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _ask(self) -> dict[str, Any]:
        error: KafkaError = KafkaConnectionError("no broker is known")
        for broker in self._client.cluster.brokers():
            try:
                answer = await self._client.send(broker.nodeId, TopicMetadata(self._topics))
            except IncompatibleBrokerVersion:
                raise
            except KafkaError as failure:
                error = failure
            else:
                found: dict[str, Any] = answer.to_object()
                self._outage.answered({one["node_id"]: f"{one['host']}:{one['port']}" for one in found["brokers"]})
                return found
        self._outage.silent(str(error) or type(error).__name__)
        raise error

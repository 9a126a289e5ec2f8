"""The watch over the cluster: it detects input topics that were recreated, and logs which brokers answer.

The client's own metadata requests do not contain topic ids, so it continues to read at the same offset in a topic that was
deleted and created again (`topic_identity`). While records are read, the watch compares the ids at most once a second. A fetch
in progress when a topic is deleted fails, and the client then refreshes its metadata: after a refresh, as after a pause, ids
are compared before any record is used. Changes in which brokers exist and answer are logged (`outage_log`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError

from forebay.stream.core.clock import Clock
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.cluster.outage_log import OutageLog
from forebay.stream.kafka.cluster.topic_identity import TopicIdentity, recreated_error
from forebay.stream.kafka.consumer.topic_metadata import request_metadata, topic_ids

log = logging.getLogger("forebay.kafka.cluster")

INTERVAL_S: Final = 1.0
SILENT_AFTER_S: Final = 5.0
"""A request in flight for longer is logged as unanswered."""
WAIT_S: Final = 1.0
"""How long a poll waits for a response that is due. Then it continues, and a later poll uses the response."""


class ClusterWatch:
    """Compares topic ids over a started client's connections.

    Only topics in which the worker has a position are compared. A deleted topic leaves the assignment at the next rebalance;
    if it is created again without committed offsets, it is a new topic.
    """

    def __init__(self, client: AIOKafkaClient, topics: Collection[str], *, clock: Clock) -> None:
        self._client = client
        self._topics = sorted(topics)
        self._clock = clock
        self._identity = TopicIdentity()
        self._outage = OutageLog(clock=clock, client_log=logging.getLogger("aiokafka"))
        self._tracked: frozenset[str] = frozenset()
        self._sent_s = 0.0
        self._due_s = 0.0
        self._request: asyncio.Task[frozenset[str]] | None = None
        self._has_ids = True
        self._refresh: asyncio.Future[Any] | None = None
        client.cluster.add_listener(lambda _cluster: self.expire())

    def expire(self) -> None:
        """Make the next `check` wait for a new comparison."""
        self._due_s = 0.0

    async def check(self) -> frozenset[str]:
        """Return the tracked topics that were recreated. Sends a new request if the last response is too old.

        A response that takes longer than `WAIT_S` is used by a later call. Raises nothing.
        """
        now_s = self._clock.monotonic_s()
        refresh = self._client._md_update_fut
        if refresh is not None and refresh is not self._refresh:
            self.expire()
        self._refresh = refresh
        if self._request is not None:
            if recreated := self._take_result():
                return recreated
            if self._request is not None and now_s - self._sent_s >= SILENT_AFTER_S:
                self._outage.on_silence(f"no answer for {now_s - self._sent_s:.0f} s")
        if self._request is None and now_s >= self._due_s:
            self._due_s, self._sent_s = now_s + INTERVAL_S, now_s
            self._request = asyncio.create_task(self._recreated(), name="compare-topic-ids")
            await asyncio.wait({self._request}, timeout=WAIT_S)
            return self._take_result()
        return frozenset()

    def _take_result(self) -> frozenset[str]:
        """Return the result of the request; nothing while it is in flight, or if no broker answered."""
        request = self._request
        if request is None or not request.done():
            return frozenset()
        self._request = None
        try:
            return request.result() & self._tracked
        except (KafkaError, TimeoutError, asyncio.CancelledError):
            return frozenset()

    async def refuse_recreated(
        self, positions: Mapping[TopicPartition, int], committed: Collection[TopicPartition] = ()
    ) -> None:
        """Raise TopicRecreated if `positions` belong to a topic that was deleted and created again. Sends a request.

        committed: partitions with committed offsets, which are checked in addition to the tracked ones.

        Raises KafkaError if no broker answers.
        """
        recreated = await self._recreated() & {*self._tracked, *(partition.topic for partition in committed)}
        if recreated:
            raise recreated_error(recreated, positions)

    def track(self, partitions: Collection[TopicPartition]) -> None:
        """Compare the topics of these partitions, and no others, with the ids in the last response."""
        self._tracked = frozenset(partition.topic for partition in partitions)
        self._identity.adopt(self._tracked)

    async def _recreated(self) -> frozenset[str]:
        ids, missing = topic_ids(await self._fetch_metadata())
        if self._has_ids and not ids and len(missing) < len(self._topics):
            self._has_ids = False
            log.info(
                "the brokers report no topic ids: an input topic that is deleted and created again is not detected"
            )
        return self._identity.compare(ids, missing)

    async def stop(self) -> None:
        """Cancel the request in flight and stop logging outages."""
        self._outage.stop()
        if self._request is not None:
            self._request.cancel()
            await asyncio.wait({self._request})

    async def _fetch_metadata(self) -> Mapping[str, Any]:
        try:
            metadata = await request_metadata(self._client, self._topics)
        except IncompatibleBrokerVersion:
            raise
        except KafkaError as error:
            self._outage.on_silence(str(error) or type(error).__name__)
            raise
        self._outage.on_answer({node["node_id"]: f"{node['host']}:{node['port']}" for node in metadata["brokers"]})
        return metadata

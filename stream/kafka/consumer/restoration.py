"""The positions from which an epoch reads: the group's committed offsets, checked against the cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from aiokafka import AIOKafkaConsumer

from forebay.stream.core.errors import CommitRefused
from forebay.stream.core.records import Epoch, TopicPartition
from forebay.stream.core.retry import fixed, retry
from forebay.stream.kafka.consumer.cluster_watch import ClusterWatch
from forebay.stream.kafka.consumer.group_offsets import GroupOffsets, OffsetsUnstable
from forebay.stream.kafka.consumer.start_offsets import (
    OffsetRestorer,
    StartPolicy,
    refuse_new_partitions,
    start_positions,
)
from forebay.stream.rollouts.offset_metadata import required_revisions

log = logging.getLogger("forebay.source")

UNSTABLE_RETRY_S: Final = 0.05


class RevisionGate(Protocol):
    """Keeps partitions closed until the worker has applied the revisions that their offsets name."""

    async def wait_for(self, required: Mapping[str, int]) -> None:
        """Return once these revisions of models, or later ones, are applied."""


class Restoration:
    """Finds the positions for an epoch and commits those of partitions that have no committed offset yet.

    topics: the number of partitions of each input topic at the start.
    revision_gate: None if rollouts are not enabled.
    is_current: returns whether an epoch is still the source's.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        *,
        topics: Mapping[str, int],
        offsets: GroupOffsets,
        watch: ClusterWatch,
        restorer: OffsetRestorer,
        policy: StartPolicy,
        is_current: Callable[[Epoch], bool],
        revision_gate: RevisionGate | None = None,
    ) -> None:
        self._consumer = consumer
        self._topics = topics
        self._offsets = offsets
        self._watch = watch
        self._restorer = restorer
        self._policy = policy
        self._is_current = is_current
        self._revision_gate = revision_gate

    async def positions(self, epoch: Epoch) -> dict[TopicPartition, int]:
        """Return the position of each assigned partition, once no open transaction includes its offset: only then is it final.

        The transaction is this worker's, or that of a worker that has died, which ends with its timeout.

        Raises CommitRefused if the epoch has ended, CommitUnknown if there was no answer to the commit of start offsets,
        BrokerError if reading from there would skip records, and KafkaError.
        """

        def log_wait(_error: Exception, failures: int) -> None:
            if failures == 1:
                log.info("an open transaction holds the group's offsets: reading begins when it has ended")

        return await retry(
            lambda: self._positions(epoch),
            should_retry=lambda error, _failures: isinstance(error, OffsetsUnstable),
            wait_s=fixed(UNSTABLE_RETRY_S),
            on_retry=log_wait,
        )

    async def _positions(self, epoch: Epoch) -> dict[TopicPartition, int]:
        assigned = {TopicPartition(*partition) for partition in self._consumer.assignment()}
        committed = await self._offsets.fetch(assigned)
        self._require_current(epoch)
        if self._revision_gate is not None:
            # No other member can move the offsets meanwhile without ending the epoch.
            await self._revision_gate.wait_for(required_revisions(committed))
            self._require_current(epoch)
        # Before positions are compared with a log that may be that of another topic, and once more afterwards.
        known = {partition: position.offset for partition, position in committed.items() if position is not None}
        await self._watch.refuse_recreated(known, known)
        self._watch.track(assigned)
        refuse_new_partitions(assigned, self._topics)
        positions = await start_positions(self._consumer, self._restorer.restore(committed), self._policy)
        await self._watch.refuse_recreated(positions)
        # Committed before the first record is read, so that a restart begins at the same offset. Nothing was routed before
        # them, so they name no revision.
        unset = {partition: positions[partition] for partition, position in committed.items() if position is None}
        await self._offsets.commit(unset, {}, epoch)
        self._require_current(epoch)
        return positions

    def _require_current(self, epoch: Epoch) -> None:
        if not self._is_current(epoch):
            raise CommitRefused("the epoch has ended")

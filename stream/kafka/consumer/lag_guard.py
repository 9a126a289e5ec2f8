"""Holds a throttle while another group lags, so that a back-fill takes nothing from live workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientTopicPartition
from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError
from forebay.stream.core.records import TopicPartition
from forebay.stream.core.retry import warn_sparsely
from forebay.stream.kafka.consumer.group_offsets import GroupOffsets
from forebay.stream.kafka.consumer.read_throttle import ReadThrottle

log = logging.getLogger("forebay.backfill")

POLL_S: Final = 1.0
RELEASED_BELOW: Final = 0.5
"""The share of the limit at which reading continues, so that it does not change with every poll."""


def is_too_far_behind(lag: int, limit: int, *, was: bool) -> bool:
    """Return whether a group with this lag needs the cluster for itself. was: the last answer."""
    return lag > (limit * RELEASED_BELOW if was else limit)


class LagGuard:
    """Watches the lag of a group over some partitions.

    limit: lag, in records of all partitions together, above which the throttle is held.
    """

    def __init__(
        self, options: Mapping[str, object], group_id: str, partitions: Sequence[TopicPartition], *, limit: int
    ) -> None:
        self._options = dict(options)
        self._group_id = group_id
        self._partitions = list(partitions)
        self._limit = limit

    async def run(self, throttle: ReadThrottle) -> None:
        """Hold and release the throttle until cancelled. It is held until the lag is known, and as it was while it is unknown.

        Raises BrokerError if the group has no committed offsets.
        """
        throttle.held = True
        failures, warn = 0, warn_sparsely(log, f"cannot measure the lag of {self._group_id}: %s")
        consumer = AIOKafkaConsumer(
            **self._options, group_id=self._group_id, enable_auto_commit=False, isolation_level="read_committed"
        )
        try:
            await consumer.start()
            offsets = GroupOffsets(consumer, self._group_id)
            while True:
                try:
                    throttle.held = is_too_far_behind(
                        await self._lag(consumer, offsets), self._limit, was=throttle.held
                    )
                    failures = 0
                except (KafkaError, TimeoutError) as error:
                    failures += 1
                    warn(error, failures)
                await asyncio.sleep(POLL_S)
        except KafkaError as error:
            raise BrokerError(f"cannot measure the lag of {self._group_id}: {error}", kind="unreachable") from error
        finally:
            await consumer.stop()

    async def _lag(self, consumer: AIOKafkaConsumer, offsets: GroupOffsets) -> int:
        committed = await offsets.fetch(self._partitions, require_stable=False)
        if all(offset is None for offset in committed.values()):
            raise BrokerError(
                f"the group {self._group_id} has no committed offsets in the input topics",
                kind="backfill_lag",
                remedy="check the name after --max-lag-of; `kafka-consumer-groups --list` lists the groups",
            )
        ends = await consumer.end_offsets([ClientTopicPartition(*place) for place in self._partitions])
        return sum(
            max(0, ends[ClientTopicPartition(*place)] - offset.offset)
            for place, offset in committed.items()
            if offset is not None
        )

"""Reading the quality of canaries and stable versions for the judge."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, NamedTuple

from forebay.schemas.errors import DataError
from forebay.stream.aggregate.topic_follower import TopicFollower
from forebay.stream.core.clock import Clock
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.quality.wire import decode_quality
from forebay.stream.rollouts.rollout_windows import RolloutWindows

log = logging.getLogger("forebay.rollouts.judge")

LOOK_BACK_MS: Final = 30 * 86_400_000
"""How far back quality is read: labels may come long after their predictions. The topic keeps it for as long."""


class QualityTopic(NamedTuple):
    """Where quality is read. name: full name of the topic. group: of the evaluators; records of others are left out."""

    name: str
    group: str


class RolloutQuality:
    """Adds the records of the topic `quality` to the windows of rollouts.

    topic: None if quality is not judged.
    """

    def __init__(self, options: Mapping[str, object], topic: QualityTopic | None, *, clock: Clock) -> None:
        self._options = options
        self._topic = topic
        self._clock = clock
        self._follower: TopicFollower | None = None
        self._rejected = 0

    async def read(self, windows: RolloutWindows) -> None:
        """Add what is new. Nothing is read while there is no canary. Raises BrokerError."""
        since_ms = windows.since_ms
        if self._topic is None:
            return
        if since_ms is None:
            await self.stop()
            return
        if self._follower is None:
            since_ms = max(since_ms, self._clock.wall_ms() - LOOK_BACK_MS)
            self._follower = await TopicFollower.started(
                self._options, [self._topic.name], since_ms=since_ms, clock=self._clock
            )
        async for _partition, records in self._follower.read_new():
            for record in records:
                self._add(windows, record.value, self._topic.group)

    def _add(self, windows: RolloutWindows, value: bytes | None, group: str) -> None:
        try:
            add_quality(windows, value, group)
        except DataError as error:
            self._rejected += 1
            if self._rejected == 1:
                log.warning("quality that cannot be read is ignored: %s", error.message)

    async def stop(self) -> None:
        """Close the client. The next `read` begins again."""
        follower, self._follower = self._follower, None
        if follower is not None:
            await follower.stop()


def add_quality(windows: RolloutWindows, value: bytes | None, group: str) -> None:
    """Add a record, unless it is of a slice or of another group of evaluators. Raises DataError for anything else."""
    delta = decode_quality(value)
    if delta.blocks is None or delta.key.slice or delta.group != group:
        return
    window = delta.key.window_start, delta.window_end
    windows.add_quality(delta.key.model, delta.key.version, window, BlockSums.read(delta.blocks))

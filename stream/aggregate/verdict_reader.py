"""The current verdicts on canaries, computed from the topics by any process, with the same rules as the judge."""

from __future__ import annotations

from typing import Final

from forebay.schemas.topics import OUTCOME_DELTAS, topic_name
from forebay.stream.aggregate.rollout_judge import LOOK_BACK_MS, add_delta, quality_topic, thresholds_of
from forebay.stream.aggregate.rollout_quality import RolloutQuality
from forebay.stream.aggregate.topic_follower import TopicFollower
from forebay.stream.config.sections import Settings
from forebay.stream.core.cancellation import within
from forebay.stream.core.clock import Clock
from forebay.stream.kafka.client import client_options
from forebay.stream.rollouts.judge import Verdict
from forebay.stream.rollouts.revision_log import RevisionLog
from forebay.stream.rollouts.rollout_windows import RolloutWindows

TIMEOUT_S: Final = 20.0


class VerdictReader:
    """Reads outcome deltas since the oldest canary began, at most those of the last hour.

    log: read to the end of `rollouts` by the caller.
    """

    def __init__(self, settings: Settings, log: RevisionLog, *, clock: Clock) -> None:
        self._topic = topic_name(settings.topics.prefix, OUTCOME_DELTAS.name)
        self._options = client_options(settings.kafka)
        self._windows = RolloutWindows(log, thresholds_of(settings.rollouts))
        self._clock = clock
        self._follower: TopicFollower | None = None
        self._quality = RolloutQuality(self._options, quality_topic(settings), clock=clock)

    async def verdicts(self, model: str) -> list[Verdict]:
        """Return the verdicts on the canaries of a model; empty without one.

        Raises BrokerError, or TimeoutError if there are too many deltas to read.
        """
        self._windows.update()
        since_ms = self._windows.since_ms
        if since_ms is None:
            await self.stop()
            return []
        await within(TIMEOUT_S, self._read(since_ms))
        verdicts = self._windows.verdicts(now_ms=self._clock.wall_ms())
        return [verdict for verdict in verdicts if verdict.model == model]

    async def _read(self, since_ms: int) -> None:
        if self._follower is None:
            since_ms = max(since_ms, self._clock.wall_ms() - LOOK_BACK_MS)
            self._follower = await TopicFollower.started(
                self._options, [self._topic], since_ms=since_ms, clock=self._clock
            )
        async for _partition, records in self._follower.read_new():
            for record in records:
                add_delta(self._windows, record.value, record.timestamp)
        await self._quality.read(self._windows)

    async def stop(self) -> None:
        """Close the client."""
        await self._quality.stop()
        follower, self._follower = self._follower, None
        if follower is not None:
            await follower.stop()

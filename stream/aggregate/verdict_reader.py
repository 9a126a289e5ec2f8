"""The current verdicts on canaries, computed from the topics by any process, with the same rules as the judge."""

from __future__ import annotations

from typing import Final

from forebay.schemas.topics import OUTCOME_DELTAS, topic_name
from forebay.stream.aggregate.rollout_judge import LOOK_BACK_MS, add_delta, thresholds_of
from forebay.stream.aggregate.topic_follower import TopicFollower
from forebay.stream.config.sections import Settings
from forebay.stream.core.cancellation import within
from forebay.stream.core.clock import Clock
from forebay.stream.kafka.client import client_options
from forebay.stream.rollouts.judge import Verdict
from forebay.stream.rollouts.revision_log import RevisionLog
from forebay.stream.rollouts.rollout_windows import RolloutWindows

TIMEOUT_S: Final = 20.0


async def read_verdicts(settings: Settings, log: RevisionLog, model: str, *, clock: Clock) -> list[Verdict]:
    """Return the verdicts on the canaries of a model; empty without one.

    Reads the outcome deltas since the oldest canary began, at most those of the last hour. log: read to the end of `rollouts`.

    Raises BrokerError, or TimeoutError if there are too many deltas.
    """
    windows = RolloutWindows(log, thresholds_of(settings.rollouts))
    windows.update()
    current = log.current(model)
    since_ms = windows.since_ms
    if current is None or not current.canaries or since_ms is None:
        return []
    topic = topic_name(settings.topics.prefix, OUTCOME_DELTAS.name)
    follower = TopicFollower(client_options(settings.kafka), [topic], clock=clock)

    async def read() -> None:
        await follower.start(since_ms=max(since_ms, clock.wall_ms() - LOOK_BACK_MS))
        async for _partition, records in follower.read_new():
            for record in records:
                add_delta(windows, record.value, record.timestamp)

    try:
        await within(TIMEOUT_S, read())
    finally:
        await follower.stop()
    return [verdict for verdict in windows.verdicts(now_ms=clock.wall_ms()) if verdict.model == model]

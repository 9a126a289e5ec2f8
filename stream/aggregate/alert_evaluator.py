"""The alert evaluator: reads a topic, evaluates the rules about it and publishes alerts, in one process at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from forebay.schemas.aggregates import AlertStatus
from forebay.stream.aggregate.alert_sources import AlertSource
from forebay.stream.aggregate.alert_state import PublishableAlert, RuleKey, RuleState, restore_states
from forebay.stream.aggregate.topic_follower import TopicFollower
from forebay.stream.core.clock import Clock

log = logging.getLogger("forebay.aggregate.alerts")

ALERT_HISTORY_MS: Final = 30 * 86_400_000
"""How far back published alerts are read when a process starts to evaluate the rules."""

Publish = Callable[[bytes, bytes], Awaitable[None]]
Notify = Callable[[PublishableAlert], None]


class AlertEvaluator:
    """Evaluates the alert rules about one topic while this process is the active one.

    publish: writes a record to the topic `alerts`.
    notify: receives each alert too, for the webhook.
    """

    def __init__(
        self,
        source: AlertSource,
        options: Mapping[str, object],
        *,
        alerts: str,
        publish: Publish,
        notify: Notify | None,
        clock: Clock,
    ) -> None:
        self._source = source
        self._options = options
        self._alerts = alerts
        self._publish = publish
        self._notify = notify
        self._clock = clock
        self._follower: TopicFollower | None = None
        self._states: dict[RuleKey, RuleState] = {}

    @property
    def topic(self) -> str:
        """The topic that the rules are about."""
        return self._source.topic

    def firing(self) -> list[RuleKey]:
        """Return what alerts fire for now; empty if another process evaluates the rules."""
        if self._follower is None:
            return []
        own = self._source.rule_names
        return [key for key, state in self._states.items() if state.alert_id is not None and key.rule in own]

    async def evaluate(self, *, active: bool) -> None:
        """Evaluate all rules once and publish their alerts. Raises BrokerError.

        active: False if another process evaluates the rules; it reads the published alerts when it begins.
        """
        if not active or not self._source.rule_names:
            await self.stop()
            return
        if self._follower is None:
            await self._begin()
        assert self._follower is not None
        async for _partition, records in self._follower.read_new():
            for record in records:
                self._source.add(record)
            await asyncio.sleep(0)
        for key, state, alert in self._source.evaluate(self._states, self._clock.wall_ms()):
            if alert is not None:
                await self._publish(*alert.to_record())
                level = logging.WARNING if alert.status is AlertStatus.FIRING else logging.INFO
                log.log(level, "alert %s: %s", alert.status.value, alert.to_dict()["message"])
                if self._notify is not None:
                    self._notify(alert)
            self._states[key] = state

    async def _begin(self) -> None:
        now_ms = self._clock.wall_ms()
        published: list[bytes | None] = []
        history = TopicFollower(self._options, [self._alerts], clock=self._clock)
        try:
            await history.start(since_ms=now_ms - ALERT_HISTORY_MS)
            async for _partition, records in history.read_new():
                published += [record.value for record in records]
        finally:
            await history.stop()
        self._states = restore_states(published)
        self._follower = await TopicFollower.started(
            self._options, [self._source.topic], since_ms=self._source.begin(now_ms), clock=self._clock
        )

    async def stop(self) -> None:
        """Stop reading the topic."""
        follower, self._follower = self._follower, None
        if follower is not None:
            await asyncio.shield(follower.stop())

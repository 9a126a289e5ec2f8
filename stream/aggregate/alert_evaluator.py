"""Looks at the alert rules: reads the aggregates, steps the rules, writes what is to be told. By one process at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from forebay.schemas.aggregates import AlertStatus
from forebay.stream.aggregate.aggregate_reader import AggregateView
from forebay.stream.aggregate.alerts import STEP_MS, Alert, Rule, RuleKey, RuleState, expand_rules, restore_states, step
from forebay.stream.aggregate.topic_follower import TopicFollower
from forebay.stream.core.clock import Clock

log = logging.getLogger("forebay.aggregate.alerts")

ALERTS_BACK_MS: Final = 30 * 86_400_000

Publish = Callable[[bytes, bytes], Awaitable[None]]
Notify = Callable[[Alert], None]


class AlertEvaluator:
    """The rules, as long as this process is the one that looks at them. notify: is told besides the topic."""

    def __init__(
        self,
        rules: Sequence[Rule],
        options: Mapping[str, object],
        *,
        aggregates: str,
        alerts: str,
        publish: Publish,
        notify: Notify | None,
        clock: Clock,
    ) -> None:
        self._rules = tuple(rules)
        self._options = options
        self._aggregates = aggregates
        self._alerts = alerts
        self._publish = publish
        self._notify = notify
        self._clock = clock
        self._follower: TopicFollower | None = None
        self._view = AggregateView()
        self._states: dict[RuleKey, RuleState] = {}
        self._horizon_ms = max((rule.horizon_ms for rule in self._rules), default=STEP_MS)

    async def look(self, *, mine: bool) -> None:
        """One look; none where another process does it (its successor reads what was told). Raises BrokerError."""
        if not mine or not self._rules:
            await self.stop()
            return
        if self._follower is None:
            await self._begin()
        assert self._follower is not None
        async for _partition, records in self._follower.read_new():
            for record in records:
                self._view.upsert(record.key, record.value)
        now_ms = self._clock.wall_ms()
        self._view.forget(now_ms - self._horizon_ms)
        for key, rule in list(expand_rules(self._rules, self._states, self._view)):
            state, alert = step(rule, self._states.get(key, RuleState()), self._view, now_ms)
            if alert is not None:
                await self._publish(*alert.to_record())
                level = logging.WARNING if alert.status is AlertStatus.FIRING else logging.INFO
                log.log(level, "alert %s: %s", alert.status.value, alert.to_dict()["message"])
                if self._notify is not None:
                    self._notify(alert)
            self._states[key] = state

    async def _begin(self) -> None:
        now_ms = self._clock.wall_ms()
        told: list[bytes | None] = []
        earlier = TopicFollower(self._options, [self._alerts], clock=self._clock)
        try:
            await earlier.start(since_ms=now_ms - ALERTS_BACK_MS)
            async for _partition, records in earlier.read_new():
                told += [record.value for record in records]
        finally:
            await earlier.stop()
        self._states, self._view = restore_states(told), AggregateView()
        self._follower = TopicFollower(self._options, [self._aggregates], clock=self._clock)
        await self._follower.start(since_ms=now_ms - self._horizon_ms)

    async def stop(self) -> None:
        follower, self._follower = self._follower, None
        if follower is not None:
            await asyncio.shield(follower.stop())

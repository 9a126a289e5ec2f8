"""The alert evaluator: reads the aggregates, evaluates the rules and publishes alerts, in one process at a time."""

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

ALERT_HISTORY_MS: Final = 30 * 86_400_000
"""How far back published alerts are read when a process starts to evaluate the rules."""

Publish = Callable[[bytes, bytes], Awaitable[None]]
Notify = Callable[[Alert], None]


class AlertEvaluator:
    """Evaluates the alert rules while this process is the active one.

    publish: writes a record to the topic `alerts`.
    notify: receives each alert too, for the webhook.
    """

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

    async def evaluate(self, *, active: bool) -> None:
        """Evaluate all rules once and publish their alerts. Raises BrokerError.

        active: False if another process evaluates the rules; it reads the published alerts when it begins.
        """
        if not active or not self._rules:
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
        published: list[bytes | None] = []
        history = TopicFollower(self._options, [self._alerts], clock=self._clock)
        try:
            await history.start(since_ms=now_ms - ALERT_HISTORY_MS)
            async for _partition, records in history.read_new():
                published += [record.value for record in records]
        finally:
            await history.stop()
        self._states, self._view = restore_states(published), AggregateView()
        self._follower = TopicFollower(self._options, [self._aggregates], clock=self._clock)
        await self._follower.start(since_ms=now_ms - self._horizon_ms)

    async def stop(self) -> None:
        """Stop reading the aggregates."""
        follower, self._follower = self._follower, None
        if follower is not None:
            await asyncio.shield(follower.stop())

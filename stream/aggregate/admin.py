"""The aggregator's admin API: probes and metrics."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from forebay.stream.admin.health import Verdict
from forebay.stream.admin.responses import json_response
from forebay.stream.admin.role_admin import RoleAdmin
from forebay.stream.aggregate.alert_state import RuleKey
from forebay.stream.aggregate.drift_monitor import DriftMonitor
from forebay.stream.config.sections import Settings
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.clock import Clock
from forebay.stream.rollouts.judge import Verdict as CanaryVerdict
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.metric_store import MetricStore
from forebay.stream.telemetry.prometheus import render_page
from forebay.stream.telemetry.resources import record_build

ACTIVE_PARTITION: Final = 0
"""The aggregator that is assigned this partition of outcome-deltas judges."""

STALLED_AFTER_S: Final = 60.0
"""With the default settings, a tick that the cluster does not confirm ends the aggregator earlier than this."""


class AggregationStats(Protocol):
    """The figures that are published (see `aggregate.app`). counted: number of deltas."""

    counted: int

    @property
    def partitions(self) -> list[int]: ...


class RuleFigures(Protocol):
    """What is published about the evaluation of alert rules about one topic (see `GuardedRules`)."""

    num_errors: int

    @property
    def topic(self) -> str: ...
    def firing(self) -> Sequence[RuleKey]: ...


@dataclass(slots=True)
class Heartbeat:
    """The state of the process, for its probes.

    started: whether the group is joined and the state is restored.
    last_tick_s: monotonic time of the last tick in seconds, or None before the first.
    """

    started: bool = False
    last_tick_s: float | None = None


@dataclass(slots=True)
class JudgeStatus:
    """What the judge of rollouts last found, for the metrics and `/rollouts`. error: why it cannot judge."""

    verdicts: Sequence[CanaryVerdict] = ()
    error: str | None = None
    num_errors: int = 0


class AggregatorAdmin:
    """Serves the probes, metrics and verdicts. heartbeat, rollouts: to be updated by the aggregator."""

    def __init__(self, settings: Settings, counting: AggregationStats, *, clock: Clock) -> None:
        self._counting = counting
        self._clock = clock
        self._stalled_after_s = STALLED_AFTER_S + settings.aggregate.confirm_timeout_ms / 1000
        self._store = MetricStore()
        record_build(self._store)
        self.heartbeat = Heartbeat()
        self.rollouts = JudgeStatus()
        self._judges = settings.rollouts.enabled
        self._configured = {rule.name: rule for rule in settings.aggregate.alerts}
        self.rules: Sequence[RuleFigures] = ()
        """What evaluates the alert rules; set once they are evaluated."""
        self._drift: DriftMonitor | None = None
        self._tasks: list[asyncio.Task[None]] = []
        routes = [web.get("/rollouts", self._rollouts)]
        if settings.admin.enabled and settings.drift.enabled:
            self._drift = DriftMonitor(settings, is_active=lambda: ACTIVE_PARTITION in counting.partitions, clock=clock)
            routes.append(web.get("/drift", self._drift_page))
        self._admin = RoleAdmin(
            settings,
            liveness=self.liveness,
            readiness=self.readiness,
            metrics=self._metrics,
            routes=routes,
            clock=clock,
        )

    async def start(self) -> str | None:
        """Start to listen and return the URL; None if the admin API is disabled. Raises ConfigError."""
        if self._drift is not None:
            self._tasks.append(asyncio.create_task(self._drift.run(), name="drift"))
        return await self._admin.start()

    async def stop(self) -> None:
        """Stop listening."""
        await cancel_until_done(*self._tasks)
        await self._admin.stop()

    def liveness(self) -> Verdict:
        """Fail if the timer is stalled. If the cluster is unreachable, the process ends by itself."""
        last_tick_s = self.heartbeat.last_tick_s
        for_s = 0.0 if last_tick_s is None else self._clock.monotonic_s() - last_tick_s
        stalled = for_s > self._stalled_after_s
        return Verdict(not stalled, (f"nothing has been published for {for_s:.0f} s",) if stalled else ())

    def readiness(self) -> Verdict:
        """Succeed once the group is joined and the state is restored."""
        if self.heartbeat.started:
            return Verdict(True, (), {"partitions": self._counting.partitions})
        return Verdict(False, ("joining the group and restoring the counts",))

    def _metrics(self, accept: str) -> tuple[bytes, str]:
        store = self._store
        store.set(c.READY, int(self.readiness().ok))
        store.set_total(c.AGGREGATE_DELTAS, self._counting.counted)
        store.set(c.AGGREGATE_PARTITIONS, len(self._counting.partitions))
        store.replace(c.ALERTS_FIRING, self._firing_by_rule())
        errors: dict[tuple[str, ...], float] = {(each.topic,): each.num_errors for each in self.rules}
        store.replace_totals(c.ALERT_ERRORS, errors)
        if self._judges:
            verdicts = self.rollouts.verdicts
            store.set_total(c.ROLLOUT_JUDGE_ERRORS, self.rollouts.num_errors)
            store.replace(c.ROLLOUT_VERDICT, {(one.model, str(one.version), one.decision.value): 1 for one in verdicts})
            store.replace(
                c.ROLLOUT_EVENTS_NEEDED, {(one.model, str(one.version)): one.events_needed for one in verdicts}
            )
        if self._drift is not None:
            self._drift.record(store)
        return render_page(store.snapshot(), accept=accept)

    async def _drift_page(self, _request: web.Request) -> web.Response:
        assert self._drift is not None
        return json_response(self._drift.to_dict())

    def _firing_by_rule(self) -> Counter[tuple[str, ...]]:
        firing = [key for each in self.rules for key in each.firing()]
        rules = [(key, self._configured[key.rule]) for key in firing if key.rule in self._configured]
        return Counter((rule.name, rule.category.value, rule.severity.value, key.model or "") for key, rule in rules)

    async def _rollouts(self, _request: web.Request) -> web.Response:
        return json_response(
            {
                "enabled": self._judges,
                "error": self.rollouts.error,
                "verdicts": [verdict.to_dict() for verdict in self.rollouts.verdicts],
            }
        )

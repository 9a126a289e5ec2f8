"""The aggregator's admin API: verdicts on canaries as JSON and as metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientSession

from forebay.stream.aggregate.admin import AggregatorAdmin
from forebay.stream.aggregate.alert_state import RuleKey
from forebay.stream.config.alert_rule import AlertRule
from forebay.stream.config.sections import AdminSection, AggregateSection, RolloutsSection, Settings
from forebay.stream.rollouts.checks import Check
from forebay.stream.rollouts.judge import Decision, Verdict
from tests.core.build import ManualClock

VERDICT = Verdict(
    "fraud",
    version=4,
    revision=7,
    decision=Decision.INCONCLUSIVE,
    check=Check.FAILURES,
    reason="12 of 900 events failed",
    evidence={"rate": 0.0133},
    events_needed=800,
    wait_s=1.25,
)


class Counting:
    counted = 3
    partitions: list[int] = [0]  # noqa: RUF012  # as in the protocol


@pytest.mark.parametrize("enabled", [True, False])
async def test_verdicts_are_at_rollouts_and_in_the_metrics(enabled: bool) -> None:
    settings = Settings(admin=AdminSection(port=0), rollouts=RolloutsSection(enabled=enabled))
    admin = AggregatorAdmin(settings, Counting(), clock=ManualClock())
    if enabled:
        admin.rollouts.verdicts, admin.rollouts.num_errors = [VERDICT], 2
    url = await admin.start()
    try:
        async with ClientSession(url) as session:
            async with session.get("/rollouts") as response:
                document: dict[str, Any] = await response.json()
            async with session.get("/metrics") as response:
                metrics = await response.text()
            assert document["enabled"] is enabled and document["error"] is None
            if not enabled:
                assert document["verdicts"] == [] and "forebay_rollout" not in metrics
                return
            (verdict,) = document["verdicts"]
            assert verdict == {
                "model": "fraud",
                "version": 4,
                "revision": 7,
                "verdict": "inconclusive",
                "check": "failures",
                "reason": "12 of 900 events failed",
                "evidence": {"rate": 0.0133},
                "events_needed": 800,
                "wait_s": 1.2,
            }
            assert 'forebay_rollout_verdict{model="fraud",verdict="inconclusive",version="4"} 1' in metrics, metrics
            assert 'forebay_rollout_events_needed{model="fraud",version="4"} 800' in metrics
            assert "forebay_rollout_judge_errors_total 2" in metrics
            admin.rollouts.verdicts = []
            async with session.get("/metrics") as response:
                assert "forebay_rollout_verdict{" not in await response.text()
    finally:
        await admin.stop()


@dataclass
class Figures:
    """The evaluation of the rules about a topic."""

    topic: str
    keys: list[RuleKey]
    num_errors: int = 0

    def firing(self) -> list[RuleKey]:
        return self.keys


async def test_firing_alerts_are_counted_by_rule_and_model() -> None:
    rules = (
        AlertRule(name="worse", category="quality", metric="accuracy", below=0.8, severity="critical"),
        AlertRule(name="full", category="resource", metric="worker_memory_mb", above=900),
    )
    settings = Settings(admin=AdminSection(port=0), aggregate=AggregateSection(alerts=rules))
    admin = AggregatorAdmin(settings, Counting(), clock=ManualClock())
    admin.rules = [
        Figures(
            "quality",
            [
                RuleKey("worse", "fraud", 4, "country=DE"),
                RuleKey("worse", "fraud", 4, "country=FR"),
                RuleKey("removed from the configuration", "fraud"),
            ],
        ),
        Figures("outcome-deltas", [RuleKey("full", None, None, "worker-1")], num_errors=3),
    ]
    url = await admin.start()
    try:
        async with ClientSession(url) as session, session.get("/metrics") as response:
            lines = [line for line in (await response.text()).splitlines() if line.startswith("forebay_alerts_")]
    finally:
        await admin.stop()
    assert sorted(lines) == [
        'forebay_alerts_errors_total{topic="outcome-deltas"} 3.0',
        'forebay_alerts_errors_total{topic="quality"} 0.0',
        'forebay_alerts_firing{category="quality",model="fraud",rule="worse",severity="critical"} 2.0',
        'forebay_alerts_firing{category="resource",model="",rule="full",severity="warning"} 1.0',
    ]

"""The aggregator's judge on a cluster: it reads the deltas of workers, writes revisions and raises alerts."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pytest
from jsonschema import Draft202012Validator

from forebay.schemas.definitions import definitions
from forebay.schemas.failures import FailureKind, Outcome, Stage
from forebay.schemas.topics import topic_name
from forebay.stream.aggregate.rollout_judge import RevisionStore, RolloutJudge, quality_topic
from forebay.stream.aggregate.verdict_reader import VerdictReader
from forebay.stream.config.evaluate_section import EvaluateSection
from forebay.stream.config.evaluator_group import evaluator_group
from forebay.stream.config.rollouts_section import RolloutsSection
from forebay.stream.config.sections import KafkaSection, Settings, TopicsSection
from forebay.stream.control.rollout_store import RolloutConflict, RolloutStore
from forebay.stream.core.clock import SystemClock
from forebay.stream.experiments.block_sums import BlockSums
from forebay.stream.kafka.client import client_options
from forebay.stream.output.ledger import Delta, DeltaKey, encode_delta
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.sums import QualitySums
from forebay.stream.quality.wire import encode_quality
from forebay.stream.rollouts.changes import Proposal, promote
from forebay.stream.rollouts.findings import Check
from forebay.stream.rollouts.judge import AUTHOR, Decision, Verdict
from forebay.stream.rollouts.revision import Action, Revision, initial_revision
from forebay.stream.rollouts.version_stats import VersionStats
from tests.brokers.clients import create_topic, producer, read_committed
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.eventually import eventually
from tests.experiments.test_experiment import arm
from tests.rollouts.simulated_rollout import CANARY, STABLE, Behaviour, canary_revision, outcome

LOGGER = "forebay.rollouts.judge"


@dataclass
class Cluster:
    """The topics of one test."""

    settings: Settings
    notified: list[dict[str, Any]]

    def topic(self, name: str) -> str:
        return topic_name(self.settings.topics.prefix, name)

    @property
    def bootstrap(self) -> str:
        return self.settings.kafka.bootstrap_servers

    def open_store(self) -> RolloutStore:
        return RolloutStore(self.settings, clock=SystemClock())

    def judge(self, open_store: Callable[[], RevisionStore] | None = None) -> RolloutJudge:
        async def publish(key: bytes, value: bytes) -> None:
            async with producer(self.bootstrap) as client:
                await client.send_and_wait(self.topic("alerts"), value, key)

        return RolloutJudge(
            self.settings.rollouts,
            client_options(self.settings.kafka),
            open_store or self.open_store,
            deltas=self.topic("outcome-deltas"),
            alerts=self.topic("alerts"),
            quality=quality_topic(self.settings),
            publish=publish,
            notify=lambda alert: self.notified.append(alert.to_dict()),
            clock=SystemClock(),
            new_id=lambda: str(uuid.uuid4()),
        )

    async def propose(self, revision: Revision) -> None:
        store = self.open_store()
        try:
            await store.start()
            await store.propose(revision)
        finally:
            await store.stop()

    async def read_verdicts(self) -> list[Verdict]:
        store = self.open_store()
        try:
            await store.start()
            reader = VerdictReader(self.settings, store.log, clock=SystemClock())
            try:
                return await reader.verdicts("m")
            finally:
                await reader.stop()
        finally:
            await store.stop()

    async def current(self) -> Revision:
        store = self.open_store()
        try:
            await store.start()
            current = store.log.current("m")
            assert current is not None
            return current
        finally:
            await store.stop()

    async def alerts(self) -> list[dict[str, Any]]:
        return [orjson.loads(record.value) for record in await read_committed(self.bootstrap, self.topic("alerts"), 1)]

    async def label(self, sums: Mapping[int, BlockSums]) -> None:
        """Publish the quality of versions in a window that begins after the workers have applied the revision."""
        async with producer(self.bootstrap) as client:
            await client.send_and_wait(self.topic("quality"), b"not a record of quality")
            for version, blocks in sums.items():
                key = QualityKey("m", version, now_ms() + 60_000)
                record = encode_quality(
                    key,
                    QualitySums(Task.BINARY, 2),
                    blocks=blocks,
                    window_s=60,
                    group=evaluator_group(self.settings),
                    worker="w",
                )
                await client.send_and_wait(self.topic("quality"), record[1], record[0])

    async def report(self, behaviours: Mapping[int, Behaviour], *, rows: int = 5000, commit: bool = True) -> None:
        """Publish what versions did, as a worker does in the transaction of a commit."""
        rng = np.random.default_rng(1)
        async with producer(self.bootstrap, transactional_id=f"{self.topic('w')}-{uuid.uuid4()}") as client:
            await client.begin_transaction()
            for version, behaviour in behaviours.items():
                for key, value in deltas(version, outcome(behaviour, rows, rng)):
                    await client.send_and_wait(self.topic("outcome-deltas"), value, key, partition=version % 2)
            await (client.commit_transaction() if commit else client.abort_transaction())


def deltas(version: int, stats: VersionStats) -> list[tuple[bytes, bytes]]:
    """Return the deltas of a commit with these statistics."""
    minute = time.time_ns() // 60_000_000_000 * 60_000
    records = []
    for outcome_, stage, kind, count in (
        (Outcome.PREDICTED, Stage.EMIT, "predicted", stats.events - stats.failures),
        (Outcome.FAILED, Stage.MODEL, FailureKind.MODEL_ERROR.value, stats.failures),
        (Outcome.REJECTED, Stage.DECODE, FailureKind.NOT_JSON.value, 100),
    ):
        delta = Delta()
        delta.add(count, minute, minute + 1)
        if count:
            key = DeltaKey(minute, outcome_, stage, kind=kind, model="m", version=version)
            performance = None if records else stats.performance
            records.append(encode_delta(key, delta, worker="w", performance=performance))
    return records


def canary(weights: tuple[float, ...] = (50,)) -> Revision:
    revision = canary_revision(weights, min_events=1000)
    return Revision(**{name: getattr(revision, name) for name in revision.__slots__} | {"created_ms": now_ms()})


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
async def cluster(embedded_broker: Broker, names: Names) -> Cluster:
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=embedded_broker.bootstrap),
        topics=TopicsSection(prefix=f"{names.prefix}."),
        rollouts=RolloutsSection(enabled=True, judge_window_s=1, judge_windows=1),
    )
    found = Cluster(settings, [])
    for name, partitions in (("rollouts", 1), ("outcome-deltas", 2), ("alerts", 1)):
        await create_topic(found.bootstrap, found.topic(name), partitions)
    return found


@asynccontextmanager
async def judging(judge: RolloutJudge) -> AsyncIterator[RolloutJudge]:
    try:
        yield judge
    finally:
        await judge.stop()


GOOD, FAILING, NAN = Behaviour(), Behaviour(failure_rate=0.03), Behaviour(nan_rate=0.01)


async def test_a_canary_whose_labels_show_that_it_is_worse_is_ended(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    section = cluster.settings.rollouts.model_copy(update={"quality_metric": "log_loss"})
    evaluate = EvaluateSection(enabled=True)
    cluster.settings = cluster.settings.model_copy(update={"rollouts": section, "evaluate": evaluate})
    await create_topic(cluster.bootstrap, cluster.topic("quality"), 1)
    await cluster.propose(canary())
    await cluster.report({STABLE: GOOD, CANARY: GOOD})
    async with judging(cluster.judge()) as judge:
        await judge.evaluate(active=True)
        (verdict,) = judge.verdicts
        assert verdict.decision is Decision.HOLD
        await cluster.label({STABLE: arm(20_000, seed=1), CANARY: arm(20_000, seed=2, factor=0.2)})
        (read,) = await cluster.read_verdicts()
        assert (read.decision, read.check) == (Decision.ROLL_BACK, Check.QUALITY)
        await judge.evaluate(active=True)
    current = await cluster.current()
    assert current.canaries == () and current.rejected == (CANARY,)
    assert current.reason.startswith(f"the log loss of version {CANARY}")
    assert current.evidence["check"] == "quality"
    assert "quality that cannot be read is ignored" in caplog.text
    (alert,) = await cluster.alerts()
    assert alert["message"].endswith(current.reason)


async def test_a_failing_canary_is_ended_with_its_numbers_and_an_alert(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    await cluster.propose(canary())
    async with judging(cluster.judge()) as judge:
        await judge.evaluate(active=True)
        assert judge.verdicts[0].decision is Decision.INCONCLUSIVE and judge.verdicts[0].events_needed == 1000
        await cluster.report({STABLE: NAN, CANARY: NAN}, commit=False)
        await cluster.report({STABLE: GOOD, CANARY: FAILING})
        await judge.evaluate(active=True)
        await judge.evaluate(active=True)
        assert judge.verdicts == []
    current = await cluster.current()
    assert (current.number, current.action, current.author) == (2, Action.ABORT, AUTHOR)
    assert current.automatic and current.stable == STABLE and current.rejected == (CANARY,)
    assert current.evidence["events"] == 5000 and current.evidence["check"] == "failures", "the aborted deltas count"
    assert "of 5,000 events of version 2 failed" in current.reason
    (alert,) = await cluster.alerts()
    Draft202012Validator(definitions()["alert"]).validate(alert)
    assert (
        alert["status"] == "firing"
        and alert["value"] == current.evidence["rate"]
        and "serves again" in alert["message"]
    )
    assert cluster.notified == [alert]
    lines = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert any("version 2: inconclusive: no data" in line for line in lines), lines
    assert any("version 2: roll back, revision 2: " in line for line in lines), lines


async def test_the_next_process_repeats_no_alert_and_resolves_it_when_somebody_acts(cluster: Cluster) -> None:
    await cluster.propose(canary())
    await cluster.report({STABLE: GOOD, CANARY: NAN})
    for _ in range(2):
        async with judging(cluster.judge()) as judge:
            await judge.evaluate(active=True)
            await judge.evaluate(active=True)
    assert [alert["status"] for alert in await cluster.alerts()] == ["firing"]
    proposal = Proposal("again", "ada", automatic=False, reason="fixed", created_ms=now_ms())
    await cluster.propose(promote(await cluster.current(), CANARY, proposal))
    async with judging(cluster.judge()) as judge:
        await judge.evaluate(active=True)
    firing, resolved = await cluster.alerts()
    assert resolved["status"] == "resolved" and resolved["alert_id"] == firing["alert_id"]
    assert "resolved by promote (revision 3, by ada)" in resolved["message"]
    assert [alert["measure"] for alert in cluster.notified] == ["count", "count"] and firing["value"] > 20


async def test_a_good_canary_is_promoted_and_a_restart_continues(cluster: Cluster) -> None:
    await cluster.propose(canary())
    await cluster.report({STABLE: GOOD, CANARY: GOOD}, rows=600)
    async with judging(cluster.judge()) as judge:
        await judge.evaluate(active=True)
        needed = judge.verdicts[0].events_needed
        assert 400 <= needed < 420
        (read,) = await cluster.read_verdicts()
        assert (read.decision, read.events_needed) == (Decision.INCONCLUSIVE, needed)
    await cluster.report({STABLE: GOOD, CANARY: GOOD}, rows=600)
    async with judging(cluster.judge()) as judge:
        await judge.evaluate(active=True)
        assert judge.verdicts[0].events_needed == 0, "the deltas before the restart are missing"

        async def promoted() -> Revision:
            await judge.evaluate(active=True)
            return await cluster.current()

        revision = await eventually(
            promoted, "the promotion of the canary", until=lambda current: current.stable == CANARY, timeout_s=20
        )
    assert revision.number == 2 and revision.author == AUTHOR and "the last step" in revision.reason
    assert await cluster.alerts() == [] and await cluster.read_verdicts() == []


async def test_a_process_that_is_not_active_does_nothing(cluster: Cluster) -> None:
    await cluster.propose(canary())
    await cluster.report({STABLE: GOOD, CANARY: NAN})
    async with judging(cluster.judge()) as judge:
        await judge.evaluate(active=False)
        assert judge.verdicts == []
    assert (await cluster.current()).number == 1


class OvertakenStore(RolloutStore):
    """A store whose proposals come too late."""

    async def propose(self, revision: Revision) -> None:
        raise RolloutConflict(revision, initial_revision("m", 7))


async def test_a_lost_race_changes_nothing(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    await cluster.propose(canary())
    await cluster.report({STABLE: GOOD, CANARY: NAN})
    async with judging(cluster.judge(lambda: OvertakenStore(cluster.settings, clock=SystemClock()))) as judge:
        await judge.evaluate(active=True)
    assert "came too late: model 'm': promote by configuration" in caplog.text
    assert (await cluster.current()).number == 1 and await cluster.alerts() == []

"""Actions are in the audit before they are done: proposals of rollouts and replays, by the code that does them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request
from click.testing import CliRunner

from forebay.schemas.errors import BrokerError
from forebay.schemas.failures import FailureKind
from forebay.stream.admin.recorded_switch import refusal_unless_recorded
from forebay.stream.audit.action import Action, action_of
from forebay.stream.audit.block import decode_block
from forebay.stream.cli.dlq import command as dlq
from forebay.stream.config.sections import AuditSection, KafkaSection, RolloutsSection, Settings, TopicsSection
from forebay.stream.control.rollout_store import RolloutStore
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.output.encoder import dead_letter
from forebay.stream.rollouts.changes import promote
from tests.brokers.clients import producer, read_committed
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.core.build import FakeRecord
from tests.rollouts.build import configured, proposal


@pytest.fixture
async def settings(embedded_broker: Broker, names: Names) -> Settings:
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=embedded_broker.bootstrap, group_id=names.prefix),
        topics=TopicsSection(prefix=f"{names.prefix}.", partitions=1),
        rollouts=RolloutsSection(enabled=True),
        audit=AuditSection(enabled=True),
    )
    await create_topics(settings)
    return settings


async def written(settings: Settings) -> list[Action]:
    """Return the actions in the topic."""
    records = await read_committed(settings.kafka.bootstrap_servers, f"{settings.topics.prefix}audit", 1)
    return [action for record in records if (action := action_of(decode_block(record.value))) is not None]


async def test_a_proposal_of_a_rollout_is_in_the_audit(settings: Settings) -> None:
    store = RolloutStore(settings, clock=SystemClock())
    try:
        await store.start()
        await store.propose(promote(configured(), 2, proposal(author="ada")))
    finally:
        await store.stop()
    (action,) = await written(settings)
    assert (action.name, action.actor, action.details["action"]) == ("rollout", "ada", "promote")
    assert action.details["stable"] == 2 and action.details["revision"] == 1


async def test_a_replay_is_in_the_audit(settings: Settings, tmp_path: Path) -> None:
    prefix, servers = settings.topics.prefix, settings.kafka.bootstrap_servers
    place = TopicPartition(f"{prefix}features", 0)
    key, value, headers = dead_letter(
        FakeRecord(0, b"{}", key=b"k"), place, FailureKind.NOT_JSON, "no", max_bytes=1 << 20
    )
    async with producer(servers) as client:
        await client.send_and_wait(f"{prefix}dead-letters", value, key=key, headers=headers, partition=0)
    config = tmp_path / "forebay.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{servers}"\n[topics]\nprefix = "{prefix}"\n[audit]\nenabled = true\n'
    )
    done = await asyncio.to_thread(CliRunner().invoke, dlq, ["replay", "--yes", "--json", "-c", str(config)])
    assert done.exit_code == 0, done.output
    (action,) = await written(settings)
    assert action.name == "replay" and "@" in action.actor
    assert action.details == {"from": f"{prefix}dead-letters", "planned": 1, "topics": {f"{prefix}features": 1}}


class FailingLog:
    """A log that cannot be written."""

    async def record(self, action: Action) -> None:
        raise BrokerError("no broker")


async def test_a_pause_that_cannot_be_audited_is_refused() -> None:
    request = make_mocked_request("POST", "/pause")
    refusal = await refusal_unless_recorded(FailingLog(), request, paused=True, worker="w", has_token=False)
    assert refusal is not None and refusal.status == 503 and "not_audited" in (refusal.text or "")
    assert await refusal_unless_recorded(None, request, paused=True, worker="w", has_token=False) is None

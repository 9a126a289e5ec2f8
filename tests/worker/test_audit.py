"""The audit of real workers: complete through failures and a kill, in a chain for each partition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from forebay.schemas.headers import AUDIT_SIGNATURE
from forebay.stream.audit.block import decode_block
from forebay.stream.audit.filter import AuditFilter
from forebay.stream.cli import audit_verify
from forebay.stream.cli.audit_show import show_actions, show_audit
from forebay.stream.config.sections import Settings
from tests.audit.build import private_key
from tests.brokers.clients import create_topic
from tests.brokers.resolve import Broker
from tests.worker.harness import WorkerGroup

NUM_EVENTS = 1_000
STATIC = {"instance_id": "worker-0"}
"""The successor replaces the killed worker at once, without waiting for its session to expire."""


@pytest.fixture
def broker(kafka: Broker) -> Broker:
    """A real Kafka: the embedded broker does not replace a member that died."""
    return kafka


def settings_of(group: WorkerGroup, audit: dict[str, Any]) -> Settings:
    """Return the settings of the commands."""
    return Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": group.bootstrap, "group_id": group.prefix},
            "topics": {"prefix": f"{group.prefix}-"},
            "audit": audit,
        }
    )


async def test_the_audit_is_complete_after_a_kill_between_commits(
    worker_group: WorkerGroup, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_verify, "SETTLE_S", 0.0)  # nothing writes any more
    key = tmp_path / "audit.pem"
    key.write_bytes(private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    audit = {"enabled": True, "signing_key": str(key), "digests": "both"}
    await worker_group.create(partitions=2)
    await create_topic(worker_group.bootstrap, worker_group.topic("audit"), worker_group.partitions)
    await worker_group.publish(NUM_EVENTS)
    await worker_group.publish(7, first_feature=666.0)
    await worker_group.send([[b"no event"] * 3] * worker_group.partitions)
    # Blocks, predictions and offsets of the third transaction are sent, and it is not committed.
    killed = worker_group.start(
        mode="reject",
        audit=audit,
        batch={"max_batch_size": 50},
        limits={"max_in_flight_events": 200},
        delivery=STATIC,
        failpoints={"after_txn_offset_commit": {"do": "kill", "at": 3}},
    )
    assert await killed.ended() == -9, killed.log
    successor = worker_group.start(mode="reject", audit=audit, delivery=STATIC)
    await successor.ready()
    async with aiohttp.ClientSession() as session:
        for path in ("pause", "resume"):
            async with session.post(f"{successor.url}/{path}") as response:
                assert response.status == 200, await response.text()
    await worker_group.settled_by(successor)

    settings = settings_of(worker_group, audit)
    status = await audit_verify.verify_audit(settings, keys=(), counts=True, as_json=True)
    document = orjson.loads(capsys.readouterr().out)
    assert status == 0 and document["valid"], document
    assert sum(chain["records"] for chain in document["chains"]) == NUM_EVENTS + 7 + 6
    assert all(chain["first_sequence"] == 0 and not chain["restarts"] for chain in document["chains"])
    assert len(document["counts"]) == 3 and all(count["actual"] is not None for count in document["counts"])
    records = await worker_group.outputs("audit")
    signed = [decode_block(record.value) for record in records if AUDIT_SIGNATURE in dict(record.headers)]
    checkpoints = [block.head.sequence for block in signed if not block.is_action]
    assert sorted(checkpoints)[:2] == [0, 0] and max(checkpoints) > 0  # the successor signs its first blocks

    await show_audit(settings, AuditFilter(event_id="1/000003"), limit=None, as_json=True)
    (row,) = map(orjson.loads, capsys.readouterr().out.splitlines())
    assert (row["partition"], row["offset"], row["outcome"], row["model"]) == (1, 3, "predicted", "echo")
    assert len(row["input_sha256"]) == len(row["output_sha256"]) == 64
    await show_actions(settings, AuditFilter(), limit=None, as_json=True)
    actions = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [action["action"] for action in actions] == ["start", "start", "pause", "resume", "stop"]
    assert actions[0]["details"]["models"][0]["name"] == "echo" and actions[0]["process"] != actions[1]["process"]
    assert (actions[2]["actor"], actions[2]["origin"]) == ("unauthenticated", "127.0.0.1")
    await show_audit(settings, AuditFilter(outcome="not_json"), limit=None, as_json=True)
    assert len(capsys.readouterr().out.splitlines()) == 6

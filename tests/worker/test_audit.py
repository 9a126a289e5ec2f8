"""The audit of real workers on the embedded broker: complete over two workers, with failures, in a chain for each partition."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.audit.build import private_key
from tests.brokers.clients import create_topic
from tests.brokers.resolve import Broker
from tests.worker.harness import WorkerGroup

NUM_EVENTS = 2_000


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices: the blocks are in the transaction of the other outputs."""
    return embedded_broker


def configured(folder: Path, group: WorkerGroup, audit: dict[str, Any]) -> list[str]:
    """Write the configuration of the commands; return the options that name it."""
    path = folder / "forebay.toml"
    path.write_text(
        f'[kafka]\nbootstrap_servers = "{group.bootstrap}"\ngroup_id = "{group.prefix}"\n'
        f'[topics]\nprefix = "{group.prefix}-"\n[audit]\nenabled = true\nsigning_key = "{audit["signing_key"]}"\n'
    )
    return ["-c", str(path)]


async def test_each_record_has_one_audited_outcome_over_two_workers(worker_group: WorkerGroup, tmp_path: Path) -> None:
    key = tmp_path / "audit.pem"
    key.write_bytes(private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    audit = {"enabled": True, "signing_key": str(key), "digests": "both"}
    await worker_group.create()
    await create_topic(worker_group.bootstrap, worker_group.topic("audit"), worker_group.partitions)
    first = worker_group.start(mode="reject", audit=audit)
    await first.ready()
    await worker_group.publish(NUM_EVENTS)
    await worker_group.publish(7, first_feature=666.0)
    await worker_group.send([[b"no event"] * 3] * worker_group.partitions)
    assert await first.stop() == 0, first.log
    second = worker_group.start(mode="reject", audit=audit)
    await worker_group.publish(NUM_EVENTS)
    await worker_group.settled_by(second)

    options = configured(tmp_path, worker_group, audit)
    verified = await run(["audit", "verify", "--counts", "--json", *options])
    document = orjson.loads(verified)
    assert document["valid"], verified
    assert sum(chain["records"] for chain in document["chains"]) == 2 * NUM_EVENTS + 7 + 12
    assert len(document["counts"]) == 3 and all(count["actual"] is not None for count in document["counts"])

    shown = await run(["audit", "show", "--id", "1/000003", "--json", *options])
    (row,) = map(orjson.loads, shown.splitlines())
    assert (row["partition"], row["offset"], row["outcome"], row["model"]) == (1, 3, "predicted", "echo")
    assert len(row["input_sha256"]) == len(row["output_sha256"]) == 64
    refused = await run(["audit", "show", "--outcome", "not_json", "--json", *options])
    assert len(refused.splitlines()) == 12


async def run(arguments: list[str]) -> str:
    """Return what a command prints that must succeed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "forebay", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()

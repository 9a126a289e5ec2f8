"""A real worker with access rules: what is denied, and that outsiders do not stop it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import orjson

from forebay.schemas import headers as names
from forebay.stream.audit.block import decode_block
from forebay.stream.audit.filter import AuditFilter
from tests.access.issuer import key_set, sign
from tests.brokers.clients import create_topic, producer
from tests.conftest import on_embedded
from tests.worker.echo import NUM_FEATURES
from tests.worker.harness import WorkerGroup, kinds, total

YEAR_2100_S = 4_102_444_800


@on_embedded
async def test_events_without_permission_are_denied_and_do_not_stop_the_worker(
    worker_group: WorkerGroup, tmp_path: Path
) -> None:
    await worker_group.create()
    await create_topic(worker_group.bootstrap, worker_group.topic("audit"), worker_group.partitions)
    keys_file = tmp_path / "keys.json"
    keys_file.write_bytes(key_set())
    topic = worker_group.topic("features")
    ann, eve = (sign("EdDSA", sub=name, topics=[topic], exp=YEAR_2100_S) for name in ("team-a/ann", "eve"))

    async with producer(worker_group.bootstrap) as client:
        for number in range(300):
            token = (ann, eve, None)[number % 3]
            value = (
                b"junk"
                if number % 3 == 2
                else orjson.dumps({"id": f"{number}", "timestamp": 1, "features": [1.0] * NUM_FEATURES})
            )
            headers = [] if token is None else [(names.PRINCIPAL, token)]
            await client.send(topic, value, headers=headers, partition=number % 4)
        await client.flush()

    worker = worker_group.start(
        access={
            "enabled": True,
            "keys_file": str(keys_file),
            "issuer": "https://id",
            "audience": "fb",
            "rules": orjson.dumps({"team-a/*": ["*"]}).decode(),
        },
        audit={"enabled": True, "principals": "name"},
        limits={"max_dead_letter_ratio": 0.1, "dead_letter_window_events": 10},
    )
    await worker_group.settled()
    assert await worker.stop() == 0, worker.log
    assert len(await worker_group.outputs("predictions")) == 100
    letters = await worker_group.outputs("dead-letters")
    assert kinds(letters) == {"denied": 200}
    assert not any(
        eve in (value or b"") or b"eve" in (value or b"") for letter in letters for _, value in letter.headers
    )
    deltas = await worker_group.outputs("outcome-deltas")
    assert total(deltas, kind="denied") == 200 and total(deltas) == 300
    blocks = [decode_block(record.value) for record in await worker_group.outputs("audit")]
    rows = [row for block in blocks for row in AuditFilter().select(block)]
    assert Counter((row["outcome"], row["principal"], row["denial"]) for row in rows) == {
        ("predicted", "team-a/ann", None): 100,
        ("denied", "eve", "rule"): 100,
        ("denied", None, "no_token"): 100,
    }
    assert len({row["policy_revision"] for row in rows}) == 1
    assert "eve" not in worker.log.replace("level", "").replace("event", "").replace("never", "")

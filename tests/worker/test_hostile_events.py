"""Hostile events for a worker with encryption and privacy: each has one outcome, and the worker continues."""

from __future__ import annotations

from pathlib import Path

import orjson

from forebay.stream.encryption.keyring import format_keyring
from tests.brokers.clients import producer
from tests.conftest import on_embedded
from tests.encryption.build import KEYRING
from tests.worker.harness import WorkerGroup, total

JULY = 1_372_636_800_000
ADDRESS = b"a@b.cc "


def nested(depth: int) -> list[bytes]:
    """Return events nested this deep, with what is searched or decrypted at the bottom and beside it."""
    arrays = b"[" * depth + b'"anna@example.org"' + b"]" * depth
    objects = b'{"x":' * depth + b'"anna@example.org"' + b"}" * depth
    return [
        arrays,
        objects,
        *(b'{"id":"a\\n","features":{"secret":"eyJ....."},"x":' + value + b"}" for value in (arrays, objects)),
    ]


@on_embedded  # it refuses records that are too large, as Kafka does
async def test_no_event_ends_a_worker_or_blocks_its_partition(worker_group: WorkerGroup, tmp_path: Path) -> None:
    await worker_group.create(partitions=1)
    (tmp_path / "keys.json").write_bytes(format_keyring(KEYRING))
    features = [{"name": name} for name in ("first", "secret", "other")]
    worker = worker_group.start(
        models=[{"name": "echo", "features": features}],
        limits={"max_dead_letter_ratio": 1.0},
        encryption={
            "input_fields": ["features.secret"],
            "keys_file": str(tmp_path / "keys.json"),
            "on_plain": "accept",
        },
        privacy={"enabled": True, "dead_letters": "mask"},
    )
    await worker.ready()
    good = orjson.dumps({"id": "g", "timestamp": JULY, "features": {"first": 1.0, "secret": 2.0, "other": 3.0}})
    hostile = [event for depth in (64, 254, 255, 1_000, 1_024, 5_000) for event in nested(depth)]
    hostile += [b'{"a":"' + ADDRESS * 140_000 + b'"}', ADDRESS * 140_000]
    async with producer(worker_group.bootstrap) as client:
        for value in (*hostile, good):
            await client.send(worker_group.topic("features"), value, partition=0)
        headers = [("note", ADDRESS * 140_000)]
        await client.send(worker_group.topic("features"), good, headers=headers, partition=0)
        await client.flush()
    await worker_group.settled_by(worker)

    deltas = await worker_group.outputs("outcome-deltas")
    assert total(deltas, outcome="predicted") == 2
    assert total(deltas) == len(hostile) + 2
    for name in ("predictions", "dead-letters"):
        for record in await worker_group.outputs(name):
            text = repr((record.key, record.value, record.headers))
            assert "anna@example.org" not in text and "a@b.cc" not in text

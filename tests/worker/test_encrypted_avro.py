"""A worker decrypts fields in Avro that a rule of the schema encrypts."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import fastavro
import orjson
import pytest

from forebay.stream.encryption.keyring import format_keyring
from forebay.stream.schema_registry.framing import frame
from tests.brokers.resolve import Broker
from tests.encryption.build import KEYRING
from tests.encryption.confluent import PII, SECRET, add_schema, encrypted
from tests.registry.stub import StubRegistry, stub_registry
from tests.worker.echo import NUM_FEATURES, feature_hash
from tests.worker.harness import WorkerGroup, kinds

KEY = bytes(range(32))
SCHEMA = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "id", "type": "string", **PII},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "features", "type": {"type": "array", "items": "double"}},
    ],
}


@pytest.fixture
async def registry() -> AsyncIterator[StubRegistry]:
    async with stub_registry() as stub:
        yield stub


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices: events are decrypted behind the consumer."""
    return embedded_broker


async def test_ids_in_avro_are_decrypted(worker_group: WorkerGroup, registry: StubRegistry, tmp_path: Path) -> None:
    await worker_group.create(partitions=1)
    (tmp_path / "keys.json").write_bytes(format_keyring(KEYRING))
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    schema_id = add_schema(registry, KEY, schema=json.dumps(SCHEMA))

    def value(number: int, key: bytes) -> bytes:
        text = base64.b64encode(encrypted(key, f"event-{number}".encode())).decode()
        event = {"id": text, "timestamp": 1_790_000_000_000, "features": [float(number)] * NUM_FEATURES}
        payload = io.BytesIO()
        fastavro.schemaless_writer(payload, SCHEMA, event)
        return frame(schema_id, payload.getvalue())

    values = [value(number, KEY) for number in range(50)]
    foreign = value(50, bytes(32))
    worker = worker_group.start(
        schema_registry={"urls": [registry.url]},
        encryption={
            "local_kms_secret_file": str(tmp_path / "secret"),
            "keys_file": str(tmp_path / "keys.json"),
        },
    )
    await worker.ready()
    await worker_group.send([[*values, foreign]])
    await worker_group.settled_by(worker)
    predictions = [orjson.loads(record.value) for record in await worker_group.outputs("predictions")]
    hashes = {one["id"]: one["prediction"][0] for one in predictions}
    assert hashes == {f"event-{number}": feature_hash([float(number)] * NUM_FEATURES) for number in range(50)}
    letters = await worker_group.outputs("dead-letters")
    assert kinds(letters) == {"undecryptable": 1} and letters[0].value == foreign

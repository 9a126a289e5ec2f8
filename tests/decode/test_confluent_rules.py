"""Values whose fields confluent-kafka encrypts, with its library for rules in an environment of its own, are decrypted."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from forebay.stream.schema_registry.schema import RegisteredSchema
from tests.decode.test_encrypted_avro import decode, decoder, read
from tests.encryption.confluent import KEK, SCHEMA, SECRET, SUBJECT, event, rule, value
from tests.registry.stub import stub_registry

PACKAGE = "confluent-kafka[avro,schemaregistry,rules]"
WRITE = """
import base64, json, sys
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.rules.encryption.encrypt_executor import FieldEncryptionExecutor
from confluent_kafka.schema_registry.rules.encryption.localkms.local_driver import LocalKmsDriver
from confluent_kafka.serialization import MessageField, SerializationContext
asked = json.load(sys.stdin)
LocalKmsDriver.register()
FieldEncryptionExecutor.register()
client = SchemaRegistryClient({"url": asked["url"]})
options = {"auto.register.schemas": False, "use.latest.version": True}
serialise = AvroSerializer(client, conf=options, rule_conf={"secret": asked["secret"]})
context = SerializationContext("features", MessageField.VALUE)
values = []
for event in asked["events"]:
    event["photo"] = base64.b64decode(event["photo"])
    values.append(base64.b64encode(serialise(event, context)).decode())
print(json.dumps(values))
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter with the library, whose dependencies are large."""
    venv.create(tmp_path / "library", with_pip=False)
    program = tmp_path / "library" / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(program), "install", "--quiet", PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.long
@pytest.mark.timeout(2_400)
async def test_what_confluent_kafka_encrypts_is_decrypted(python: Path) -> None:
    events = [event(0), event(1, carrier=None), event(2, carrier="Ä" * 40, names={})]
    async with stub_registry() as stub:
        added = stub.add(SUBJECT, json.dumps(SCHEMA), ruleSet={"domainRules": [rule()]})
        sent = [one | {"photo": base64.b64encode(one["photo"]).decode()} for one in events]
        asked = json.dumps({"url": stub.url, "secret": SECRET.decode(), "events": sent})
        done = await asyncio.to_thread(
            subprocess.run, [python, "-c", WRITE], input=asked, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert (KEK, SUBJECT, "1") in stub.deks  # the serializer registered a data key
        schema = await read(stub, added.id)
    values = [base64.b64decode(text) for text in json.loads(done.stdout)]
    chunk = decode(decoder(schema), values)
    plain_schema = RegisteredSchema(schema.ref, "AVRO", schema.text)
    plain = decode(decoder(plain_schema), [value(added.id, one, None) for one in events])
    assert list(chunk.ids) == ["e-0", "e-1", "e-2"] and chunk.x_BF.tobytes() == plain.x_BF.tobytes()

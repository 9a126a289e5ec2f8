"""Events in Avro under Confluent's ENCRYPT rules: what is read, what is refused, and what leaves the worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.failures import FailureKind
from forebay.stream.config.input_section import InputSection
from forebay.stream.config.sections import SchemaRegistrySection
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.encrypted_avro import EncryptedAvro
from forebay.stream.decode.encrypted_input import EncryptedInput
from forebay.stream.decode.event_formats import event_formats
from forebay.stream.schema_registry.connection import open_registry
from forebay.stream.schema_registry.errors import SchemaInvalid, SchemaNotFound
from forebay.stream.schema_registry.field_keys import LocalKms, key_of_message
from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef
from forebay.stream.schema_registry.store import SchemaStore
from tests.core.build import EPOCH, P0, FakeRecord, columns_of
from tests.decode.test_encrypted_input import FixedKeys
from tests.encryption.confluent import KEK, SECRET, SUBJECT, add_schema, event, rule, value
from tests.registry.stub import StubRegistry, stub_registry

KEY = bytes(range(32))
SIGNATURE = Signature((Feature("age"), Feature("carrier", "hashed", buckets=1 << 20, nullable=True)), (2,), "binary", 1)


async def read(stub: StubRegistry, schema_id: int, *, secret: bytes | None = SECRET) -> RegisteredSchema:
    """Return a schema as a worker reads it."""
    kms = None if secret is None else LocalKms(secret)
    async with open_registry(SchemaRegistrySection(urls=(stub.url,)), kms=kms) as client:
        return await client.get(SchemaRef(id=schema_id))


async def schema_of(*rules: dict[str, Any], key: bytes = KEY, **more: Any) -> RegisteredSchema:
    async with stub_registry() as stub:
        return await read(stub, add_schema(stub, key, *rules, **more))


def decoder(schema: RegisteredSchema, *, decrypts: bool = True, topic: str = P0.topic) -> Decoder:
    store = SchemaStore()
    store.put(schema)
    formats = event_formats(InputSection(topics=(topic,)), prefix="", schemas=store, decrypts=decrypts)
    avro = EncryptedAvro(formats.choice, store, AESGCM)
    own = EncryptedInput([topic], (), FixedKeys(), id_field="id", accepts_plain=False, avro=avro)
    model = DecodedModel(ModelRef("m", 1), SIGNATURE)
    return Decoder([model], max_event_bytes=1 << 20, formats=formats, encrypted=own if decrypts else None)


def decode(of: Decoder, values: Sequence[bytes]) -> Chunk:
    records = [FakeRecord(offset, value, timestamp=5_000) for offset, value in enumerate(values)]
    (chunk,) = of.decode({P0: records}, EPOCH)
    (columns,) = of.decode({P0: columns_of(records)}, EPOCH)
    assert columns.x_BF.tobytes() == chunk.x_BF.tobytes() and columns.num_bytes == chunk.num_bytes
    assert chunk.num_records == len(values)
    return chunk


@pytest.mark.parametrize(("key", "parameters"), [(KEY, {}), (KEY[:16], {"encrypt.dek.algorithm": "AES128_GCM"})])
async def test_fields_are_decrypted_and_records_stay_as_they_came(key: bytes, parameters: dict[str, str]) -> None:
    schema = await schema_of(rule(params=parameters), key=key)
    assert not schema.rules and repr(key) not in repr(schema)
    events = [event(0), event(1, carrier=None), event(2, carrier="Ä" * 40, names={})]
    values = [value(schema.ref.id or 0, document, key) for document in events]
    chunk = decode(decoder(schema), values)
    plain_schema = RegisteredSchema(schema.ref, "AVRO", schema.text)
    plain = decode(decoder(plain_schema), [value(schema.ref.id or 0, document, None) for document in events])
    assert chunk.x_BF.tobytes() == plain.x_BF.tobytes() and list(chunk.ids) == ["e-0", "e-1", "e-2"] == list(plain.ids)
    assert [record.value for record in chunk.records] == values


async def test_what_cannot_be_decrypted_is_rejected_and_quotes_nothing() -> None:
    schema = await schema_of()
    number = schema.ref.id or 0
    good = value(number, event(0), KEY)
    values = [
        value(number, event(1, carrier="plain words"), None),
        value(number, event(2), bytes(32)),
        good[:-3],
        value(number, event(4, photo=b""), KEY).replace(b"e-4", b"e-5"),
    ]
    chunk = decode(decoder(schema), values)
    assert [rejection.kind for rejection in chunk.rejections] == [FailureKind.UNDECRYPTABLE] * 3
    messages = [rejection.message for rejection in chunk.rejections]
    assert [message.split(":")[0] for message in messages] == ["not encrypted", "damaged", "malformed"]
    assert "words" not in "".join(messages) and [one.record.value for one in chunk.rejections] == values[:3]
    # What is not tagged is not bound to anything: that is how these rules are defined.
    assert chunk.ids == ["e-5"]


async def test_a_field_of_another_schema_or_topic_is_not_read_as_text() -> None:
    schema = await schema_of()
    chunk = decode(decoder(schema, decrypts=False), [value(schema.ref.id or 0, event(0), KEY)])
    assert (
        chunk.rejections[0].kind is FailureKind.UNSUPPORTED_SCHEMA and "encrypted fields" in chunk.rejections[0].message
    )


async def test_only_rules_that_encrypt_are_executed() -> None:
    refused: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
        ([rule(type="CEL", kind="CONDITION")], {}),
        ([rule(), rule(type="JSONATA", name="other")], {}),
        ([rule(), rule(name="again")], {}),
        ([rule(type="ENCRYPT_PAYLOAD")], {}),
        ([rule(mode="WRITE")], {}),
        ([rule(tags=[])], {}),
        ([rule(params={"encrypt.kms.type": "aws-kms"})], {}),
        ([rule(params={"encrypt.dek.algorithm": "AES256_SIV"})], {}),
        ([rule(params={"encrypt.dek.expiry.days": "7"})], {}),
        ([rule(params={"encrypt.kek.name": ""})], {}),
        ([rule()], {"metadata": {"tags": {"Event.town": ["PII"]}}}),
    ]
    for rules, more in refused:
        schema = await schema_of(*rules, **more)
        assert schema.rules and not schema.field_keys, rules
        chunk = decode(decoder(schema), [value(schema.ref.id or 0, event(0), KEY)])
        assert chunk.rejections[0].kind is FailureKind.UNSUPPORTED_SCHEMA
    assert (await schema_of(rule(disabled=True))).field_keys == ()


async def test_schemas_are_refused_without_the_secret_or_by_guid() -> None:
    async with stub_registry() as stub:
        number = add_schema(stub, KEY)
        schema = await read(stub, number, secret=None)
        assert schema.rules == ("TRANSFORM encryptPII (ENCRYPT, in domainRules)",) and not schema.field_keys
        async with open_registry(SchemaRegistrySection(urls=(stub.url,)), kms=LocalKms(SECRET)) as client:
            by_guid = await client.get(SchemaRef(guid=stub.subjects[SUBJECT][0].guid))
        assert by_guid.rules and not by_guid.field_keys


async def test_keys_that_cannot_be_used_have_a_reason() -> None:
    async with stub_registry() as stub:
        number = add_schema(stub, KEY)
        with pytest.raises(SchemaInvalid, match="cannot be decrypted with the secret of local-kms") as caught:
            await read(stub, number, secret=b"another")
        assert "local_kms_secret_file" in (caught.value.remedy or "")
        stub.deks[KEK, SUBJECT, "1"]["encryptedKeyMaterial"] = "?"
        with pytest.raises(SchemaInvalid, match="cannot be decrypted"):
            await read(stub, number)
        stub.keks[KEK]["kmsType"] = "aws-kms"
        with pytest.raises(SchemaInvalid, match="is not one of local-kms"):
            await read(stub, number)
        stub.keks[KEK]["kmsType"] = "local-kms"
        stub.deks.clear()
        with pytest.raises(SchemaNotFound, match="no data key"):
            await read(stub, number)
        add_schema(stub, KEY[:5])
        with pytest.raises(SchemaInvalid, match="not a key of 256 bits"):
            await read(stub, number)


def test_the_message_of_a_key() -> None:
    assert key_of_message(b"\x1a\x02ab") == b"ab" == key_of_message(b"\x08\x00\x1a\x02ab")
    for message in (b"", b"\x1a", b"\x1a\x03ab", b"\x08\x01\x1a\x02ab", b"ab", b"\x1a\x02abc"):
        assert key_of_message(message) is None

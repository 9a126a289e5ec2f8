"""A registry with a schema whose fields a rule encrypts, and values as Confluent's serializers write them.

Written after the behaviour of confluent-kafka's `rules`: the data key is a message of Tink, encrypted by a key that HKDF
derives from the secret; texts are in Base64; the nonce precedes the encrypted text; there is no associated data.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Mapping
from typing import Any

import fastavro
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from forebay.stream.schema_registry.framing import frame
from tests.registry.stub import StubRegistry

SECRET = b"the secret of the producers"
SUBJECT = "features-value"
KEK = "our-kek"
PII = {"confluent:tags": ["PII"]}
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "age", "type": "double"},
        {"name": "carrier", "type": ["null", "string"], **PII},
        {"name": "photo", "type": "bytes", **PII},
        {"name": "names", "type": {"type": "map", "values": {"type": "array", "items": "string"}}, **PII},
        {"name": "town", "type": ["string", "null"], "confluent:tags": ["PUBLIC"]},
    ],
}


def rule(**changes: Any) -> dict[str, Any]:
    """Return a rule that encrypts fields with the tag PII."""
    parameters = {"encrypt.kek.name": KEK, "encrypt.kms.type": "local-kms", "encrypt.kms.key.id": "mine"}
    plain = {"name": "encryptPII", "kind": "TRANSFORM", "mode": "WRITEREAD", "type": "ENCRYPT", "tags": ["PII"]}
    return {**plain, "params": parameters | changes.pop("params", {}), **changes}


def add_schema(
    stub: StubRegistry, data_key: bytes, *rules: dict[str, Any], schema: str = json.dumps(SCHEMA), **more: Any
) -> int:
    """Register the schema with rules and its data key. Returns its id."""
    added = stub.add(SUBJECT, schema, ruleSet={"domainRules": [*(rules or (rule(),))]}, **more)
    stub.keks[KEK] = {"name": KEK, "kmsType": "local-kms", "kmsKeyId": "mine", "shared": False}
    wrapped = encrypted(
        HKDF(SHA256(), 16, salt=None, info=None).derive(SECRET), b"\x1a" + bytes([len(data_key)]) + data_key
    )
    stub.deks[KEK, SUBJECT, "1"] = {"subject": SUBJECT, "encryptedKeyMaterial": base64.b64encode(wrapped).decode()}
    return added.id


def encrypted(key: bytes, text: bytes) -> bytes:
    """Return the nonce and the encrypted text with its tag."""
    nonce = os.urandom(12)
    return nonce + AESGCM(key).encrypt(nonce, text, None)


def event(number: int, **changes: Any) -> dict[str, Any]:
    """Return a plain event."""
    names = {"a": ["x", "Ä"], "b": []}
    plain = {
        "id": f"e-{number}",
        "age": number + 0.5,
        "carrier": "AA",
        "photo": b"\x00\xff" * 99,
        "names": names,
        "town": "B",
    }
    return plain | changes


def value(schema_id: int, document: Mapping[str, Any], key: bytes | None) -> bytes:
    """Return the value of an event, with encrypted fields if there is a key."""

    def text(plain: str) -> str:
        return plain if key is None else base64.b64encode(encrypted(key, plain.encode())).decode()

    written = dict(document)
    if written["carrier"] is not None:
        written["carrier"] = text(written["carrier"])
    written["photo"] = written["photo"] if key is None else encrypted(key, written["photo"])
    written["names"] = {name: [text(item) for item in items] for name, items in written["names"].items()}
    payload = io.BytesIO()
    fastavro.schemaless_writer(payload, SCHEMA, written)
    return frame(schema_id, payload.getvalue())

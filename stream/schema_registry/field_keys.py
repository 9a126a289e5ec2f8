"""The keys of encrypted fields: Confluent's DEK registry, and its key management service `local-kms`.

A data key (DEK) belongs to a subject. The registry has it encrypted by another key (KEK), which `local-kms` derives from a
secret by HKDF with SHA-256 (RFC 5869), as 128 bits for AES-GCM. A decrypted data key is a message `AesGcmKey` of Google's Tink.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from forebay.stream.schema_registry.encrypt_rules import KEY_BYTES, LOCAL_KMS, EncryptRule
from forebay.stream.schema_registry.errors import SchemaInvalid, SchemaNotFound
from forebay.stream.schema_registry.http import RegistryHttp
from forebay.stream.schema_registry.schema import FieldKeys

MAX_SUBJECTS: Final = 100
NONCE_BYTES: Final = 12
_KEK_BYTES: Final = 16
_KEYS: Final = "dek-registry/v1/keks"


class LocalKms:
    """Decrypts data keys.

    secret: that of the producers' `local-kms`, without line breaks around it.
    """

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(HKDF(SHA256(), _KEK_BYTES, salt=None, info=None).derive(secret))

    async def field_keys(
        self, http: RegistryHttp, schema_id: int, rules: Sequence[EncryptRule], *, about: str
    ) -> tuple[FieldKeys, ...]:
        """Return the keys of each rule of a schema, by subject. Raises RegistryError.

        about: the schema, for messages.
        """
        versions = await http.request("GET", f"schemas/ids/{schema_id}/versions", subject=f"the subjects of {about}")
        subjects = _subjects(versions, about)
        return tuple([await self._keys_of(http, rule, subjects, about) for rule in rules])

    async def _keys_of(self, http: RegistryHttp, rule: EncryptRule, subjects: Sequence[str], about: str) -> FieldKeys:
        path = f"{_KEYS}/{quote(rule.kek, safe='')}"
        kek = await http.request("GET", f"{path}?deleted=true", subject=f"the KEK {rule.kek} of {about}")
        if not isinstance(kek, dict) or kek.get("kmsType") != LOCAL_KMS:
            raise SchemaInvalid(
                f"the KEK {rule.kek} of {about} is not one of {LOCAL_KMS}, the only key management service that is supported",
                remedy="read these events where another service decrypts them",
            )
        keys = {}
        for subject in subjects:
            about_key = f"the data key of the KEK {rule.kek} and the subject {subject}"
            query = f"algorithm={rule.algorithm}&deleted=true"
            try:
                answer = await http.request(
                    "GET", f"{path}/deks/{quote(subject, safe='')}/versions/1?{query}", subject=about_key
                )
            except SchemaNotFound:
                continue  # nothing was encrypted for this subject so far
            keys[subject] = self._data_key(answer, KEY_BYTES[rule.algorithm], about_key)
        if not keys:
            raise SchemaNotFound(
                f"the registry has no data key of the KEK {rule.kek} for {about}",
                remedy="the first producer that encrypts registers one",
            )
        return FieldKeys(rule.tags, keys)

    def _data_key(self, answer: Any, size: int, about: str) -> bytes:
        text = answer.get("encryptedKeyMaterial") if isinstance(answer, dict) else None
        try:
            encrypted = base64.b64decode(text or "", validate=True)
        except (binascii.Error, TypeError, ValueError):
            encrypted = b""
        try:
            message = self._cipher.decrypt(encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:], None)
        except (InvalidTag, ValueError):
            raise SchemaInvalid(
                f"{about} cannot be decrypted with the secret of {LOCAL_KMS}",
                remedy="check that the secret which encryption.local_kms_secret_file, _variable or _command names is that "
                "of the producers",
            ) from None
        key = key_of_message(message)
        if key is None or len(key) != size:
            raise SchemaInvalid(f"{about} is not a key of {8 * size} bits", remedy="register the data key again")
        return key


def _subjects(answer: Any, about: str) -> list[str]:
    found = {
        entry.get("subject") for entry in (answer if isinstance(answer, list) else ()) if isinstance(entry, Mapping)
    }
    subjects = sorted(subject for subject in found if isinstance(subject, str))
    if len(subjects) > MAX_SUBJECTS:
        raise SchemaInvalid(
            f"{about} belongs to {len(subjects)} subjects; at most {MAX_SUBJECTS} can have encrypted fields"
        )
    return subjects


def key_of_message(message: bytes) -> bytes | None:
    """Return the key in a message `AesGcmKey`, {1: version, 3: key}; None if it is not one."""
    if message[:2] == b"\x08\x00":  # the version, which is 0 and so usually left out
        message = message[2:]
    is_key = len(message) >= 2 and message[0] == 0x1A and message[1] == len(message) - 2
    return message[2:] if is_key else None

"""Confluent's rules for client-side encryption of fields: those that Forebay executes. Pure; accepts any JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

KEY_BYTES: Final = {"AES256_GCM": 32, "AES128_GCM": 16}
"""The size of a data key, by algorithm."""
LOCAL_KMS: Final = "local-kms"


@dataclass(frozen=True, slots=True)
class EncryptRule:
    """A rule that encrypts the strings and bytes of fields with a tag.

    label: the rule in words. tags: of the fields. kek: the name of the key that encrypts the data keys.
    """

    label: str
    tags: frozenset[str]
    kek: str
    algorithm: str


def read_encrypt_rule(rule: Mapping[str, Any], label: str) -> EncryptRule | None:
    """Return a rule of `domainRules` that can be executed; None if it is another one, or has parts that are not supported.

    Not supported are data keys that expire, deterministic encryption, and keys of a key management service.
    """
    tags, parameters = rule.get("tags"), rule.get("params")
    if (rule.get("type"), rule.get("kind"), rule.get("mode")) != ("ENCRYPT", "TRANSFORM", "WRITEREAD"):
        return None
    if not isinstance(tags, list) or not tags or not all(isinstance(tag, str) for tag in tags):
        return None
    if not isinstance(parameters, dict):
        return None
    kek = parameters.get("encrypt.kek.name")
    algorithm = parameters.get("encrypt.dek.algorithm", "AES256_GCM")
    if not isinstance(kek, str) or not kek or algorithm not in KEY_BYTES:
        return None
    if parameters.get("encrypt.kms.type", LOCAL_KMS) != LOCAL_KMS:
        return None
    if parameters.get("encrypt.dek.expiry.days", "0") not in ("0", 0):
        return None
    return EncryptRule(label, frozenset(tags), kek, algorithm)

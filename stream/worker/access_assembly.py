"""The assembly of access to models: reads the keys, and builds the policy from the settings."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from forebay.schemas.errors import ConfigError
from forebay.stream.access.policy import AccessPolicy, policy_revision
from forebay.stream.access.rules import Rules
from forebay.stream.config.access_section import AccessSection
from forebay.stream.decode.access_filter import AccessFilter

MAX_FILE_BYTES: Final = 1_048_576


def build_access(section: AccessSection) -> AccessFilter | None:
    """Return what denies events; None if no event needs a principal. Raises ConfigError if the keys cannot be used."""
    return AccessFilter(build_policy(section)) if section.enabled else None


def build_policy(section: AccessSection) -> AccessPolicy:
    """Return the policy of a section that is enabled. Raises ConfigError if the keys cannot be used."""
    try:
        from forebay.stream.access.jws import JwsVerifier, Requirements
        from forebay.stream.access.key_set import KeyProblem, read_key_set
    except ImportError:
        raise ConfigError(
            "access.enabled needs the package cryptography",
            kind="missing_extra",
            remedy="install it: pip install 'forebay[security]'",
        ) from None

    text = _read_keys(section.keys_file)
    try:
        keys = read_key_set(text)
    except KeyProblem as problem:
        raise ConfigError(
            f"access.keys_file, {section.keys_file}: {problem}",
            kind="access_keys",
            remedy="write a JWK set (RFC 7517) with the public keys of the issuer of tokens",
        ) from None
    requirements = Requirements(
        section.issuer or "",
        section.audience or "",
        section.algorithms,
        needs_topics=section.require_topics,
        skew_ms=section.clock_skew_ms,
        max_bytes=section.max_token_bytes,
    )
    decisive = section.model_dump(mode="json", exclude={"keys_file", "max_cached_tokens", "count_as_dead_letters"})
    revision = policy_revision({**decisive, "keys": hashlib.sha256(text).hexdigest()})
    verifier = JwsVerifier(keys, requirements, max_cached=section.max_cached_tokens)
    return AccessPolicy(verifier, Rules(section.rules), revision=revision)


def _read_keys(path: str | None) -> bytes:
    try:
        with Path(path or "").open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"access.keys_file, {path}, cannot be read: {error.strerror}",
            kind="access_keys",
            remedy="correct the path or the permissions of the file",
        ) from None
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(
            f"access.keys_file, {path}, is larger than {MAX_FILE_BYTES:,} bytes",
            kind="access_keys",
            remedy="name a JWK set",
        )
    return text

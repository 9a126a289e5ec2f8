"""The assembly of the policies of access from settings, keys and rules."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from forebay.schemas.errors import ConfigError
from forebay.stream.access.admin_policy import AdminPolicy
from forebay.stream.access.policies import Policies
from forebay.stream.access.policy import AccessPolicy, policy_revision
from forebay.stream.access.roles import RoleRules
from forebay.stream.access.rules import Rules
from forebay.stream.authorization.rules_file import rule_tables
from forebay.stream.authorization.sources import SourceTexts
from forebay.stream.config.access_section import AccessSection

if TYPE_CHECKING:
    from forebay.stream.access.jws import Requirements

_DECISIVE = (
    "enabled",
    "admin",
    "issuer",
    "audience",
    "admin_audience",
    "algorithms",
    "require_topics",
    "clock_skew_ms",
    "max_token_bytes",
)
"""The settings that decide besides keys, rules and roles."""


def build_policies(section: AccessSection, texts: SourceTexts) -> Policies:
    """Return the policies of a section that is used. Raises ConfigError if the keys or rules cannot be used."""
    try:
        from forebay.stream.access.jws import JwsVerifier
        from forebay.stream.access.key_set import KeyProblem, read_key_set
    except ImportError:
        raise ConfigError(
            "access needs the package cryptography",
            kind="missing_extra",
            remedy="install it: pip install 'forebay[security]'",
        ) from None

    try:
        keys = read_key_set(texts.keys, is_published=section.fetches_keys)
    except KeyProblem as problem:
        raise ConfigError(
            f"{keys_name(section)}: {problem}",
            kind="access_keys",
            remedy="write a JWK set (RFC 7517) with the public keys of the issuer of tokens",
        ) from None
    tables = rule_tables(section, texts.rules)
    rules = Rules(tables.rules)
    revision = policy_revision(
        {
            **section.model_dump(mode="json", include=set(_DECISIVE)),
            "rules": dict(tables.rules),
            "roles": dict(tables.roles),
            "keys": hashlib.sha256(texts.keys).hexdigest(),
        }
    )
    events = admin = None
    verifiers: list[JwsVerifier] = []
    if section.enabled:
        required = _requirements(section, section.audience, needs_topics=section.require_topics)
        verifiers.append(JwsVerifier(keys, required, max_cached=section.max_cached_tokens))
        events = AccessPolicy(verifiers[-1], rules, revision=revision)
    if section.admin:
        required = _requirements(section, section.admin_audience, needs_topics=False)
        verifiers.append(JwsVerifier(keys, required, max_cached=section.max_cached_tokens))
        admin = AdminPolicy(verifiers[-1], RoleRules(tables.roles), rules)
    return Policies(
        events,
        admin,
        revision,
        num_keys=len(keys),
        num_rules=len(tables.rules),
        num_unknown_keys=lambda: sum(verifier.num_unknown_keys for verifier in verifiers),
    )


def keys_name(section: AccessSection) -> str:
    """Return what the keys come from, for messages."""
    if section.keys_file is not None:
        return f"access.keys_file, {section.keys_file}"
    return "access.discover_keys" if section.keys_url is None else f"access.keys_url, {section.keys_url}"


def _requirements(section: AccessSection, audience: str | None, *, needs_topics: bool) -> Requirements:
    from forebay.stream.access.jws import Requirements

    return Requirements(
        section.issuer or "",
        audience or "",
        section.algorithms,
        needs_topics=needs_topics,
        skew_ms=section.clock_skew_ms,
        max_bytes=section.max_token_bytes,
    )

"""Rules for the audit."""

from __future__ import annotations

from collections.abc import Iterator

from forebay.stream.config.conflict import Conflict
from forebay.stream.config.sections import Settings


def audit_conflicts(settings: Settings) -> Iterator[Conflict]:
    """Yield every broken rule about the audit."""
    section = settings.audit
    if not section.enabled:
        return
    if settings.delivery.processing_guarantee != "exactly_once":
        yield Conflict(
            ("audit.enabled", "delivery.processing_guarantee"),
            'needs delivery.processing_guarantee = "exactly_once": otherwise blocks could be written twice',
        )
    if settings.access.enabled and section.principals == "hash" and section.principal_key_file is None:
        yield Conflict(
            ("audit.principal_key_file", "audit.principals", "access.enabled"),
            "is required to hash principals, which could be guessed without a key: make one with `openssl rand -hex 32`, "
            'or set audit.principals to "name" or "none"',
        )

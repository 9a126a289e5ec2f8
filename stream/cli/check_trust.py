"""The parts of `forebay check` for each section of trust: what it protects and what it does not."""

from __future__ import annotations

from collections.abc import Iterator

from forebay.stream.config.sections import Settings
from forebay.stream.preflight import Check


def check_trust(settings: Settings) -> Iterator[Check]:
    """Check each section of trust that is used."""
    # Each part imports what only it needs, such as the extra `security`.
    if settings.access.is_used:
        from forebay.stream.cli.check_access import check_access

        yield check_access(settings)
    from forebay.stream.cli.check_encryption import check_encryption

    source = settings.input
    mappings = [source.mappings.get(topic, source.mapping) for topic in source.topics]
    if (encryption := check_encryption(settings.encryption, mappings)) is not None:
        yield encryption
    if settings.privacy.enabled:
        from forebay.stream.cli.check_privacy import check_privacy

        yield check_privacy(settings)
    from forebay.stream.worker.audit_assembly import check_audit

    if (audit := check_audit(settings)) is not None:
        yield audit
    if settings.trust.signatures:
        from forebay.stream.cli.check_signatures import check_signatures

        yield from check_signatures(settings)

"""Rules for access to models."""

from __future__ import annotations

from collections.abc import Iterator

from forebay.stream.config.conflict import Conflict
from forebay.stream.config.sections import Settings


def access_conflicts(settings: Settings) -> Iterator[Conflict]:
    """Yield every broken rule about access to models."""
    section = settings.access
    if not section.enabled:
        return
    for name in ("keys_file", "issuer", "audience"):
        if not getattr(section, name):
            yield Conflict((f"access.{name}", "access.enabled"), "is required by access.enabled")

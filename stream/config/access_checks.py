"""Rules for access to models."""

from __future__ import annotations

from collections.abc import Iterator

from forebay.stream.config.conflict import Conflict
from forebay.stream.config.sections import Settings


def access_conflicts(settings: Settings) -> Iterator[Conflict]:
    """Yield every broken rule about access to models."""
    section = settings.access
    for switch, audience in (("enabled", "audience"), ("admin", "admin_audience")):
        if not getattr(section, switch):
            continue
        for name in ("keys_file", "issuer", audience):
            if not getattr(section, name):
                yield Conflict((f"access.{name}", f"access.{switch}"), f"is required by access.{switch}")
    if section.admin and section.admin_audience and section.admin_audience == section.audience:
        yield Conflict(
            ("access.admin_audience", "access.audience"),
            "must differ: the tokens of events must not open the admin API",
        )

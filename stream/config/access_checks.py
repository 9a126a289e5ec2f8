"""Rules for access to models."""

from __future__ import annotations

from collections.abc import Iterator

from forebay.stream.config.access_section import AccessSection, is_protected_url
from forebay.stream.config.conflict import Conflict
from forebay.stream.config.sections import Settings


def access_conflicts(settings: Settings) -> Iterator[Conflict]:
    """Yield every broken rule about access to models."""
    section = settings.access
    for switch, audience in (("enabled", "audience"), ("admin", "admin_audience")):
        if not getattr(section, switch):
            continue
        for name in ("issuer", audience):
            if not getattr(section, name):
                yield Conflict((f"access.{name}", f"access.{switch}"), f"is required by access.{switch}")
    yield from _keys_conflicts(section)
    if section.admin and section.admin_audience and section.admin_audience == section.audience:
        yield Conflict(
            ("access.admin_audience", "access.audience"),
            "must differ: the tokens of events must not open the admin API",
        )


def _keys_conflicts(section: AccessSection) -> Iterator[Conflict]:
    keys = ("access.keys_file", "access.keys_url", "access.discover_keys")
    num_sources = sum((section.keys_file is not None, section.keys_url is not None, section.discover_keys))
    if section.is_used and not num_sources:
        yield Conflict(
            keys, "is required by access.enabled and access.admin (or access.keys_url, or access.discover_keys)"
        )
    if num_sources > 1:
        yield Conflict(keys, "excludes access.keys_url and access.discover_keys: keys have one source")
    for name, url in (("keys_url", section.keys_url), ("issuer", section.issuer if section.discover_keys else None)):
        if url is not None and not is_protected_url(url):
            yield Conflict(
                (f"access.{name}", "access.discover_keys"),
                "must begin with https://, so that the keys cannot be replaced on the way",
            )

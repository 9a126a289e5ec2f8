"""Exposure of the admin API: which machines can reach it, and how it is protected. Pure."""

from __future__ import annotations

from typing import Final

from forebay.stream.admin.hosts import is_loopback
from forebay.stream.config.sections import AdminSection

EXPOSURE_REMEDY: Final = "set FOREBAY_ADMIN__TOKEN, or set admin.host to 127.0.0.1"


def exposure_of(section: AdminSection, *, has_roles: bool) -> str | None:
    """Return why the configured address is dangerous; None if it is not. has_roles: whether every request needs a role."""
    if not section.enabled or is_loopback(section.host) or section.token is not None or has_roles:
        return None
    return f"other machines can reach {section.host} and no token is set: every client there can pause the worker"


def describe_exposure(section: AdminSection, *, has_roles: bool) -> str:
    """Return a summary of the address and its protection."""
    if not section.enabled:
        return "off (admin.enabled)"
    reach = "this machine only" if is_loopback(section.host) else "other machines, too"
    token = "without a token" if section.token is None else "with a token"
    token = f"with roles and {token}" if has_roles else token
    return f"{section.host}:{section.port}, {reach}, {token}, {'HTTPS' if section.tls_cert_file else 'plain HTTP'}"

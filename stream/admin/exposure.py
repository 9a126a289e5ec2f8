"""Who may reach the admin HTTP, and what stands in their way. Pure."""

from __future__ import annotations

from typing import Final

from forebay.stream.admin.hosts import is_loopback
from forebay.stream.config.sections import AdminSection

EXPOSURE_REMEDY: Final = "set FOREBAY_ADMIN__TOKEN, or listen at 127.0.0.1 (admin.host)"


def exposure_of(section: AdminSection) -> str | None:
    """Return what is dangerous about where it listens; None if nothing is."""
    if not section.enabled or is_loopback(section.host) or section.token is not None:
        return None
    return (
        f"{section.host} is reached from other machines and there is no token: every client there can pause the worker"
    )


def describe_exposure(section: AdminSection) -> str:
    """Return where it listens and what protects it, for a list."""
    if not section.enabled:
        return "off (admin.enabled)"
    reach = "this machine only" if is_loopback(section.host) else "other machines, too"
    token = "without a token" if section.token is None else "with a token"
    return f"{section.host}:{section.port}, {reach}, {token}, {'HTTPS' if section.tls_cert_file else 'plain HTTP'}"

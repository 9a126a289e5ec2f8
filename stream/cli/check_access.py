"""`forebay check`: who may have events predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forebay.schemas.errors import ConfigError

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings
    from forebay.stream.preflight import Check


def check_access(settings: Settings) -> Check:
    """Check that the keys can be used, and say what the rules protect and what they do not. For access that is enabled."""
    from forebay.stream.core.quantities import quantity
    from forebay.stream.preflight import Check, Status
    from forebay.stream.worker.access_assembly import build_policy

    name, section = "access", settings.access
    try:
        policy = build_policy(section)
    except ConfigError as error:
        return Check(name, Status.FAILED, error.message, error.remedy)
    if not section.rules:
        return Check(name, Status.WARNING, "there are no rules: every event is denied", "add rules to [access.rules]")
    detail = (
        f"events need a token of {section.issuer}; {quantity(len(section.rules), 'rule')}, policy {policy.revision}. "
        "Not protected: the admin API, which has its own token"
    )
    if section.require_topics:
        return Check(name, Status.OK, detail)
    remedy = "set access.require_topics"
    return Check(name, Status.WARNING, f"{detail}; tokens without topics, which work on every topic", remedy)

"""`forebay check`: who may have events predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forebay.schemas.errors import ConfigError

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings
    from forebay.stream.preflight import Check


def check_access(settings: Settings) -> Check:
    """Check that keys and rules can be used, and say what they protect and what they do not. For access that is used."""
    from forebay.stream.authorization.policy_keeper import open_policies
    from forebay.stream.cli.interrupts import run_async
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.core.quantities import quantity
    from forebay.stream.preflight import Check, Status

    name, section = "access", settings.access
    try:
        keeper = run_async(open_policies(section, clock=SystemClock(), attempts=1))
    except ConfigError as error:
        return Check(name, Status.FAILED, error.message, error.remedy)
    assert keeper is not None
    policies = keeper.policies
    if not policies.num_rules:
        what = "every event" if section.enabled else "every prediction on request"
        return Check(name, Status.WARNING, f"there are no rules: {what} is denied", "add rules to [access.rules]")
    events = f"events need a token of {section.issuer}" if section.enabled else "events need no token (access.enabled)"
    api = "the admin API needs roles" if section.admin else "not protected: the admin API, which has its own token"
    detail = f"{events}; {quantity(policies.num_rules, 'rule')}, policy {policies.revision}; {api}"
    if section.require_topics or not section.enabled:
        return Check(name, Status.OK, detail)
    remedy = "set access.require_topics"
    return Check(name, Status.WARNING, f"{detail}; tokens without topics, which work on every topic", remedy)

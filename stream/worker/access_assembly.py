"""The assembly of access to models: the policies of a worker, and what applies them to events."""

from __future__ import annotations

from typing import NamedTuple

from forebay.stream.access.policy import AccessPolicy
from forebay.stream.access.policy_history import PolicyHistory
from forebay.stream.authorization.policy_keeper import PolicyKeeper, open_policies
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.decode.access_filter import AccessFilter


class AccessParts(NamedTuple):
    """What a worker has of access.

    keeper: None if nothing needs a token.
    filter: None if events need no token.
    history: which policy decided which events, for the audit; None if events need no token, or without the audit.
    """

    keeper: PolicyKeeper | None
    filter: AccessFilter | None
    history: PolicyHistory | None


async def open_access(settings: Settings, *, clock: Clock) -> AccessParts:
    """Read keys and rules, off the event loop, and build what applies them. Raises ConfigError if they cannot be used."""
    keeper = await open_policies(settings.access, clock=clock)
    if keeper is None or keeper.events() is None:
        return AccessParts(keeper, None, None)

    def current() -> AccessPolicy:
        policy = keeper.events()
        assert policy is not None  # whether there is one is a setting, which does not change
        return policy

    history = PolicyHistory(current) if settings.audit.enabled else None
    return AccessParts(keeper, AccessFilter(current, history=history), history)

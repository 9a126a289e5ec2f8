"""All policies that are in force at one time. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forebay.stream.access.admin_policy import AdminPolicy
from forebay.stream.access.policy import AccessPolicy


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of one state of keys, rules and roles. They are replaced together, never in part.

    events: None if events need no token.
    admin: None if the admin API needs no roles.
    revision: a digest of everything that decides.
    num_keys, num_rules: number of keys, and of principals with rules.
    num_unknown_keys: returns how many tokens have named a key that is not among them.
    """

    events: AccessPolicy | None
    admin: AdminPolicy | None
    revision: str
    num_keys: int
    num_rules: int
    num_unknown_keys: Callable[[], int]

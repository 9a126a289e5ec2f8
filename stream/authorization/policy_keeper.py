"""Keeps the policies of access current: reads their files again from time to time, and replaces the policies as a whole."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final

from forebay.schemas.errors import ConfigError
from forebay.stream.access.admin_policy import AdminPolicy
from forebay.stream.access.policies import Policies
from forebay.stream.access.policy import AccessPolicy
from forebay.stream.authorization.assembly import build_policies
from forebay.stream.authorization.sources import SourceTexts, read_sources
from forebay.stream.config.access_section import AccessSection
from forebay.stream.core.clock import Clock

log = logging.getLogger("forebay.access")

_S_PER_MS: Final = 0.001


@dataclass(slots=True)
class AccessStatus:
    """What is reported about the policies.

    revision: of the policies in force.
    since_ms: since when they are, by the clock of this process.
    num_changes: how often they were replaced.
    num_failures: how often keys or rules were found that cannot be used, counting each state of them once.
    error: why the newest keys or rules are not in force; None if they are.
    """

    revision: str
    since_ms: int
    num_changes: int = 0
    num_failures: int = 0
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the status as JSON."""
        return {
            "revision": self.revision,
            "since": self.since_ms,
            "changes": self.num_changes,
            "failures": self.num_failures,
            "error": self.error,
        }


class PolicyKeeper:
    """Holds the policies that are in force. Use it on one event loop; its users take what is current when they decide."""

    def __init__(self, section: AccessSection, texts: SourceTexts, *, clock: Clock) -> None:
        """texts: what the files contain now. Raises ConfigError if they cannot be used."""
        self._section = section
        self._texts = texts
        self._clock = clock
        self._policies = build_policies(section, texts)
        self.status = AccessStatus(self._policies.revision, clock.wall_ms())

    def events(self) -> AccessPolicy | None:
        """Return the policy for events; None if they need no token."""
        return self._policies.events

    def admin(self) -> AdminPolicy | None:
        """Return the policy for the admin API; None if it needs no roles."""
        return self._policies.admin

    async def run(self) -> None:
        """Look for changes until cancelled. Ends at once if `access.reload_interval_ms` is 0."""
        interval_s = self._section.reload_interval_ms * _S_PER_MS
        while interval_s:
            await asyncio.sleep(interval_s)
            await self.refresh()

    async def refresh(self) -> None:
        """Read the files, off the event loop, and replace the policies if they have changed and can be used."""
        try:
            texts = await asyncio.to_thread(read_sources, self._section)
            if texts == self._texts and self.status.error is None:
                return
            policies = await asyncio.to_thread(build_policies, self._section, texts)
        except ConfigError as error:
            self._on_error(error.message)
            return
        self._texts = texts
        self._replace(policies)

    def _on_error(self, message: str) -> None:
        status = self.status
        if message == status.error:
            return
        status.num_failures += 1
        status.error = message
        log.error("access: policy %s remains in force: %s", status.revision, message)

    def _replace(self, policies: Policies) -> None:
        status = self.status
        status.error = None
        if policies.revision == status.revision:
            log.info("access: keys and rules are as before, policy %s", status.revision)
            return
        log.info("access: policy %s replaces %s", policies.revision, status.revision)
        self._policies = policies
        status.revision = policies.revision
        status.since_ms = self._clock.wall_ms()
        status.num_changes += 1


async def open_policies(section: AccessSection, *, clock: Clock) -> PolicyKeeper | None:
    """Read keys and rules, off the event loop; None if nothing needs a token. Raises ConfigError."""
    if not section.is_used:
        return None
    return PolicyKeeper(section, await asyncio.to_thread(read_sources, section), clock=clock)

"""Keeps the policies of access current: reads files and fetches keys again, and replaces the policies as a whole."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final

from forebay.schemas.errors import ConfigError
from forebay.stream.access.admin_policy import AdminPolicy
from forebay.stream.access.policies import Policies
from forebay.stream.access.policy import AccessPolicy
from forebay.stream.authorization.assembly import build_policies, keys_name
from forebay.stream.authorization.key_fetcher import KeyFetcher, KeysUnavailable
from forebay.stream.authorization.sources import SourceTexts, read_sources
from forebay.stream.config.access_section import AccessSection
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.clock import Clock

log = logging.getLogger("forebay.access")

MIN_FETCH_INTERVAL_S: Final = 30.0
"""Tokens with unknown keys make the keys be fetched at most this often."""
MAX_ATTEMPTS: Final = 6
_BACKOFF: Final = Backoff(first_s=0.5, max_s=8.0)
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

    def __init__(
        self, section: AccessSection, texts: SourceTexts, *, clock: Clock, fetcher: KeyFetcher | None = None
    ) -> None:
        """texts: what is to be used now. fetcher: None if the keys are in a file. Raises ConfigError if they cannot be used."""
        self._section = section
        self._texts = texts
        self._clock = clock
        self._fetcher = fetcher
        self._fetched_s = clock.monotonic_s()
        self._fetched = texts.keys
        self._fetch_error: str | None = None
        self._num_unknown_keys = 0
        self.policies = build_policies(section, texts)
        self.status = AccessStatus(self.policies.revision, clock.wall_ms())

    def events(self) -> AccessPolicy | None:
        """Return the policy for events; None if they need no token."""
        return self.policies.events

    def admin(self) -> AdminPolicy | None:
        """Return the policy for the admin API; None if it needs no roles."""
        return self.policies.admin

    async def run(self) -> None:
        """Look for changes until cancelled. Ends at once if nothing is to be read again."""
        section = self._section
        intervals_ms = [section.reload_interval_ms, section.keys_refresh_ms if self._fetcher is not None else 0]
        interval_s = min(filter(None, intervals_ms), default=0) * _S_PER_MS
        while interval_s:
            await asyncio.sleep(interval_s)
            await self.refresh()

    async def refresh(self) -> None:
        """Read the files, off the event loop, fetch keys that are due, and replace the policies if something has changed."""
        if self._fetcher is not None and self._is_fetch_due():
            await self._fetch(self._fetcher)
        try:
            texts = await asyncio.to_thread(self._read)
            policies = None
            if texts != self._texts or self.status.error is not None:
                policies = await asyncio.to_thread(build_policies, self._section, texts)
        except ConfigError as error:
            self._on_error(error.message)
            return
        if policies is not None:
            self._texts = texts
            self._replace(policies)
        if self._fetch_error is not None:
            self._on_error(self._fetch_error)
        else:
            self.status.error = None

    def _read(self) -> SourceTexts:
        section = self._section
        fetched = None if self._fetcher is None else self._fetched
        if not section.reload_interval_ms:
            return SourceTexts(self._texts.keys if fetched is None else fetched, self._texts.rules)
        return read_sources(section, fetched)

    def _is_fetch_due(self) -> bool:
        """Return whether keys must be fetched: regularly, and soon after a token named a key that is not known."""
        for_s = self._clock.monotonic_s() - self._fetched_s
        return for_s >= self._section.keys_refresh_ms * _S_PER_MS or (
            for_s >= MIN_FETCH_INTERVAL_S and self.policies.num_unknown_keys() > self._num_unknown_keys
        )

    async def _fetch(self, fetcher: KeyFetcher) -> None:
        self._fetched_s, self._num_unknown_keys = self._clock.monotonic_s(), self.policies.num_unknown_keys()
        try:
            text = await fetcher.fetch()
            await asyncio.to_thread(build_policies, self._section, self._texts._replace(keys=text))
        except KeysUnavailable as error:
            self._fetch_error = f"{keys_name(self._section)}: {error}"
        except ConfigError as error:
            self._fetch_error = error.message
        else:
            self._fetched, self._fetch_error = text, None

    def _on_error(self, message: str) -> None:
        status = self.status
        if message == status.error:
            return
        status.num_failures += 1
        status.error = message
        log.error("access: policy %s remains in force: %s", status.revision, message)

    def _replace(self, policies: Policies) -> None:
        status = self.status
        if policies.revision == status.revision:
            if self._fetch_error is None:
                log.info("access: keys and rules are as before, policy %s", status.revision)
            return
        log.info("access: policy %s replaces %s", policies.revision, status.revision)
        self.policies, self._num_unknown_keys = policies, 0
        status.revision = policies.revision
        status.since_ms = self._clock.wall_ms()
        status.num_changes += 1


async def open_policies(section: AccessSection, *, clock: Clock, attempts: int = MAX_ATTEMPTS) -> PolicyKeeper | None:
    """Read keys and rules, off the event loop; None if nothing needs a token.

    attempts: how often to try to fetch keys.

    Raises ConfigError if they cannot be fetched, read or used.
    """
    if not section.is_used:
        return None
    fetcher = KeyFetcher(section) if section.fetches_keys else None
    fetched = None if fetcher is None else await _first_keys(fetcher, section, attempts)
    texts = await asyncio.to_thread(read_sources, section, fetched)
    return PolicyKeeper(section, texts, clock=clock, fetcher=fetcher)


async def _first_keys(fetcher: KeyFetcher, section: AccessSection, attempts: int) -> bytes:
    for attempt in range(1, attempts + 1):
        try:
            return await fetcher.fetch()
        except KeysUnavailable as error:
            message = f"{keys_name(section)}: {error}"
        if attempt < attempts:
            log.warning("access: %s; trying again", message)
            await asyncio.sleep(_BACKOFF.wait_s(attempt))
    raise ConfigError(message, kind="access_keys", remedy="check the URL, the certificate and the network")

"""The guard of the admin API of a process that predicts nothing itself, with its own policies."""

from __future__ import annotations

import asyncio
import logging

from forebay.stream.access.admin_policy import AdminPolicy
from forebay.stream.admin.guard import build_guard
from forebay.stream.authorization.policy_keeper import PolicyKeeper, open_policies
from forebay.stream.config.sections import Settings
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.clock import Clock

log = logging.getLogger("forebay.access")


class AdminAccess:
    """Keeps the policies current while the process runs. Call `start` before the first request."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        self._section = settings.access
        self._clock = clock
        self._keeper: PolicyKeeper | None = None
        self._task: asyncio.Task[None] | None = None
        self.guard = build_guard(settings.admin, clock=clock, policy=self._policy)

    async def start(self) -> None:
        """Read keys, rules and roles if the admin API needs them. Raises ConfigError."""
        if not self._section.admin:
            return
        self._keeper = await open_policies(self._section, clock=self._clock)
        assert self._keeper is not None
        self._task = asyncio.create_task(self._keeper.run(), name="access")
        self._task.add_done_callback(_log_failure)

    async def stop(self) -> None:
        """Stop looking for changes."""
        if self._task is not None:
            await cancel_until_done(self._task)

    def _policy(self) -> AdminPolicy | None:
        if self._keeper is None:
            assert not self._section.admin, "start was not called"
            return None
        return self._keeper.admin()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("access: keys and rules are not read again until the next start", exc_info=error)

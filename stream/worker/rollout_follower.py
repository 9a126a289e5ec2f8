"""Follow the topic `rollouts`, and keep the rollout of each model as it says.

The topic is read to its end before the worker joins its group, and about once a second from then on. A topic that cannot be
read, or written to, is tried again; the worker serves the revisions that it has applied meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from forebay.schemas.errors import BrokerError, ForebayError
from forebay.stream.core.retry import retry, warn_sparsely
from forebay.stream.rollouts.rollout_status import RolloutStatus
from forebay.stream.worker.model_rollout import ModelRollout
from forebay.stream.worker.rollout_ports import FollowedModel, FollowerParts

log = logging.getLogger("forebay.rollouts")

FOLLOW_S: Final = 1.0
"""How often the topic is read."""
_TEMPORARY: Final = frozenset({BrokerError.default_kind, "unreachable"})


class RolloutFollower:
    """Follows the rollouts of the models that a worker serves. Call `prepare`, then `run`, then `stop`."""

    def __init__(self, parts: FollowerParts, models: Sequence[FollowedModel]) -> None:
        self._store = parts.store
        self._tools = parts.tools
        self._applied = asyncio.Event()
        self._rollouts = {model.name: ModelRollout(parts, model, on_applied=self._applied.set) for model in models}
        self._waiting_for: list[Mapping[str, int]] = []
        self._failures = 0
        self._invalid = 0

    async def prepare(self) -> None:
        """Read the topic to its end and apply the current revisions. Retries while the cluster does not answer.

        A revision that cannot be applied is left to `run`, unless a revision that goes back is possible.

        Raises ForebayError if the topic is not complete, or has a record of a later release.
        """
        await retry(
            self._store.start,
            should_retry=lambda error, _failures: _is_temporary(error),
            wait_s=self._tools.backoff.wait_s,
            on_retry=warn_sparsely(log, "cannot read the topic of rollouts yet, trying again: %s"),
            sleep=self._tools.sleep,
        )
        self._warn_of_invalid_records()
        for rollout in self._rollouts.values():
            rollout.warn_if_configured_otherwise()
            while wait_s := await rollout.prepare():
                await self._tools.sleep(wait_s)
                await self._refresh()

    async def run(self) -> None:
        """Follow the topic until cancelled."""
        try:
            while True:
                await self._tools.sleep(FOLLOW_S)
                await self.follow()
        finally:
            for rollout in self._rollouts.values():
                await rollout.stop()

    async def follow(self) -> None:
        """Read what is new, and begin what follows from it."""
        await self._refresh()
        for rollout in self._rollouts.values():
            await rollout.follow()

    async def stop(self) -> None:
        """Close the clients."""
        with suppress(Exception):  # of the client; the worker ends anyway
            await self._store.stop()

    async def _refresh(self) -> None:
        try:
            accepted = await self._store.refresh()
        except Exception as error:  # whatever the client raises: the worker serves what it has applied
            self._failures += 1
            if self._failures in (1, 10, 100):
                log.warning("cannot read the topic of rollouts, trying again: %s", str(error) or "timed out")
            return
        if self._failures:
            log.info("the topic of rollouts can be read again")
        self._failures = 0
        self._warn_of_invalid_records()
        for revision in accepted:
            if revision.model in self._rollouts:
                self._tools.observer.on_accepted(revision)

    def _warn_of_invalid_records(self) -> None:
        """Log what was read since the last call and is not a revision, as one line however much it is."""
        invalid = self._store.log.invalid
        if (count := len(invalid) - self._invalid) > 0:
            log.warning(
                "ignored %d record%s without a revision in the topic of rollouts; the last one, at offset %d: %s",
                *(count, "" if count == 1 else "s"),
                *(invalid[-1].offset, invalid[-1].reason),
            )
        self._invalid = len(invalid)

    # ---- for the source, the status and the probes

    async def wait_for(self, required: Mapping[str, int]) -> None:
        """Return once the worker has applied these revisions, or later ones, of the models that it serves."""
        if not (missing := self._missing(required)):
            return
        log.info("a partition opens once the worker has applied %s", missing)
        with self._noted(required):
            while self._missing(required):
                self._applied.clear()
                await self._applied.wait()

    @contextmanager
    def _noted(self, required: Mapping[str, int]) -> Iterator[None]:
        self._waiting_for.append(required)
        try:
            yield
        finally:
            self._waiting_for.remove(required)

    def _missing(self, required: Mapping[str, int]) -> str:
        """Return which of the revisions are not applied, as text; empty if all are."""
        return ", ".join(
            f"revision {number} of {model} (it serves revision {self._rollouts[model].applied.number})"
            for model, number in sorted(required.items())
            if model in self._rollouts and self._rollouts[model].applied.number < number
        )

    def waiting_for(self) -> tuple[str, ...]:
        """Return what partitions wait for before they open; empty if none waits."""
        return tuple(missing for required in self._waiting_for if (missing := self._missing(required)))

    def status(self) -> list[RolloutStatus]:
        """Return the rollout of each model."""
        return [rollout.status() for rollout in self._rollouts.values()]


def _is_temporary(error: Exception) -> bool:
    """Return whether the topic may be readable later, without anything being repaired."""
    if isinstance(error, BrokerError):
        return error.kind in _TEMPORARY
    return not isinstance(error, ForebayError)

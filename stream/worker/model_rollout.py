"""The rollout of one model in a worker: load what its revisions name, switch, and go back if a version cannot serve.

A task loads the versions of the newest revision and then switches the pipeline to it, while the stream continues. If several
revisions are waiting, only the newest is applied.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from forebay.schemas.errors import ConfigError, DataError, ForebayError, ModelError
from forebay.stream.control.rollout_store import RolloutConflict
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.pipeline.served_revision import ServedRevision
from forebay.stream.rollouts.allocation import Allocation
from forebay.stream.rollouts.revision import Revision, initial_revision
from forebay.stream.rollouts.rollout_status import RolloutStatus
from forebay.stream.worker.going_back import Fault, going_back
from forebay.stream.worker.rollout_ports import FollowedModel, FollowerParts

log = logging.getLogger("forebay.rollouts")

MAX_DELAY_S: Final = 2.0
"""The longest random delay before a worker proposes to go back after a failed load, which all workers may see at once."""
PROPOSE_AGAIN_S: Final = 1.0
LOAD_AGAIN_S: Final = 60.0
"""When a failed load is tried again, if no other revision has replaced the one that needs it."""


@dataclass(slots=True)
class _Failure:
    """A version that could not be loaded. propose_at_s: infinity if there is nothing to go back to."""

    revision: int
    fault: Fault
    propose_at_s: float
    again_at_s: float


class ModelRollout:
    """Applies the revisions of one model. on_applied: called after each."""

    def __init__(self, parts: FollowerParts, followed: FollowedModel, *, on_applied: Callable[[], None]) -> None:
        self._name = followed.name
        self._followed = followed
        self._parts = parts
        self._versions = parts.versions
        self._on_applied = on_applied
        self._since_ms = parts.tools.clock.wall_ms()
        self._loading: int | None = None
        self._loading_for: int | None = None
        self._failure: _Failure | None = None
        self._error: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._unused_since_s: dict[int, float] = {}
        self.applied = initial_revision(followed.name, followed.version)

    @property
    def _current(self) -> Revision | None:
        return self._parts.store.log.current(self._name)

    @property
    def _is_behind(self) -> bool:
        return self._parts.store.log.number(self._name) > self.applied.number

    def _now_s(self) -> float:
        return self._parts.tools.clock.monotonic_s()

    def warn_if_configured_otherwise(self) -> None:
        """Log a warning if another version is configured than the current revision names."""
        configured, current = self._followed.configured, self._current
        if current is not None and configured not in (None, current.stable):
            log.warning(
                "version %d of %s is configured, but revision %d makes version %d stable: revisions override the "
                "configuration; configure version %d, or none",
                *(configured, self._name, current.number, current.stable, current.stable),
            )

    async def prepare(self) -> float:
        """Apply the current revision, or propose to go back from it.

        Return the seconds after which to call again, with what the topic says then; 0 if there is nothing more to do.
        """
        await self._propose_back()
        if self._failed_at_current is None:
            await self._advance()
        failure = self._failed_at_current
        if failure is None or failure.propose_at_s == math.inf:
            return 0.0
        return max(0.1, failure.propose_at_s - self._now_s())

    async def follow(self) -> None:
        """Begin what follows from the topic, from the outputs of canaries, and from the time."""
        self._begin_to_advance()
        await self._propose_back()
        await self._judge_canaries()
        before_s = self._now_s() - self._parts.settings.keep_previous_s
        for version, since_s in list(self._unused_since_s.items()):
            if since_s <= before_s:
                self._remove(version)

    async def stop(self) -> None:
        """End a load that is under way, without waiting for its thread."""
        if self._task is not None:
            await cancel_until_done(self._task)

    def status(self) -> RolloutStatus:
        return RolloutStatus(
            self.applied,
            accepted=max(self._parts.store.log.number(self._name), self.applied.number),
            since_ms=self._since_ms,
            loading=self._loading,
            error=self._error,
            resident=self._versions.resident(self._name),
            comparisons=self._parts.tools.comparisons(self._name),
        )

    # ---- applying

    @property
    def _failed_at_current(self) -> _Failure | None:
        """The failure of the current revision; None if it has not failed."""
        failure, current = self._failure, self._current
        return failure if failure and current and failure.revision == current.number else None

    def _begin_to_advance(self) -> None:
        """Begin to apply the newest revision, unless that is under way or has just failed."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()  # raises a bug, which ends the worker; whatever a version does is handled
        target = self._current
        if target is None or not self._is_behind:
            return
        if self._task is not None and not self._task.done():
            if not self._is_superseded_by(target):
                return
            self._task.cancel()
        failure = self._failed_at_current
        if failure is None or self._now_s() >= failure.again_at_s:
            self._task = asyncio.create_task(self._advance(), name=f"rollout-{self._name}")

    def _is_superseded_by(self, target: Revision) -> bool:
        """Return whether a newer revision does not need what is being loaded, or the load only waits for a repository."""
        loading = self._loading
        if loading is None or self._loading_for == target.number:
            return False
        return loading not in target.versions() or self._versions.is_waiting(ModelRef(self._name, loading))

    async def _advance(self) -> None:
        """Load what the newest revision names, and apply it. Never raises for a version that cannot be loaded."""
        while self._is_behind:
            target = self._current
            assert target is not None
            if self._followed.takes_windows:
                self._refuse_windows(target)
                return
            if not await self._load(target):
                return
            if target == self._current:  # else a newer one arrived during the load
                self._apply(target)

    async def _load(self, target: Revision) -> bool:
        """Load the versions of a revision that get events; return whether all are in memory."""
        for version in sorted(_in_service(target)):
            ref, digest = ModelRef(self._name, version), target.digests.get(version)
            try:
                if version in self._versions.resident(self._name):
                    await self._versions.require(ref, digest=digest)
                    continue
                self._loading, self._loading_for = version, target.number
                await self._load_version(ref, digest)
            except Exception as error:  # whatever a model raises while it is built
                self._on_load_failure(target, version, error)
                return False
            finally:
                self._loading = None
        return True

    async def _load_version(self, ref: ModelRef, digest: str | None) -> None:
        try:
            await self._add(ref, digest)
        except ModelError as error:
            if error.kind not in ("memory", "out_of_memory"):
                raise
            if not any([self._remove(version) for version in list(self._unused_since_s)]):
                raise
            log.info("%s does not fit into memory: loading it again without versions that no longer serve", ref)
            await self._add(ref, digest)

    async def _add(self, ref: ModelRef, digest: str | None) -> None:
        began_s = self._now_s()
        await self._versions.add(ref, digest=digest)
        self._parts.tools.observer.on_loaded(self._name, self._now_s() - began_s)

    def _apply(self, target: Revision) -> None:
        """Let the pipeline route by a revision whose versions are in memory."""
        before, self.applied = self.applied, target
        self._watch_outputs(before)
        self._parts.pipeline.switch(
            ServedRevision(
                self._name,
                target.number,
                stable=target.stable,
                allocation=Allocation.of(target),
                route_by=target.route_by,
            )
        )
        self._versions.set_stable(ModelRef(self._name, target.stable))
        now_s = self._now_s()
        self._unused_since_s = {
            version: self._unused_since_s.get(version, now_s)
            for version in self._versions.resident(self._name)
            if version not in _in_service(target)
        }
        self._since_ms = self._parts.tools.clock.wall_ms()
        self._failure = self._error = None
        log.info("%s", _describe(target, before))
        self._parts.tools.on_applied(target)
        self._on_applied()

    def _watch_outputs(self, before: Revision) -> None:
        """Count the outputs of the canaries that are not finite, from 0 for new ones."""
        old = {canary.version for canary in before.canaries}
        new = {canary.version for canary in self.applied.canaries}
        for version in new - old:
            self._parts.non_finite.watch(ModelRef(self._name, version))
        for version in old - new:
            self._parts.non_finite.forget(ModelRef(self._name, version))

    # ---- going back

    def _on_load_failure(self, target: Revision, version: int, error: Exception) -> None:
        if isinstance(error, ForebayError):
            kind, message, remedy = error.kind, error.message, error.remedy
        else:
            kind, message, remedy = "load", f"{type(error).__name__}: {error}", None
        self._error = f"revision {target.number}: version {version} cannot be loaded: {message}"
        log.error(
            "%s: revision %d is not applied, because version %d cannot be loaded: %s%s; revision %d keeps serving",
            *(self._name, target.number, version, message, f" ({remedy})" if remedy else "", self.applied.number),
        )
        reason = f"version {version} cannot be loaded: {message}"
        now_s, delay_s = self._now_s(), MAX_DELAY_S * self._parts.tools.random()
        self._failure = _Failure(
            target.number,
            Fault(version, reason, {"check": "load", "kind": kind, "error": message}),
            propose_at_s=now_s + delay_s,
            again_at_s=now_s + LOAD_AGAIN_S,
        )
        self._parts.tools.observer.on_load_failed(self._name)

    def _refuse_windows(self, target: Revision) -> None:
        if self._error is None:
            self._error = (
                f"revision {target.number}: the model takes windows over event time, and rollouts do not support such "
                "models: configure the version and restart the workers instead"
            )
            log.error("%s: %s", self._name, self._error)

    async def _propose_back(self) -> None:
        """Propose to go back from a revision that cannot be applied, once the random delay is over."""
        failure, current = self._failed_at_current, self._current
        if failure is None or current is None or self._now_s() < failure.propose_at_s:
            return
        possible = await self._propose(current, failure.fault)
        failure.propose_at_s = self._now_s() + PROPOSE_AGAIN_S if possible else math.inf

    async def _judge_canaries(self) -> None:
        """Propose to end a canary that cannot run, or has too many outputs that are not finite."""
        current = self._current
        if current is None:
            return
        for canary in current.canaries:
            ref = ModelRef(self._name, canary.version)
            fault = self._cannot_run(ref) or self._is_not_finite(ref)
            if fault is not None:
                log.error("%s: %s", self._name, fault.reason)
                await self._propose(current, fault)
                return

    def _cannot_run(self, ref: ModelRef) -> Fault | None:
        """Return the fault of a canary whose events nothing can predict, unless the stable version cannot run either."""
        stable = ModelRef(self._name, self.applied.stable)
        if not self._versions.cannot_run(ref) or self._versions.cannot_run(stable):
            return None
        reason = f"version {ref.version} fails on any input, and its circuit breaker is open"
        return Fault(ref.version, reason, {"check": "breaker"})

    def _is_not_finite(self, ref: ModelRef) -> Fault | None:
        limit = self._parts.settings.max_non_finite
        count, rows = self._parts.non_finite.not_finite(ref), self._parts.non_finite.rows(ref)
        if count <= limit:
            return None
        reason = (
            f"version {ref.version} gave NaN or infinite values for {count:,} of {rows:,} rows; "
            f"rollouts.max_non_finite allows {limit:,}"
        )
        return Fault(ref.version, reason, {"check": "non_finite", "non_finite": count, "rows": rows, "limit": limit})

    async def _propose(self, current: Revision, fault: Fault) -> bool:
        """Propose to go back. Return False if that is impossible."""
        tools = self._parts.tools
        try:
            proposed = going_back(
                current,
                fault,
                serving=self.applied.stable,
                worker=self._parts.settings.worker,
                new_id=tools.new_id(),
                now_ms=tools.clock.wall_ms(),
            )
            await self._parts.store.propose(proposed)
        except RolloutConflict as conflict:
            log.info("%s: another revision came first: %s", self._name, conflict.message)
        except (ConfigError, DataError) as error:
            log.error("%s: cannot go back from revision %d: %s", self._name, current.number, error.message)
            return False
        except Exception as error:  # whatever the client raises
            log.warning("cannot write to the topic of rollouts, trying again: %s", str(error) or "timed out")
        else:
            log.warning(
                "%s: proposed revision %d: %s, because version %d cannot serve",
                *(self._name, proposed.number, proposed.action.value, fault.version),
            )
        return True

    # ---- versions that have left service

    def _remove(self, version: int) -> bool:
        """Remove a version from memory; return False if it is needed again or something of it is in flight."""
        current = self._current
        if current is not None and version in _in_service(current):
            return False
        if not self._versions.remove(ModelRef(self._name, version)):
            return False
        del self._unused_since_s[version]
        log.info("removed version %d of %s from memory", version, self._name)
        return True


def _in_service(revision: Revision) -> frozenset[int]:
    """Return the versions that get events. Shadows are loaded elsewhere."""
    return frozenset({revision.stable, *(canary.version for canary in revision.canaries)})


def _describe(revision: Revision, before: Revision) -> str:
    canaries = "".join(f", version {canary.version} gets {canary.weight:g} %" for canary in revision.canaries)
    skipped = range(before.number + 1, revision.number)
    left_out = ""
    if len(skipped) == 1:
        left_out = f"; revision {skipped[0]} was skipped"
    elif skipped:
        left_out = f"; revisions {skipped[0]} to {skipped[-1]} were skipped"
    return (
        f"{revision.model}: applied revision {revision.number} ({revision.action.value} by {revision.author}): version "
        f"{revision.stable} is stable{canaries}{left_out}"
    )

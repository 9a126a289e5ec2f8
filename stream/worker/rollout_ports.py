"""What the follower of rollouts works with: the topic, the versions in memory, the pipeline, and its settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from forebay.stream.core.backoff import Backoff
from forebay.stream.core.clock import Clock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.retry import Sleep
from forebay.stream.pipeline.served_revision import ServedRevision
from forebay.stream.rollouts.revision import Revision
from forebay.stream.rollouts.revision_log import RevisionLog
from forebay.stream.rollouts.rollout_observer import NullRolloutObserver, RolloutObserver
from forebay.stream.worker.non_finite import NonFiniteCounter


class RevisionStore(Protocol):
    """The topic `rollouts` (see `control.rollout_store`)."""

    @property
    def log(self) -> RevisionLog: ...
    async def start(self) -> None: ...
    async def refresh(self) -> list[Revision]: ...
    async def propose(self, revision: Revision) -> None: ...
    async def stop(self) -> None: ...


class Versions(Protocol):
    """The versions in memory (see `worker.resident_versions`)."""

    def resident(self, model: str) -> tuple[int, ...]: ...
    def cannot_run(self, ref: ModelRef) -> bool: ...
    async def add(self, ref: ModelRef, *, digest: str | None) -> None: ...
    async def require(self, ref: ModelRef, *, digest: str | None) -> None: ...
    def is_waiting(self, ref: ModelRef) -> bool: ...
    def set_stable(self, ref: ModelRef) -> None: ...
    def remove(self, ref: ModelRef) -> bool: ...


class RevisionSwitch(Protocol):
    """The part of the pipeline that routes by revisions."""

    def switch(self, served: ServedRevision) -> None: ...


@dataclass(frozen=True, slots=True)
class FollowedModel:
    """A model that the worker serves.

    version: the version with which it started.
    configured: the version in the configuration; None for the highest in the repository.
    takes_windows: its rollouts are refused.
    """

    name: str
    version: int
    configured: int | None = None
    takes_windows: bool = False


@dataclass(frozen=True, slots=True)
class FollowerSettings:
    """The settings of a follower.

    worker: instance id of the worker.
    keep_previous_s: how long a version stays in memory after it has left service.
    max_non_finite: rows of a canary that may have no finite output.
    """

    worker: str
    keep_previous_s: float
    max_non_finite: int


@dataclass(frozen=True, slots=True)
class FollowerTools:
    """What a follower gets from outside.

    random: returns numbers in [0, 1).
    new_id: returns an unused id of a revision.
    observer: for metrics.
    on_applied: called with each revision that is applied.
    comparisons: returns what the comparisons of a model's shadows report, by version.
    """

    clock: Clock
    random: Callable[[], float]
    new_id: Callable[[], str]
    backoff: Backoff = field(default_factory=Backoff)
    sleep: Sleep = asyncio.sleep
    observer: RolloutObserver = field(default_factory=NullRolloutObserver)
    on_applied: Callable[[Revision], None] = lambda revision: None
    comparisons: Callable[[str], Mapping[int, Mapping[str, Any]]] = lambda model: {}


@dataclass(frozen=True, slots=True)
class FollowerParts:
    """The parts of the worker that a follower uses."""

    store: RevisionStore
    versions: Versions
    pipeline: RevisionSwitch
    non_finite: NonFiniteCounter
    settings: FollowerSettings
    tools: FollowerTools

"""Make a change of a rollout: check it, propose it, print it, and wait for the workers."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from forebay.schemas.errors import ConfigError, DataError, ModelError
from forebay.schemas.rollouts import MAX_SEED
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.models_rollout_cluster import RolloutCluster
from forebay.stream.cli.models_rollout_documents import revision_document
from forebay.stream.cli.models_rollout_options import ChangeOptions
from forebay.stream.cli.models_rollout_requests import Apply, promote_to, roll_back_to
from forebay.stream.cli.models_rollout_target import (
    Target,
    check_target,
    find_served_model,
    require_not_rejected,
    require_rollouts,
    resolve_number,
    split_target,
)
from forebay.stream.cli.models_rollout_wait import NO_WORKER, Progress
from forebay.stream.cli.output import echo, echo_json
from forebay.stream.core.clock import SystemClock
from forebay.stream.rollouts.changes import Proposal
from forebay.stream.rollouts.revision import Revision, decode_revision
from forebay.stream.terminal.console import print_whole, stderr_console

if TYPE_CHECKING:
    from forebay.stream.cli.models_rollout_workers import RolloutWorker
    from forebay.stream.config.sections import Settings

_UNREADABLE = frozenset(("unreadable", "repository", "repository_not_found"))
"""Kinds of errors with which a repository cannot be read now, as opposed to a version that is wrong or missing."""


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """A change that a command asks for.

    version: a number, an alias, or None for `default`.
    apply: returns the next revision.
    default: returns the version if none is given; None for a command that needs one, or takes none.
    takes_version: whether the change is about a version.
    ends: whether it only ends roles of the version, which need not exist in the repository.
    force: whether a rejected version may be used.
    """

    model: str
    version: int | str | None
    apply: Apply
    default: Callable[[Revision], int | None] | None = None
    takes_version: bool = True
    ends: bool = False
    force: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        version: str | None,
        apply: Apply,
        *,
        default: Callable[[Revision], int | None] | None = None,
        ends: bool = False,
        force: bool = False,
    ) -> Self:
        """Return the request of the arguments NAME [VERSION]. Raises ConfigError."""
        with _impossible_as_config_error():
            model, reference = split_target(name, version)
        if reference is None and default is None:
            raise ConfigError(
                f"the version of {model} is missing",
                kind="version_missing",
                remedy=f"give NAME VERSION or NAME@ALIAS; `forebay models list {model}` lists the versions",
            )
        return cls(model, reference, apply=apply, default=default, ends=ends, force=force)

    @classmethod
    def without_version(cls, name: str, apply: Apply) -> Self:
        """Return a request that is about no version. Raises ConfigError."""
        with _impossible_as_config_error():
            model, reference = split_target(name, None)
        if reference is not None:
            raise ConfigError(f"{name}: this command takes a model without a version", remedy=f"give {model}")
        return cls(model, None, apply=apply, takes_version=False)


@contextmanager
def _impossible_as_config_error() -> Iterator[None]:
    """Turn a ModelError from before the proposal into a ConfigError: status 2 says that nothing was written."""
    try:
        yield
    except ModelError as error:
        raise ConfigError(error.message, kind=error.kind, remedy=error.remedy) from error


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """A change that was checked. target: None if it uses no version of the repository. notes: for the user."""

    before: Revision
    after: Revision
    target: int | None
    workers: tuple[RolloutWorker, ...]
    notes: tuple[str, ...] = field(default_factory=tuple)


def make_change(settings: Settings, request: ChangeRequest, options: ChangeOptions) -> int:
    """Check, propose and print a change, and return the exit status. Raises ForebayError."""
    require_rollouts(settings)
    find_served_model(settings, request.model)
    return run_async(_make_change(settings, request, options))


async def _make_change(settings: Settings, request: ChangeRequest, options: ChangeOptions) -> int:
    async with RolloutCluster(settings, request.model, token_over_http=options.token_over_http) as cluster:
        with _impossible_as_config_error():
            planned = await _plan(settings, request, options, cluster)
        if planned.after.number == planned.before.number:
            return await _report_unchanged(planned, options, cluster)
        if options.dry_run:
            _print(planned, None, options)
            return 0
        await cluster.propose(planned.after)
        if not options.wait:
            _print(planned, None, options)
            return 0
        if not options.as_json:
            _print(planned, None, options)
        return _report(planned, await _wait(planned.after, planned.target, options, cluster), options)


async def _plan(
    settings: Settings, request: ChangeRequest, options: ChangeOptions, cluster: RolloutCluster
) -> PlannedChange:
    workers = await cluster.workers()
    await cluster.require_same_topic(workers)
    before = cluster.current(workers)
    notes: list[str] = []
    version: int | None = None
    digests: dict[int, str] = {}
    requested: Mapping[str, object] = {}
    if request.takes_version:
        named = request.version
        if named is None and request.default is not None:
            named = request.default(before)
        if request.ends:
            version = None if named is None else resolve_number(settings, request.model, named)
        else:
            target, note = checked_target(settings, request.model, named, before)
            notes += [note] if note else []
            version = target.version
            require_not_rejected(target, before.rejected, cluster.history(), force=request.force)
            digests[version] = target.sha256
            if isinstance(request.version, str):
                requested = {"requested": target.requested}
            if before.stable not in before.digests:
                # A rollback leaves it, so it need not be readable any more.
                with suppress(*((ModelError,) if request.apply is roll_back_to else ())):
                    digests[before.stable] = check_target(settings, request.model, before.stable).sha256
    clock = SystemClock()
    proposal = Proposal(
        id=uuid.uuid4().hex,
        author=options.author or _user_at_host(),
        automatic=False,
        reason=options.reason,
        created_ms=clock.wall_ms(),
        evidence=requested,
        digests=digests,
    )
    if _changes_nothing(request, before, version):
        after = before
    else:
        after = readable(request.apply(before, version, proposal, secrets.randbelow(MAX_SEED + 1)))
    takes_steps = after.steps is not None and not after.paused and after is not before
    if takes_steps and not await cluster.has_aggregator():
        notes.append(
            f"no aggregator is running (group {cluster.aggregator_group}): the steps are not taken until one is; "
            "`forebay aggregate` runs one"
        )
    return PlannedChange(before, after, version, workers=workers, notes=tuple(notes))


def readable(revision: Revision) -> Revision:
    """Return a revision that readers accept. Raises ConfigError for one that they would ignore, before it is written."""
    try:
        return decode_revision(*revision.encode())
    except DataError as error:
        raise ConfigError(f"this change is not valid: {error.message}", remedy=error.remedy) from error


def _changes_nothing(request: ChangeRequest, before: Revision, version: int | None) -> bool:
    """Return whether a promotion or rollback asks for the state that is in force: a command that was repeated."""
    wanted = request.apply in (promote_to, roll_back_to) and version == before.stable
    return wanted and not before.canaries and not before.shadows


def checked_target(
    settings: Settings, model: str, version: int | str | None, before: Revision
) -> tuple[Target, str | None]:
    """Return the version with its digest, and a note if only the rollout knows the digest.

    Raises ConfigError or ModelError, also if the repository and the current revision have different digests.
    """
    try:
        target = check_target(settings, model, version)
    except ModelError as error:
        if error.kind in _UNREADABLE and isinstance(version, int) and version in before.digests:
            digest = before.digests[version]
            note = f"{error.message}; the digest that revision {before.number} states is used"
            return Target(model, version, sha256=digest, requested=str(version)), note
        raise
    pinned = before.digests.get(target.version, target.sha256)
    if pinned != target.sha256:
        raise ModelError(
            f"{model}@{target.version}: its manifest has the digest {target.sha256}, and revision {before.number} states "
            f"{pinned}: the version was changed after it was published",
            kind="digest",
            remedy="register the changed model as a new version",
        )
    return target, None


async def _report_unchanged(planned: PlannedChange, options: ChangeOptions, cluster: RolloutCluster) -> int:
    before = planned.before
    if not options.as_json:
        echo(f"{before.model}: version {before.stable} already predicts everything; nothing was changed")
    if not options.wait or options.dry_run:
        if options.as_json:
            _print(planned, None, options)
        return 0
    return _report(planned, await _wait(before, before.stable, options, cluster), options)


async def _wait(revision: Revision, version: int | None, options: ChangeOptions, cluster: RolloutCluster) -> Progress:
    """Wait for the workers, and show on a terminal how many have applied the revision."""
    from forebay.stream.cli.models_rollout_render import progress_line

    console = stderr_console()
    if options.as_json or not console.is_terminal:
        return await cluster.wait(revision, version, timeout_s=options.timeout_s)
    with console.status("asking the workers") as status:

        def show(progress: Progress) -> None:
            status.update(progress_line(progress.num_applied, progress.num_workers, progress.number))

        return await cluster.wait(revision, version, timeout_s=options.timeout_s, on_progress=show)


def _report(planned: PlannedChange, progress: Progress, options: ChangeOptions) -> int:
    from forebay.stream.cli.models_rollout_render import progress_line, waiting_text
    from forebay.stream.terminal.console import visible

    if options.as_json:
        _print(planned, progress, options)
        return 0 if progress.applied else 1
    line = progress_line(progress.num_applied, progress.num_workers, progress.number)
    if progress.applied:
        echo(line)
        return 0
    if progress.replaced_by is not None:
        by = progress.replaced_by
        echo(
            visible(
                f"error: revision {progress.number} was taken back by revision {by.number} ({by.action} by {by.author}): "
                f"{by.reason or 'no reason given'}"
            ),
            err=True,
        )
    elif not progress.num_workers:
        echo(f"error: {NO_WORKER}", err=True)
    else:
        echo(f"error: after {options.timeout_s:g} s, {line}", err=True)
        stderr_console().print(waiting_text(progress.waiting))
    return 1


def _print(planned: PlannedChange, progress: Progress | None, options: ChangeOptions) -> None:
    if options.as_json:
        echo_json(
            {
                "model": planned.after.model,
                "changed": planned.after is not planned.before and not options.dry_run,
                "dry_run": options.dry_run,
                "before": revision_document(planned.before),
                "after": revision_document(planned.after),
                "notes": list(planned.notes),
                "workers": [
                    worker.to_dict() | {"to_load": worker.to_load(planned.after.versions())}
                    for worker in planned.workers
                ],
                "wait": None if progress is None else progress.to_dict(),
            }
        )
        return
    from forebay.stream.cli.models_rollout_render import change_text, loads_text

    print_whole(change_text(planned.before, planned.after, dry_run=options.dry_run))
    if options.dry_run:
        print_whole(loads_text(planned.workers, planned.after))
    for note in planned.notes:
        echo(f"note: {note}", err=True)
    if not options.dry_run and not options.wait:
        echo(f"next: forebay models rollout {planned.after.model} --watch")


def _user_at_host() -> str:
    import socket

    from forebay.models.registration.user_name import user_name

    return f"{user_name()}@{socket.gethostname()}"

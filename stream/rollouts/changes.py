"""The changes of a rollout: each takes the current revision and returns the next one, or says why it is not possible.

A canary takes its slots only from the stable version and returns them only to it, so that no key moves between canaries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from typing import Any, Final

from forebay.schemas.errors import ConfigError
from forebay.schemas.rollouts import MAX_AUTHOR_CHARS, MAX_REASON_CHARS
from forebay.stream.rollouts.revision import SLOTS, Action, Canary, Revision, Shadow, StepPolicy

REJECTED: Final = "rejected_version"
"""The kind of the ConfigError for an automatic use of a version that was rolled back."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Who proposes a revision, and why.

    id: a new random id.
    automatic: whether Forebay proposes it without a person.
    created_ms: milliseconds since the Unix epoch.
    digests: manifest digests of the versions that the change starts to use. Digests that the current revision names stay.
    """

    id: str
    author: str
    automatic: bool
    reason: str
    created_ms: int
    evidence: Mapping[str, object] = field(default_factory=dict)
    digests: Mapping[int, str] = field(default_factory=dict)


def promote(current: Revision, version: int, proposal: Proposal) -> Revision:
    """Make a version the stable one. Other canaries keep their slots."""
    _require_version(version)
    if version == current.stable:
        raise _impossible(
            current,
            f"version {version} already is the stable version",
            "to end its canaries or shadows, use `abort`" if current.canaries or current.shadows else None,
        )
    return _next(
        current,
        Action.PROMOTE,
        proposal,
        uses=(version,),
        stable=version,
        previous=current.stable,
        canaries=_without(current.canaries, version),
        shadows=_without(current.shadows, version),
        **_NO_STEPS,
    )


def start_canary(
    current: Revision,
    version: int,
    weight: float,
    *,
    steps: StepPolicy | None,
    seed: int,
    route_by: str | None,
    proposal: Proposal,
) -> Revision:
    """Let a version predict a share of the keys, or change the share of a canary.

    weight: percent.
    steps: how it continues without further commands; None: it stays at the weight.
    seed, route_by: how keys are hashed if there is no canary yet; as long as there is one, the current values stay.
    """
    _require_version(version)
    if version == current.stable:
        raise _impossible(current, f"version {version} is the stable version and cannot be its own canary")
    if current.canaries and route_by is not None and route_by != current.route_by:
        raise _impossible(
            current,
            f"its canaries are routed by {_key_name(current.route_by)}, and {_key_name(route_by)} would move their keys",
            "end them with `abort` first, or leave the routing key out",
        )
    others = _without(current.canaries, version)
    if (steps is not None or current.steps is not None) and others:
        raise _impossible(
            current,
            f"version {others[0].version} is a canary too, and steps need exactly one canary",
            "promote or abort it first"
            if current.steps
            else "give a weight without steps, or promote or abort it first",
        )
    step_policy = None if steps is None else _steps_from(current, weight, steps)
    return _next(
        current,
        Action.CANARY,
        proposal,
        uses=(version,),
        canaries=_resized(current, version, weight),
        shadows=_without(current.shadows, version),
        seed=current.seed if current.canaries else seed,
        route_by=current.route_by if current.canaries else route_by,
        steps=step_policy,
        step=0,
        paused=False,
    )


def step(current: Revision, proposal: Proposal) -> Revision:
    """Take the canary to its next weight, or promote it after the last one."""
    if current.steps is None:
        raise _impossible(current, "its rollout has no steps", "start a canary with steps")
    if current.paused and proposal.automatic:
        raise _impossible(current, "its rollout is paused", "use `resume`")
    (canary,) = current.canaries
    following = current.step + 1
    if following == len(current.steps.weights):
        return promote(current, canary.version, proposal)
    return _next(
        current,
        Action.STEP,
        proposal,
        uses=(canary.version,),
        canaries=_resized(current, canary.version, current.steps.weights[following]),
        step=following,
    )


def start_shadow(current: Revision, version: int, sample: float, proposal: Proposal) -> Revision:
    """Let a version predict a share of the events without any effect, or change that share.

    sample: greater than 0 and at most 1.
    """
    _require_version(version)
    if not 0 < sample <= 1:
        raise ConfigError(
            f"{sample:g} is not a share of the events",
            remedy="give a number greater than 0 and at most 1, such as 0.1 for every tenth event",
        )
    if version in (current.stable, *(canary.version for canary in current.canaries)):
        raise _impossible(current, f"version {version} already predicts events, so it cannot be a shadow")
    shadows = (*_without(current.shadows, version), Shadow(version, sample))
    return _next(current, Action.SHADOW, proposal, uses=(version,), shadows=shadows)


def rollback(current: Revision, version: int | None, proposal: Proposal) -> Revision:
    """Let one version predict everything, and reject the other versions that did. Canaries and shadows end.

    version: None for the version that was stable before.
    """
    target = current.previous if version is None else version
    if target is None:
        raise _impossible(current, "no earlier version is known", "name the version to return to")
    _require_version(target)
    if target == current.stable and not (current.canaries or current.shadows):
        raise _impossible(current, f"version {target} already predicts everything")
    left = {current.stable, *(canary.version for canary in current.canaries)} - {target}
    return _next(
        current,
        Action.ROLLBACK,
        proposal,
        uses=(target,),
        rejects=left,
        stable=target,
        previous=current.previous if target == current.stable else None,
        canaries=(),
        shadows=(),
        **_NO_STEPS,
    )


def pause(current: Revision, proposal: Proposal) -> Revision:
    """Stop automatic steps. Canaries keep their keys, and are still rolled back if they fail."""
    if current.steps is None:
        raise _impossible(current, "its rollout has no steps that could be paused")
    if current.paused:
        raise _impossible(current, "its rollout already is paused")
    return _next(current, Action.PAUSE, proposal, paused=True)


def resume(current: Revision, proposal: Proposal) -> Revision:
    """Continue automatic steps."""
    if not current.paused:
        raise _impossible(current, "its rollout is not paused")
    return _next(current, Action.RESUME, proposal, paused=False)


def abort(current: Revision, proposal: Proposal, version: int | None = None) -> Revision:
    """End canaries and shadows: the stable version predicts everything again.

    Canaries are rejected, and shadows too if the proposal is automatic.

    version: end only this one.
    """
    canaries = [canary.version for canary in current.canaries if version in (None, canary.version)]
    shadows = [shadow.version for shadow in current.shadows if version in (None, shadow.version)]
    if not canaries and not shadows:
        what = "it has no canary and no shadow" if version is None else f"version {version} is not a canary or shadow"
        raise _impossible(current, what, "`rollback` returns to an earlier stable version")
    fields: Mapping[str, Any] = _NO_STEPS if canaries else {}
    return _next(
        current,
        Action.ABORT,
        proposal,
        rejects={*canaries, *(shadows if proposal.automatic else ())},
        canaries=tuple(canary for canary in current.canaries if canary.version not in canaries),
        shadows=tuple(shadow for shadow in current.shadows if shadow.version not in shadows),
        **fields,
    )


_NO_STEPS: Final[Mapping[str, Any]] = {"steps": None, "step": 0, "paused": False}


def _next(
    current: Revision,
    action: Action,
    proposal: Proposal,
    *,
    uses: Iterable[int] = (),
    rejects: Iterable[int] = (),
    **fields: Any,
) -> Revision:
    """Return the successor of the current revision.

    uses: versions that the change puts into service; a person's use ends their rejection.
    rejects: versions that the change takes out of service because they are bad.
    """
    uses = tuple(uses)
    if proposal.automatic and (refused := sorted(set(uses) & set(current.rejected))):
        raise _impossible(
            current,
            f"version {refused[0]} was rolled back, and only a person may use it again",
            f"`forebay models promote` or `canary` with version {refused[0]} allows it",
            kind=REJECTED,
        )
    changed = replace(
        current,
        number=current.number + 1,
        based_on=current.number,
        id=proposal.id,
        action=action,
        rejected=tuple(sorted((set(current.rejected) | set(rejects)) - set(uses))),
        author=_clean(proposal.author, MAX_AUTHOR_CHARS),
        automatic=proposal.automatic,
        reason=_clean(proposal.reason, MAX_REASON_CHARS),
        evidence=dict(proposal.evidence),
        created_ms=proposal.created_ms,
        **fields,
    )
    digests = {**proposal.digests, **current.digests}
    needed = changed.versions() | ({changed.previous} if changed.previous is not None else set())
    return replace(changed, digests={version: digests[version] for version in sorted(needed) if version in digests})


def _clean(text: str, max_chars: int) -> str:
    """Return text that UTF-8 can encode, at most that long."""
    return text.encode("utf-8", "replace").decode()[:max_chars]


def _without(roles: tuple[Any, ...], version: int) -> tuple[Any, ...]:
    return tuple(role for role in roles if role.version != version)


def _steps_from(current: Revision, weight: float, steps: StepPolicy) -> StepPolicy:
    """Return the steps with the weight as the first."""
    weights = steps.weights if steps.weights and steps.weights[0] == weight else (weight, *steps.weights)
    if any(left >= right for left, right in pairwise(weights)) or weights[-1] > 100:
        raise _impossible(
            current,
            f"the steps {', '.join(f'{step:g}' for step in weights)} % are not ascending weights up to 100",
            "give weights such as 5,25,50,100 that start with the weight of the canary",
        )
    return replace(steps, weights=weights)


def _resized(current: Revision, version: int, weight: float) -> tuple[Canary, ...]:
    """Return the canaries with this one at the weight. It takes free slots, the lowest first, and returns its highest."""
    wanted = round(weight * SLOTS / 100) if 0 < weight <= 100 else 0
    if wanted == 0:
        raise ConfigError(
            f"a weight of {weight:g} % is not possible",
            remedy="give a percentage from 0.01 to 100; `abort` ends a canary",
        )
    own = [slot for canary in current.canaries if canary.version == version for slot in _slots_of(canary)]
    others = {slot for canary in _without(current.canaries, version) for slot in _slots_of(canary)}
    taken = others.union(own)
    free = SLOTS - len(others)
    if wanted > free:
        raise _impossible(
            current,
            f"{weight:g} % for version {version} exceed the {free * 100 / SLOTS:g} % that other canaries leave",
            "give a smaller weight, or abort another canary",
        )
    if wanted <= len(own):
        slots = own[:wanted]
    else:
        unused = (slot for slot in range(SLOTS) if slot not in taken)
        slots = sorted([*own, *islice(unused, wanted - len(own))])
    resized = Canary(version, _ranges(slots))
    if version not in (canary.version for canary in current.canaries):
        return (*current.canaries, resized)
    return tuple(resized if canary.version == version else canary for canary in current.canaries)


def _slots_of(canary: Canary) -> list[int]:
    return [slot for start, end in canary.slots for slot in range(start, end)]


def _ranges(slots: list[int]) -> tuple[tuple[int, int], ...]:
    """Return ascending slots as ranges [start, end)."""
    ranges: list[tuple[int, int]] = []
    for slot in slots:
        if ranges and ranges[-1][1] == slot:
            ranges[-1] = (ranges[-1][0], slot + 1)
        else:
            ranges.append((slot, slot + 1))
    return tuple(ranges)


def _key_name(route_by: str | None) -> str:
    return "the record key" if route_by is None else f"the field {route_by!r}"


def _require_version(version: int) -> None:
    if version < 1:
        raise ConfigError(f"{version} is not a version", remedy="versions are whole numbers from 1")


def _impossible(current: Revision, why: str, remedy: str | None = None, *, kind: str = "rollout") -> ConfigError:
    return ConfigError(f"model {current.model!r}: {why} (revision {current.number})", kind=kind, remedy=remedy)

"""The changes of the rollout's commands, as functions of the current revision. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import click

from forebay.schemas.errors import ConfigError
from forebay.stream.config.moment import parse_duration
from forebay.stream.rollouts import changes
from forebay.stream.rollouts.changes import Proposal
from forebay.stream.rollouts.revision import Revision, StepPolicy

MAX_FIELD_CHARS: Final = 256

Apply = Callable[[Revision, int | None, Proposal, int], Revision]
"""Returns the next revision, from the current one, the version, the proposal, and a random seed for the keys' hash."""


def promote_to(current: Revision, version: int | None, proposal: Proposal, seed: int) -> Revision:
    """Make the version the stable one."""
    return changes.promote(current, _required(version), proposal)


def only_canary(current: Revision) -> int:
    """Return the version of the only canary. Raises ConfigError if there is not exactly one."""
    if len(current.canaries) == 1:
        return current.canaries[0].version
    found = ", ".join(str(canary.version) for canary in current.canaries)
    raise ConfigError(
        f"{current.model} has {f'several canaries: {found}' if found else 'no canary'}, so the version must be named",
        kind="version_missing",
        remedy=f"give the version: `forebay models promote {current.model} VERSION`",
    )


def roll_back_to(current: Revision, version: int | None, proposal: Proposal, seed: int) -> Revision:
    """Go back to the version."""
    return changes.rollback(current, version, proposal)


def previous_version(current: Revision) -> int:
    """Return the version to go back to: the stable one if there are canaries, else the one that was stable before.

    Raises ConfigError if there is not one.
    """
    if current.canaries:
        return current.stable
    if current.previous is not None:
        return current.previous
    raise ConfigError(
        f"no version of {current.model} was stable before version {current.stable}",
        kind="version_missing",
        remedy=f"name the version: `forebay models rollback {current.model} VERSION`",
    )


def shadow_with(sample: float) -> Apply:
    """Return the change that starts a shadow with a share of the events."""

    def start(current: Revision, version: int | None, proposal: Proposal, seed: int) -> Revision:
        return changes.start_shadow(current, _required(version), sample, proposal)

    return start


def pause_steps(current: Revision, version: int | None, proposal: Proposal, seed: int) -> Revision:
    """Stop automatic steps."""
    return changes.pause(current, proposal)


def resume_steps(current: Revision, version: int | None, proposal: Proposal, seed: int) -> Revision:
    """Continue automatic steps."""
    return changes.resume(current, proposal)


def end_roles(current: Revision, version: int | None, proposal: Proposal, seed: int) -> Revision:
    """End the canary or shadow of the version, or all of them."""
    return changes.abort(current, proposal, version)


def every_role(current: Revision) -> None:
    """Return that all canaries and shadows are meant."""
    return None


@dataclass(frozen=True, slots=True)
class CanaryPlan:
    """What `forebay models canary` asks for. steps: None for a fixed weight."""

    weight: float
    steps: StepPolicy | None
    route_by: str | None

    @classmethod
    def parse(
        cls,
        *,
        weight: float | None,
        steps: str | None,
        every: str | None,
        min_events: int | None,
        default_every: str,
        default_min_events: int,
        route_by: str | None,
    ) -> Self:
        """Return the plan of the options. Raises click.UsageError or ConfigError."""
        if route_by is not None and not (0 < len(route_by) <= MAX_FIELD_CHARS and route_by.isprintable()):
            raise ConfigError(
                f"--route-by {route_by[:40]!r} is not the name of an event field",
                kind="route_by",
                remedy=f"give 1 to {MAX_FIELD_CHARS} printable characters, such as user_id, or leave the option out",
            )
        if steps is None:
            for option, value in (("--every", every), ("--min-events", min_events)):
                if value is not None:
                    raise click.UsageError(f"{option} is for the steps of a canary: give --step 5,25,50,100 too")
            if weight is None:
                raise click.UsageError("give --weight PERCENT for a fixed share, or --step P,P,… for growing ones")
            return cls(_finite("--weight", weight), None, route_by)
        weights = _weights(steps)
        every_s = parse_duration("--every", every or default_every) / 1000
        policy = StepPolicy(weights, every_s, default_min_events if min_events is None else min_events)
        return cls(weights[0] if weight is None else _finite("--weight", weight), policy, route_by)

    def start(self, current: Revision, version: int | None, proposal: Proposal, seed: int) -> Revision:
        """Start the canary, or change its share."""
        return changes.start_canary(
            current,
            _required(version),
            self.weight,
            steps=self.steps,
            seed=seed,
            route_by=self.route_by,
            proposal=proposal,
        )


def _weights(text: str) -> tuple[float, ...]:
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--step {text!r} is not a list of percentages",
            kind="weight",
            remedy="give ascending numbers up to 100, such as --step 5,25,50,100",
        ) from None
    return tuple(_finite("--step", weight) for weight in weights)


def _finite(option: str, weight: float) -> float:
    if math.isfinite(weight) and 0 < weight <= 100:
        return weight
    raise ConfigError(
        f"{option}: {weight:g} % is not a share of the keys",
        kind="weight",
        remedy="give percentages greater than 0 and at most 100, such as 5",
    )


def _required(version: int | None) -> int:
    assert version is not None, "the command resolves the version first"
    return version

"""The options of `forebay models canary`, and the versions that commands mean if none is given."""

from __future__ import annotations

from dataclasses import replace

import click
import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.cli.models_rollout_change import readable
from forebay.stream.cli.models_rollout_requests import (
    CanaryPlan,
    end_roles,
    only_canary,
    previous_version,
    roll_back_to,
)
from forebay.stream.rollouts import changes
from forebay.stream.rollouts.revision import StepPolicy
from tests.cli.revisions import configured, promoted, proposal, with_canary


def plan(
    weight: float | None = None, steps: str | None = None, every: str | None = None, min_events: int | None = None
) -> CanaryPlan:
    return CanaryPlan.parse(
        weight=weight,
        steps=steps,
        every=every,
        min_events=min_events,
        default_every="10m",
        default_min_events=1000,
        route_by=None,
    )


def test_steps_start_with_the_first_weight_and_have_defaults() -> None:
    assert plan(steps="5, 25,100") == CanaryPlan(5, StepPolicy((5, 25, 100), every_s=600, min_events=1000), None)
    assert plan(2, "5,25", "90s", 0) == CanaryPlan(2, StepPolicy((5, 25), every_s=90, min_events=0), None)
    assert plan(0.5).steps is None


@pytest.mark.parametrize("steps", ["", "5;25", "5,,25", "five", "0,5", "5,101", "nan", "5,inf"])
def test_steps_that_are_not_percentages_are_refused(steps: str) -> None:
    with pytest.raises(ConfigError, match="--step"):
        plan(steps=steps)


@pytest.mark.parametrize("weight", [0, -1, 100.5, float("nan"), float("inf")])
def test_weights_that_are_not_percentages_are_refused(weight: float) -> None:
    with pytest.raises(ConfigError, match="--weight"):
        plan(weight)


def test_a_canary_needs_a_weight_and_steps_for_their_options() -> None:
    with pytest.raises(click.UsageError, match="give --weight"):
        plan()
    with pytest.raises(click.UsageError, match="--every is for the steps"):
        plan(5, every="1m")
    with pytest.raises(click.UsageError, match="--min-events is for the steps"):
        plan(5, min_events=0)
    with pytest.raises(ConfigError, match="--every '10' is not a duration"):
        plan(steps="5", every="10")


def test_what_readers_would_ignore_is_refused_before_it_is_written() -> None:
    with pytest.raises(ConfigError, match="this change is not valid"):
        readable(replace(with_canary(), route_by=""))
    assert readable(with_canary()) == with_canary()


def test_promote_means_the_only_canary() -> None:
    assert only_canary(with_canary()) == 4
    second = changes.start_canary(with_canary(), 5, 10, steps=None, seed=0, route_by=None, proposal=proposal(2))
    for revision, found in ((configured(), "no canary"), (second, "several canaries: 4, 5")):
        with pytest.raises(ConfigError, match=found):
            only_canary(revision)


def test_rollback_ends_canaries_first_and_then_returns_to_the_version_before() -> None:
    promotion = promoted()
    assert previous_version(promotion) == 3
    canary = changes.start_canary(promotion, 5, 10, steps=None, seed=0, route_by=None, proposal=proposal(2))
    assert previous_version(canary) == 4
    back = roll_back_to(canary, 4, proposal(3), 0)
    assert (back.stable, back.canaries, back.rejected, back.previous) == (4, (), (5,), 3)
    with pytest.raises(ConfigError, match="no version of fraud was stable before version 3"):
        previous_version(configured())


def test_abort_ends_one_role_or_all() -> None:
    shadowed = changes.start_shadow(with_canary(), 5, 0.1, proposal(2))
    assert end_roles(shadowed, 5, proposal(3), 0).canaries == shadowed.canaries
    assert end_roles(shadowed, None, proposal(3), 0).versions() == {3}

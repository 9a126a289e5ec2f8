"""The commands of `forebay models` that change a rollout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.models_rollout_options import NAME, VERSION, ChangeOptions, change_options, force_option

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings

DEFAULT_EVERY: Final = "10m"


@click.command(
    name="promote",
    epilog=examples(
        ("forebay models promote fraud 4 --reason 'better on last week'", "version 4 predicts everything"),
        ("forebay models promote fraud@champion --wait", "the version of an alias; wait for the workers"),
        ("forebay models promote fraud", "the only canary"),
        ("forebay models promote fraud 4 --dry-run", "what would change, and what workers would load"),
    ),
)
@NAME
@VERSION
@force_option
@change_options()
def promote_command(settings: Settings, options: ChangeOptions, name: str, version: str | None, force: bool) -> int:
    """Make a version the stable one, which predicts everything except the keys of other canaries.

    NAME VERSION or NAME@VERSION; an alias is resolved to its version. Without a version: the canary, if there is exactly one.
    The digest of the version's manifest is written down, and workers refuse other files. They load the version while the
    current one predicts, and keep that one in memory for rollouts.keep_previous_s.
    """
    from forebay.stream.cli.models_rollout_change import ChangeRequest, make_change
    from forebay.stream.cli.models_rollout_requests import only_canary, promote_to

    return make_change(settings, ChangeRequest.of(name, version, promote_to, default=only_canary, force=force), options)


@click.command(
    name="canary",
    epilog=examples(
        ("forebay models canary fraud 4 --weight 5", "5 % of the keys, until the next command"),
        (
            "forebay models canary fraud 4 --step 5,25,50,100 --every 10m --min-events 5000",
            "grows by itself, and is promoted after the last step",
        ),
        ("forebay models canary fraud 4 --weight 25", "change the weight"),
        ("forebay models canary fraud 4 --weight 5 --route-by user_id", "keys are an event field"),
    ),
)
@NAME
@VERSION
@click.option("--weight", type=float, metavar="PERCENT", help="Share of the keys. [default: the first step]")
@click.option("--step", "steps", metavar="P,P,…", help="Weights to which it grows without further commands.")
@click.option(
    "--every", metavar="TIME", help=f"Least time of a step: 90s, 10m, 1h; with --step. [default: {DEFAULT_EVERY}]"
)
@click.option(
    "--min-events",
    type=click.IntRange(min=0),
    metavar="N",
    help="Least number of the canary's predictions in a step; with --step. [default: rollouts.judge_min_events]",
)
@click.option(
    "--route-by", metavar="FIELD", help="Event field that is the routing key. [default: the record key, else the id]"
)
@force_option
@change_options()
def canary_command(
    settings: Settings,
    options: ChangeOptions,
    name: str,
    version: str | None,
    weight: float | None,
    steps: str | None,
    every: str | None,
    min_events: int | None,
    route_by: str | None,
    force: bool,
) -> int:
    """Let a version predict a share of the keys, or change that share.

    A key stays with its version until the next change. A growing canary takes keys from the stable version only. With --step,
    the aggregator takes each step after the least time and number of events if no check fails, promotes the version after the
    last one, and rolls it back if a check fails.
    """
    from forebay.stream.cli.models_rollout_change import ChangeRequest, make_change
    from forebay.stream.cli.models_rollout_requests import CanaryPlan

    plan = CanaryPlan.parse(
        weight=weight,
        steps=steps,
        every=every,
        min_events=min_events,
        default_every=DEFAULT_EVERY,
        default_min_events=settings.rollouts.judge_min_events,
        route_by=route_by,
    )
    return make_change(settings, ChangeRequest.of(name, version, plan.start, force=force), options)


@click.command(
    name="shadow",
    epilog=examples(
        ("forebay models shadow fraud 5", "predict every tenth event twice"),
        ("forebay models shadow fraud 5 --sample 1", "all events"),
        ("forebay models abort fraud 5", "end the shadow"),
    ),
)
@NAME
@VERSION
@click.option(
    "--sample",
    type=float,
    default=0.1,
    show_default=True,
    metavar="SHARE",
    help="Share of the events, greater than 0 and at most 1.",
)
@force_option
@change_options()
def shadow_command(
    settings: Settings, options: ChangeOptions, name: str, version: str | None, sample: float, force: bool
) -> int:
    """Let a version predict a sample of the events without effect, for comparison.

    Its predictions go to the topic shadow-predictions. It is dropped first under load. `forebay models abort NAME VERSION`
    ends it, and `promote` or `canary` puts it into service.
    """
    from forebay.stream.cli.models_rollout_change import ChangeRequest, make_change
    from forebay.stream.cli.models_rollout_requests import shadow_with

    return make_change(settings, ChangeRequest.of(name, version, shadow_with(sample), force=force), options)


@click.command(
    name="rollback",
    epilog=examples(
        ("forebay models rollback fraud --reason 'scores are all 0'", "to the version that was stable before"),
        ("forebay models rollback fraud 3", "to version 3"),
        ("forebay models rollback fraud --dry-run", "what would change"),
    ),
)
@NAME
@VERSION
@force_option
@change_options(wait=True)
def rollback_command(settings: Settings, options: ChangeOptions, name: str, version: str | None, force: bool) -> int:
    """Let an earlier version predict everything, end canaries and shadows, and verify that all workers do so.

    Without a version: the stable one if canaries are running, otherwise the one that was stable before. The versions that
    predicted and no longer do are rejected: only a person uses them again, with --force. The command waits until every live
    worker serves the target alone, and otherwise prints which does not, and why; the exit status is then 1.
    """
    from forebay.stream.cli.models_rollout_change import ChangeRequest, make_change
    from forebay.stream.cli.models_rollout_requests import previous_version, roll_back_to

    request = ChangeRequest.of(name, version, roll_back_to, default=previous_version, force=force)
    return make_change(settings, request, options)


@click.command(
    name="pause",
    epilog=examples(
        ("forebay models pause fraud --reason 'holiday traffic'", "stop automatic steps"),
        ("forebay models resume fraud", "continue them"),
    ),
)
@NAME
@change_options()
def pause_command(settings: Settings, options: ChangeOptions, name: str) -> int:
    """Stop the automatic steps of a canary. It keeps its keys, and is still rolled back if it fails."""
    from forebay.stream.cli.models_rollout_change import ChangeRequest, make_change
    from forebay.stream.cli.models_rollout_requests import pause_steps

    return make_change(settings, ChangeRequest.without_version(name, pause_steps), options)


@click.command(
    name="resume",
    epilog=examples(("forebay models resume fraud", "continue the automatic steps")),
)
@NAME
@change_options()
def resume_command(settings: Settings, options: ChangeOptions, name: str) -> int:
    """Continue the automatic steps of a canary after `pause`."""
    from forebay.stream.cli.models_rollout_change import ChangeRequest, make_change
    from forebay.stream.cli.models_rollout_requests import resume_steps

    return make_change(settings, ChangeRequest.without_version(name, resume_steps), options)


@click.command(
    name="abort",
    epilog=examples(
        ("forebay models abort fraud --reason 'wrong features'", "end all canaries and shadows"),
        ("forebay models abort fraud 5", "end one of them"),
    ),
)
@NAME
@VERSION
@change_options()
def abort_command(settings: Settings, options: ChangeOptions, name: str, version: str | None) -> int:
    """End canaries and shadows: the stable version predicts their keys again.

    With a version: only that one. Canaries are rejected: only a person uses them again, with --force.
    """
    from forebay.stream.cli.models_rollout_change import ChangeRequest, make_change
    from forebay.stream.cli.models_rollout_requests import end_roles, every_role

    request = ChangeRequest.of(name, version, end_roles, default=every_role, ends=True)
    return make_change(settings, request, options)

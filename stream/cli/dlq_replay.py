"""`forebay dlq replay`: publish the events of dead letters again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from forebay.schemas.errors import ConfigError
from forebay.stream.cli.dlq_options import Place, filter_options, limit_option
from forebay.stream.cli.dlq_reading import bar
from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import json_option
from forebay.stream.cli.output import echo, echo_json
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from forebay.stream.dlq.filter import DeadLetterFilter
    from forebay.stream.dlq.replay import ReplayProgress
    from forebay.stream.dlq.replay_plan import ReplayPlan

MAX_REPLAYS: Final = 3


@click.command(
    name="replay",
    epilog=examples(
        ("forebay dlq replay --kind unknown_model --dry-run", "what would be published"),
        ("forebay dlq replay --kind unknown_model --since 2h", "publish, after a confirmation"),
        (
            "forebay dlq replay --model late --rate 200 --yes --json",
            "without a question, at a limited rate, for scripts",
        ),
    ),
)
@filter_options
@limit_option("Replay only the oldest N of those that can be replayed.")
@click.option(
    "--max-replays",
    type=click.IntRange(min=1),
    default=MAX_REPLAYS,
    show_default=True,
    metavar="N",
    help="Skip events that were replayed N times and failed each time.",
)
@click.option("--rate", type=click.FloatRange(min=0), default=0, metavar="N", help="Events per second; 0: no limit.")
@click.option("--dry-run", is_flag=True, help="Show what would be published, and publish nothing.")
@click.option("--yes", is_flag=True, help="Publish without asking.")
@json_option
def command(
    place: Place,
    selection: DeadLetterFilter,
    limit: int | None,
    max_replays: int,
    rate: float,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Publish the events of dead letters again.

    Events keep their original value, key and headers, their topic, and their order per partition. The dead letters stay in
    their topic. An event that fails again gets a new dead letter, and the next replay takes only that one. A success is not
    recorded, so a second run publishes the event again: narrow the selection with --since and --kind. Dead letters whose value
    was cut are skipped. Replays are counted by the dead letters that exist; headers that state more replays are reported and
    ignored.
    """
    if not (yes or dry_run or sys.stdin.isatty()):
        raise ConfigError(
            "standard input is not a terminal, so the replay cannot be confirmed",
            kind="confirmation",
            remedy="add --yes to publish without asking, or --dry-run to see what would be published",
        )
    if not dry_run:
        from forebay.stream.kafka.cluster.acl_check import require
        from forebay.stream.kafka.cluster.acls import Role

        run_async(require(Role.REPLAY, place.settings))
    plan = run_async(_plan(place, selection, max_replays, limit, quiet=as_json))
    if dry_run or not plan.num_dead_letters:
        _print_replay(place, plan, progress=None, dry_run=dry_run, as_json=as_json)
        return 0
    if not yes:
        if not as_json:
            _print_replay(place, plan, progress=None, dry_run=dry_run, as_json=as_json)
        if not click.confirm(f"Publish {quantity(plan.num_dead_letters, 'event')} again?", err=True):
            echo("nothing was published", err=True)
            return 1
    _print_replay(
        place, plan, progress=_replay(place, plan, rate or None, quiet=as_json), dry_run=dry_run, as_json=as_json
    )
    return 0


async def _plan(
    place: Place, selection: DeadLetterFilter, max_replays: int, limit: int | None, *, quiet: bool
) -> ReplayPlan:
    from forebay.stream.dlq.replay import plan_replay
    from forebay.stream.dlq.replay_plan import output_topics

    settings = place.settings
    async with place.reader() as reader:
        with bar(place.topic, quiet=quiet) as progress:
            return await plan_replay(
                reader,
                settings.kafka,
                selection,
                max_replays=max_replays,
                limit=limit,
                progress=progress,
                outputs=output_topics(settings.topics, settings.input),
            )


def _replay(place: Place, plan: ReplayPlan, rate: float | None, *, quiet: bool) -> ReplayProgress:
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.dlq.replay import Replayer
    from forebay.stream.kafka.client import client_options

    replayer = Replayer(client_options(place.settings.kafka), clock=SystemClock(), rate=rate)

    async def run() -> None:
        await _record(place, plan)
        async with place.reader() as reader:
            with bar("replaying", quiet=quiet) as progress:
                await replayer.run(reader, plan, lambda sent: progress(sent, plan.num_dead_letters))

    try:
        run_async(run())
    except KeyboardInterrupt:
        published = f"{replayer.progress.delivered:,} of {quantity(plan.num_dead_letters, 'event')}"
        echo(f"interrupted: {published} published", err=True)
        raise
    return replayer.progress


async def _record(place: Place, plan: ReplayPlan) -> None:
    """Write the replay to the audit, if it is enabled. Raises BrokerError."""
    import socket

    from forebay.models.registration.user_name import user_name
    from forebay.stream.audit.action import Action
    from forebay.stream.control.action_log import action_log
    from forebay.stream.core.clock import SystemClock

    host = socket.gethostname()
    actions = action_log(place.settings, process=host, clock=SystemClock())
    if actions is not None:
        details = {"from": place.topic, "planned": plan.num_dead_letters, "topics": dict(plan.topics)}
        await actions.record(Action("replay", f"{user_name()}@{host}", host, details))


def _print_replay(
    place: Place, plan: ReplayPlan, progress: ReplayProgress | None, dry_run: bool, as_json: bool
) -> None:
    from forebay.stream.dlq.render import replay_table, skipped
    from forebay.stream.terminal.console import print_whole

    if as_json:
        document = {
            "topic": place.topic,
            "dry_run": dry_run,
            "planned": plan.num_dead_letters,
            "replayed": 0 if progress is None else progress.delivered,
            "topics": dict(plan.topics if progress is None else progress.topics),
            "skipped": {skip.value: count for skip, count in skipped(plan, progress).items()},
            "beyond_limit": plan.beyond_limit,
            "unproven_replays": plan.replays.num_unproven,
            "seconds": 0.0 if progress is None else round(progress.seconds, 3),
        }
        echo_json(document)
        return
    if not plan.num_dead_letters and not plan.skipped:
        echo("no dead letter matches: nothing to replay")
        return
    print_whole(replay_table(plan, progress))
    if progress is not None:
        events = quantity(progress.delivered, "event")
        echo(f"published {events} again in {progress.seconds:.1f} s; the dead letters stay in {place.topic}")

"""`forebay dlq replay`: publish the events of dead letters again."""

from __future__ import annotations

import re
import sys
from pathlib import Path
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
MAX_TOKEN_BYTES: Final = 65_536
_TOKEN: Final = re.compile(rb"[A-Za-z0-9_-]+(?:[.][A-Za-z0-9_-]+){2}")


@click.command(
    name="replay",
    epilog=examples(
        ("forebay dlq replay --kind unknown_model --dry-run", "what would be published"),
        ("forebay dlq replay --kind unknown_model --since 2h", "publish, after a confirmation"),
        (
            "forebay dlq replay --model late --rate 200 --yes --json",
            "without a question, at a limited rate, for scripts",
        ),
        ("forebay dlq replay --kind denied --token-file operator.jwt", "after a rule was added, as yourself"),
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
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File with a token (JWT) that all events get in the header forebay-principal, where access is on.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be published, and publish nothing.")
@click.option("--yes", is_flag=True, help="Publish without asking.")
@json_option
def command(
    place: Place,
    selection: DeadLetterFilter,
    limit: int | None,
    max_replays: int,
    rate: float,
    token_file: Path | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Publish the events of dead letters again.

    Events keep their original value, key and headers, their topic, and their order per partition. The dead letters stay in
    their topic. An event that fails again gets a new dead letter, and the next replay takes only that one. A success is not
    recorded, so a second run publishes the event again: narrow the selection with --since and --kind. Dead letters whose value
    was cut are skipped. Dead letters hold no tokens, so where access is on, workers deny what is replayed without --token-file;
    with it, the principal of the token is the one who asks. Replays are counted by the dead letters that exist; headers that
    state more replays are reported and
    ignored.
    """
    if not (yes or dry_run or sys.stdin.isatty()):
        raise ConfigError(
            "standard input is not a terminal, so the replay cannot be confirmed",
            kind="confirmation",
            remedy="add --yes to publish without asking, or --dry-run to see what would be published",
        )
    token = None if token_file is None else _read_token(token_file)
    if not dry_run:
        from forebay.stream.kafka.cluster.acl_check import require
        from forebay.stream.kafka.cluster.acls import Role

        run_async(require(Role.REPLAY, place.settings))
    plan = run_async(_plan(place, selection, max_replays, limit, token=token, quiet=as_json))
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
    place: Place,
    selection: DeadLetterFilter,
    max_replays: int,
    limit: int | None,
    *,
    token: bytes | None,
    quiet: bool,
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
                token=token,
            )


def _read_token(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_TOKEN_BYTES + 1).strip()
    except OSError as error:
        raise ConfigError(f"--token-file, {path}, cannot be read: {error.strerror}", kind="token_file") from None
    if len(text) > MAX_TOKEN_BYTES or not _TOKEN.fullmatch(text):
        raise ConfigError(
            f"--token-file, {path}, does not contain a compact JWS",
            kind="token_file",
            remedy="write only the token into it: three parts of base64url, separated by dots",
        )
    return text


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

    needs_token = place.settings.access.enabled
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
            "without_token": plan.num_dead_letters if needs_token and plan.token is None else 0,
            "seconds": 0.0 if progress is None else round(progress.seconds, 3),
        }
        echo_json(document)
        return
    if not plan.num_dead_letters and not plan.skipped:
        echo("no dead letter matches: nothing to replay")
        return
    print_whole(replay_table(plan, progress, needs_token=needs_token))
    if progress is not None:
        events = quantity(progress.delivered, "event")
        echo(f"published {events} again in {progress.seconds:.1f} s; the dead letters stay in {place.topic}")

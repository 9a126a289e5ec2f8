"""`forebay dlq`: dead letters: list them, look at one, count them, publish them again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import click

from schemas.errors import ConfigError, DataError
from stream.cli.dlq_options import Place, filter_options, place_options
from stream.cli.examples import examples
from stream.cli.options import json_option

if TYPE_CHECKING:
    from stream.dlq.choose import Filter
    from stream.dlq.letter import Letter
    from stream.dlq.plan import Plan
    from stream.dlq.read import LetterBox, Progress
    from stream.dlq.replay import Replayed

P = ParamSpec("P")
R = TypeVar("R")

LISTED: Final = 20
MAX_REPLAYS: Final = 3
SHOWN_BYTES: Final = 4096
# Shorter reads show no bar: it would only flicker.
_BAR_AFTER_S: Final = 0.5


def _limit(help: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    return click.option("--limit", type=click.IntRange(min=1), metavar="N", help=help)


@click.group(
    name="dlq",
    epilog=examples(
        ("forebay dlq stats", "how many of which kind, and since when"),
        ("forebay dlq list --kind not_json --since 2h", "the newest ones, a line each"),
        ("forebay dlq show 3:1041", "all of one, and what to do about it"),
        ("forebay dlq replay --kind model_error --dry-run", "what would be published again"),
    ),
)
def command() -> None:
    """Dead letters: the events that were rejected or failed, with their original bytes, and why.

    Reads what is committed up to now and ends; joins no group and commits nothing, so it disturbs nobody.
    """


@command.command(
    name="list",
    epilog=examples(
        ("forebay dlq list", f"the newest {LISTED}"),
        ("forebay dlq list --stage model --since 1d --limit 500", "what a model failed on since yesterday"),
        ("forebay dlq list --kind wrong_type --json | jq -r .message", "all of a kind, for scripts"),
    ),
)
@filter_options
@_limit(f"The newest so many. [default: {LISTED}; all with --json]")
@json_option
def list_letters(place: Place, chosen: Filter, limit: int | None, as_json: bool) -> None:
    """A line for each letter, the oldest first. The first column is what `forebay dlq show` takes.

    With --json one object a line, in full; without --limit in the order of the topic's partitions.
    """
    asyncio.run(_list(place, chosen, limit, as_json))


async def _list(place: Place, chosen: Filter, limit: int | None, as_json: bool) -> None:
    from stream.dlq.choose import Newest

    newest = Newest(limit or LISTED)
    async with _letters(place, chosen, quiet=as_json) as (box, letters):
        async for letter in letters:
            if as_json and limit is None:
                click.echo(letter.to_json())
            else:
                newest.add(letter)
    found = newest.letters()
    if as_json:
        for letter in found:
            click.echo(letter.to_json())
        return
    if not found:
        _say_none(box)
        return
    from stream.console import print_whole, stdout_console
    from stream.dlq.render import list_table

    console = stdout_console()
    print_whole(list_table(found, console.width if console.is_terminal else None))
    if newest.num_added > len(found):
        click.echo(f"the newest {len(found):,} of {newest.num_added:,}; --limit shows more", err=True)


@command.command(
    epilog=examples(
        ("forebay dlq show 3:1041", "by its place among the dead letters"),
        ("forebay dlq show --source features-3@88210", "by its event's place"),
        ("forebay dlq show --id UA-1545", "by its event's id"),
        ("forebay dlq show 3:1041 --value > event.json", "the original bytes"),
    )
)
@click.argument("where", required=False, metavar="[PARTITION:OFFSET]")
@place_options
@click.option("--source", metavar="POSITION", help="The letter of the event at TOPIC-PARTITION@OFFSET.")
@click.option("--id", "event_id", metavar="TEXT", help="The newest letter of the event with this id.")
@click.option("--value", is_flag=True, help="Write the original bytes, and nothing else.")
@click.option(
    "--max-bytes",
    type=click.IntRange(min=1),
    default=SHOWN_BYTES,
    show_default=True,
    metavar="N",
    help="Show so much of the value.",
)
@json_option
def show(
    place: Place,
    where: str | None,
    source: str | None,
    event_id: str | None,
    value: bool,
    max_bytes: int,
    as_json: bool,
) -> None:
    """Everything of one letter: why, what to do about it, where it came from, headers and original bytes.

    An event that failed again after a replay has several letters; the newest is shown.
    """
    if sum(given is not None for given in (where, source, event_id)) != 1:
        raise click.UsageError("give one of PARTITION:OFFSET, --source and --id")
    letter = asyncio.run(_find(place, where, source, event_id))
    if value:
        click.echo(letter.value or b"", nl=False)
    elif as_json:
        click.echo(letter.to_json())
    else:
        from stream.console import print_whole, stdout_console
        from stream.dlq.render import letter_text

        console, shown = stdout_console(), letter_text(letter, max_bytes=max_bytes)
        if console.is_terminal:
            console.print(shown)
        else:
            print_whole(shown)


async def _find(place: Place, where: str | None, source: str | None, event_id: str | None) -> Letter:
    from stream.dlq.choose import Filter, Newest, read_place, read_position

    if where is not None:
        partition, offset = read_place(where)
        async with place.box() as box:
            return await box.letter_at(partition, offset)
    position = None if source is None else read_position(source)
    newest = Newest(1)
    async with _letters(place, Filter(), quiet=False) as (box, letters):
        async for letter in letters:
            if letter.source == position if position is not None else letter.event_id == event_id:
                newest.add(letter)
    for letter in newest.letters():
        if newest.num_added > 1:
            click.echo(f"the newest of {newest.num_added} letters", err=True)
        return letter
    what = f"the event at {position}" if position is not None else f"an event with the id {event_id!r}"
    raise DataError(
        f"none of the {box.seen.letters:,} letters in {place.topic} is of {what}",
        kind="no_such_letter",
        remedy="`forebay dlq list` shows the letters",
    )


@command.command(
    epilog=examples(
        ("forebay dlq stats", "all that are kept"),
        ("forebay dlq stats --since 15m", "is it still going on?"),
        ("forebay dlq stats --json | jq .kinds", "for scripts"),
    )
)
@filter_options
@_limit("Count the newest so many only.")
@json_option
def stats(place: Place, chosen: Filter, limit: int | None, as_json: bool) -> None:
    """How many letters by kind, stage, model and original topic; their share; when the first and the last were written."""
    asyncio.run(_stats(place, chosen, limit, as_json))


async def _stats(place: Place, chosen: Filter, limit: int | None, as_json: bool) -> None:
    from stream.dlq.choose import Newest
    from stream.dlq.stats import Stats

    counted = Stats()
    newest = None if limit is None else Newest(limit)
    async with _letters(place, chosen, quiet=as_json) as (box, letters):
        async for letter in letters:
            (counted if newest is None else newest).add(letter)
    for letter in newest.letters() if newest is not None else ():
        counted.add(letter)
    if as_json:
        click.echo(json.dumps({"topic": place.topic, **counted.to_dict()}, ensure_ascii=False, indent=2))
    elif counted.total is None:
        _say_none(box)
    else:
        from stream.console import print_whole
        from stream.dlq.render import stats_text

        print_whole(stats_text(counted, place.topic))


@command.command(
    epilog=examples(
        ("forebay dlq replay --kind unknown_model --dry-run", "what would be published"),
        ("forebay dlq replay --kind unknown_model --since 2h", "asks first"),
        ("forebay dlq replay --model late --rate 200 --yes --json", "unasked and gently, for scripts"),
    )
)
@filter_options
@_limit("The oldest so many of those that can be replayed.")
@click.option(
    "--max-replays",
    type=click.IntRange(min=1),
    default=MAX_REPLAYS,
    show_default=True,
    metavar="N",
    help="Leave out events that were replayed so often and failed each time.",
)
@click.option("--rate", type=click.FloatRange(min=0), default=0, metavar="N", help="Letters a second; 0: no limit.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and publish nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def replay(
    place: Place,
    chosen: Filter,
    limit: int | None,
    max_replays: int,
    rate: float,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Publish events again as they came: value, key and headers, to the topic that they came from, in order per partition.

    The letters stay where they are. What fails again becomes a new letter, and only that one is replayed next time; what
    succeeds does not tell, so a second run would publish it again: narrow it with --since and --kind. Letters whose value
    was cut are left out.
    """
    if not (yes or dry_run or sys.stdin.isatty()):
        raise ConfigError(
            "nobody is there to be asked whether to publish",
            kind="confirmation",
            remedy="--yes publishes without asking, --dry-run only says what would be done",
        )
    if not dry_run:
        from stream.kafka.acls import Role
        from stream.kafka.permit import require

        asyncio.run(require(Role.REPLAY, place.settings))
    plan = asyncio.run(_plan(place, chosen, max_replays, limit, quiet=as_json))
    if dry_run or not plan.num_letters:
        _print_replay(place, plan, None, dry_run, as_json)
        return 0
    if not yes:
        if not as_json:
            _print_replay(place, plan, None, dry_run, as_json)
        if not click.confirm(f"Publish {plan.num_letters:,} event{'s'[: plan.num_letters != 1]} again?", err=True):
            click.echo("nothing was published", err=True)
            return 1
    _print_replay(place, plan, _replay(place, plan, rate or None, quiet=as_json), dry_run, as_json)
    return 0


async def _plan(place: Place, chosen: Filter, max_replays: int, limit: int | None, *, quiet: bool) -> Plan:
    from stream.dlq.replay import make_plan

    async with place.box() as box:
        with _bar(place.topic, quiet=quiet) as progress:
            return await make_plan(
                box, place.settings.kafka, chosen, max_replays=max_replays, limit=limit, progress=progress
            )


def _replay(place: Place, plan: Plan, rate: float | None, *, quiet: bool) -> Replayed:
    from stream.clock import SystemClock
    from stream.dlq.replay import Replayer
    from stream.kafka.client import client_options

    replayer = Replayer(client_options(place.settings.kafka), clock=SystemClock(), rate=rate)

    async def run() -> None:
        async with place.box() as box:
            with _bar("replaying", quiet=quiet) as progress:
                await replayer.run(box, plan, lambda sent: progress(sent, plan.num_letters))

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        click.echo(f"interrupted: {replayer.done.delivered:,} of {plan.num_letters:,} were published", err=True)
        raise
    return replayer.done


def _print_replay(place: Place, plan: Plan, done: Replayed | None, dry_run: bool, as_json: bool) -> None:
    from stream.console import print_whole
    from stream.dlq.render import replay_table, skipped

    if as_json:
        document = {
            "topic": place.topic,
            "dry_run": dry_run,
            "planned": plan.num_letters,
            "replayed": 0 if done is None else done.delivered,
            "topics": dict(plan.topics if done is None else done.topics),
            "skipped": {skip.value: count for skip, count in skipped(plan, done).items()},
            "beyond_limit": plan.beyond_limit,
            "seconds": 0.0 if done is None else round(done.seconds, 3),
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    if not plan.num_letters and not plan.skipped:
        click.echo("no letter matches: nothing to replay")
        return
    print_whole(replay_table(plan, done))
    if done is not None:
        click.echo(f"{done.delivered:,} published again in {done.seconds:.1f} s; the letters stay in {place.topic}")


@contextlib.asynccontextmanager
async def _letters(
    place: Place, chosen: Filter, *, quiet: bool
) -> AsyncIterator[tuple[LetterBox, AsyncIterator[Letter]]]:
    """The letters that are meant, with a bar on a terminal where it takes long."""
    async with place.box() as box:
        with _bar(place.topic, quiet=quiet) as progress:
            extent = await box.extent(since_ms=chosen.since_ms)
            found = box.letters(extent, progress=progress)
            yield box, (letter async for letter in found if chosen.takes(letter))


@contextlib.contextmanager
def _bar(what: str, *, quiet: bool) -> Iterator[Progress]:
    """A progress bar on a terminal, once it has taken a while; nothing where nobody looks."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from stream.console import stderr_console

    console = stderr_console()
    if quiet or not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn(what, markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("", total=None)
    begun_s = time.monotonic()

    def show(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if not bar.live.is_started and time.monotonic() - begun_s > _BAR_AFTER_S:
            bar.start()

    try:
        yield show
    finally:
        bar.stop()


def _say_none(box: LetterBox) -> None:
    letters, strangers = box.seen.letters, box.seen.strangers
    read = f"{letters:,} letter{'s'[: letters != 1]} read"
    if strangers:
        read += f", {strangers:,} record{'s' if strangers != 1 else ''} that {'are' if strangers != 1 else 'is'} none"
    click.echo(f"no letter in {box.topic} matches ({read})")

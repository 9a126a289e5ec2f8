"""`forebay dlq`: dead letters: list them, look at one, count them, publish them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from forebay.schemas.errors import DataError
from forebay.stream.cli import dlq_replay
from forebay.stream.cli.dlq_options import Place, filter_options, limit_option, place_options
from forebay.stream.cli.dlq_reading import letters_of, say_none
from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import json_option
from forebay.stream.cli.output import echo, echo_json

if TYPE_CHECKING:
    from forebay.stream.dlq.dead_letter import Letter
    from forebay.stream.dlq.filter import Filter

LISTED: Final = 20
SHOWN_BYTES: Final = 4096


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
    """List, explain and replay dead letters: events that were rejected or failed, with their original bytes and the reason.

    Reads what is committed up to now and ends; joins no group and commits nothing.
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
@limit_option(f"Show only the newest N. [default: {LISTED}; all with --json]")
@json_option
def listletters_of(place: Place, chosen: Filter, limit: int | None, as_json: bool) -> None:
    """List the letters, one a line, the oldest first. The first column is what `forebay dlq show` takes.

    With --json one object a line, in full; without --limit in the order of the topic's partitions.
    """
    run_async(_list(place, chosen, limit, as_json))


async def _list(place: Place, chosen: Filter, limit: int | None, as_json: bool) -> None:
    from forebay.stream.dlq.filter import Newest

    newest = Newest(limit or LISTED)
    async with letters_of(place, chosen, quiet=as_json) as (box, letters):
        async for letter in letters:
            if as_json and limit is None:
                echo(letter.to_json())
            else:
                newest.add(letter)
    found = newest.letters()
    if as_json:
        for letter in found:
            echo(letter.to_json())
        return
    if not found:
        say_none(box)
        return
    from forebay.stream.dlq.render import list_table
    from forebay.stream.terminal.console import print_whole, stdout_console

    console = stdout_console()
    print_whole(list_table(found, console.width if console.is_terminal else None))
    if newest.num_added > len(found):
        echo(f"the newest {len(found):,} of {newest.num_added:,}; --limit shows more", err=True)


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
    help="Show at most this much of the value.",
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
    """Show one letter in full: its reason and remedy, where it came from, headers and original bytes.

    An event that failed again after a replay has several letters; the newest is shown.
    """
    if sum(given is not None for given in (where, source, event_id)) != 1:
        raise click.UsageError("give one of PARTITION:OFFSET, --source and --id")
    letter = run_async(_find(place, where, source, event_id))
    if value:
        echo(letter.value or b"", nl=False)
    elif as_json:
        echo(letter.to_json())
    else:
        from forebay.stream.dlq.render import letter_text
        from forebay.stream.terminal.console import print_whole, stdout_console

        console, shown = stdout_console(), letter_text(letter, max_bytes=max_bytes)
        if console.is_terminal:
            console.print(shown)
        else:
            print_whole(shown)


async def _find(place: Place, where: str | None, source: str | None, event_id: str | None) -> Letter:
    from forebay.stream.dlq.filter import Filter, Newest, read_place, read_position

    if where is not None:
        partition, offset = read_place(where)
        async with place.box() as box:
            return await box.letter_at(partition, offset)
    position = None if source is None else read_position(source)
    newest = Newest(1)
    async with letters_of(place, Filter(), quiet=False) as (box, letters):
        async for letter in letters:
            if letter.source == position if position is not None else letter.event_id == event_id:
                newest.add(letter)
    for letter in newest.letters():
        if newest.num_added > 1:
            echo(f"the newest of {newest.num_added} letters", err=True)
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
@limit_option("Count only the newest N.")
@json_option
def stats(place: Place, chosen: Filter, limit: int | None, as_json: bool) -> None:
    """Count the letters by kind, stage, model and original topic; their share; when the first and the last were written."""
    run_async(_stats(place, chosen, limit, as_json))


async def _stats(place: Place, chosen: Filter, limit: int | None, as_json: bool) -> None:
    from forebay.stream.dlq.filter import Newest
    from forebay.stream.dlq.stats import Stats

    counted = Stats()
    newest = None if limit is None else Newest(limit)
    async with letters_of(place, chosen, quiet=as_json) as (box, letters):
        async for letter in letters:
            (counted if newest is None else newest).add(letter)
    for letter in newest.letters() if newest is not None else ():
        counted.add(letter)
    if as_json:
        echo_json({"topic": place.topic, **counted.to_dict()})
    elif counted.total is None:
        say_none(box)
    else:
        from forebay.stream.dlq.render import stats_text
        from forebay.stream.terminal.console import print_whole

        print_whole(stats_text(counted, place.topic))


command.add_command(dlq_replay.command)

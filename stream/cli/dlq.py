"""`forebay dlq`: list, show, count and replay dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from forebay.schemas.errors import DataError
from forebay.stream.cli import dlq_replay
from forebay.stream.cli.dlq_options import Place, filter_options, limit_option, place_options
from forebay.stream.cli.dlq_reading import open_dead_letters, report_no_match
from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import json_option
from forebay.stream.cli.output import echo, echo_json
from forebay.stream.cli.subcommands import SubcommandGroup
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from forebay.stream.decode.value_reader import ReadValue, ValueReader
    from forebay.stream.dlq.dead_letter import DeadLetter
    from forebay.stream.dlq.filter import DeadLetterFilter

LISTED: Final = 20
SHOWN_BYTES: Final = 4096


@click.group(
    name="dlq",
    cls=SubcommandGroup,
    epilog=examples(
        ("forebay dlq stats", "counts by kind, and since when"),
        ("forebay dlq list --kind not_json --since 2h", "the newest, one per line"),
        ("forebay dlq show 3:1041", "one in full, with the remedy"),
        ("forebay dlq replay --kind model_error --dry-run", "what would be published again"),
    ),
)
def command() -> None:
    """List, show, count and replay dead letters.

    A dead letter holds an event that was rejected or failed, with its original bytes and the reason. Each command reads the
    dead letters that are committed when it starts, and then ends. It joins no consumer group and commits no offsets.
    """


@command.command(
    name="list",
    epilog=examples(
        ("forebay dlq list", f"the newest {LISTED}"),
        ("forebay dlq list --stage model --since 1d --limit 500", "events that a model failed on in the last day"),
        ("forebay dlq list --kind wrong_type --json | jq -r .message", "all of one kind, for scripts"),
    ),
)
@filter_options
@limit_option(f"Show only the newest N. [default: {LISTED}; all with --json]")
@json_option
def list_dead_letters(place: Place, selection: DeadLetterFilter, limit: int | None, as_json: bool) -> None:
    """List dead letters, the oldest first.

    Each is one line; `forebay dlq show` takes the value of its first column. With --json, each line is a JSON object with all
    fields; without --limit, the order is that of the topic's partitions.
    """
    run_async(_list(place, selection, limit, as_json))


async def _list(place: Place, selection: DeadLetterFilter, limit: int | None, as_json: bool) -> None:
    from forebay.stream.cli.value_reading import open_value_reader
    from forebay.stream.dlq.filter import NewestDeadLetters

    newest = NewestDeadLetters(limit or LISTED)
    async with (
        open_dead_letters(place, selection, quiet=as_json) as (reader, dead_letters),
        open_value_reader(place.settings) as values,
    ):
        async for dead_letter in dead_letters:
            if as_json and limit is None:
                echo(dead_letter.to_json(await _read(values, dead_letter)))
            else:
                newest.add(dead_letter)
        listed = newest.dead_letters()
        if as_json:
            for dead_letter in listed:
                echo(dead_letter.to_json(await _read(values, dead_letter)))
            return
    if not listed:
        report_no_match(reader)
        return
    from forebay.stream.dlq.render import list_table
    from forebay.stream.terminal.console import print_whole, stdout_console

    console = stdout_console()
    print_whole(list_table(listed, console.width if console.is_terminal else None))
    if newest.num_added > len(listed):
        echo(f"showing the newest {len(listed):,} of {newest.num_added:,}; --limit N shows more", err=True)


@command.command(
    epilog=examples(
        ("forebay dlq show 3:1041", "by partition and offset of the dead letter"),
        ("forebay dlq show --source features-3@88210", "by topic, partition and offset of the event"),
        ("forebay dlq show --id UA-1545", "by the event's id"),
        ("forebay dlq show 3:1041 --value > event.json", "the original bytes"),
    )
)
@click.argument("where", required=False, metavar="[PARTITION:OFFSET]")
@place_options
@click.option("--source", metavar="POSITION", help="Show the dead letter of the event at TOPIC-PARTITION@OFFSET.")
@click.option("--id", "event_id", metavar="TEXT", help="Show the newest dead letter of the event with this id.")
@click.option("--value", is_flag=True, help="Write the original bytes and nothing else.")
@click.option(
    "--max-bytes",
    type=click.IntRange(min=1),
    default=SHOWN_BYTES,
    show_default=True,
    metavar="N",
    help="Show at most N bytes of the value.",
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
    """Show one dead letter in full, with the remedy.

    This includes the reason, the original event's topic, partition and offset, its headers and its bytes. If an event failed
    again after a replay, it has several dead letters, and the newest is shown.
    """
    if sum(option is not None for option in (where, source, event_id)) != 1:
        raise click.UsageError("give exactly one of PARTITION:OFFSET, --source and --id")
    dead_letter = run_async(_find(place, where, source, event_id))
    if value:
        echo(dead_letter.value or b"", nl=False)
        return
    read = run_async(_read_value(place, dead_letter))
    if as_json:
        echo(dead_letter.to_json(read))
    else:
        from forebay.stream.dlq.render import dead_letter_text
        from forebay.stream.terminal.console import print_whole, stdout_console

        console, shown = stdout_console(), dead_letter_text(dead_letter, max_bytes=max_bytes, read=read)
        if console.is_terminal:
            console.print(shown)
        else:
            print_whole(shown)


async def _read_value(place: Place, dead_letter: DeadLetter) -> ReadValue:
    """Return what the value of a dead letter says."""
    from forebay.stream.cli.value_reading import open_value_reader

    async with open_value_reader(place.settings) as values:
        return await _read(values, dead_letter)


async def _read(values: ValueReader, dead_letter: DeadLetter) -> ReadValue:
    from forebay.stream.decode.value_reader import DecodedRecord, ReadValue

    if dead_letter.is_raw:
        return ReadValue(None)
    record = DecodedRecord(
        dead_letter.source.offset,
        dead_letter.timestamp,
        dead_letter.key,
        value=dead_letter.value,
        headers=[(name, content or b"") for name, content in dead_letter.headers],
    )
    await values.resolve(dead_letter.source.topic, [record])
    return values.read(dead_letter.source.topic, record)


async def _find(place: Place, where: str | None, source: str | None, event_id: str | None) -> DeadLetter:
    from forebay.stream.dlq.filter import DeadLetterFilter, NewestDeadLetters, parse_position, parse_record_place

    if where is not None:
        partition, offset = parse_record_place(where)
        async with place.reader() as reader:
            return await reader.dead_letter_at(partition, offset)
    position = None if source is None else parse_position(source)
    newest = NewestDeadLetters(1)
    async with open_dead_letters(place, DeadLetterFilter(), quiet=False) as (reader, dead_letters):
        async for dead_letter in dead_letters:
            if dead_letter.source == position if position is not None else dead_letter.event_id == event_id:
                newest.add(dead_letter)
    for dead_letter in newest.dead_letters():
        if newest.num_added > 1:
            echo(f"showing the newest of {newest.num_added} dead letters of this event", err=True)
        return dead_letter
    event = f"the event at {position}" if position is not None else f"an event with the id {event_id!r}"
    raise DataError(
        f"none of the {quantity(reader.stats.num_dead_letters, 'dead letter')} in {place.topic} is of {event}",
        kind="no_such_letter",
        remedy="`forebay dlq list` shows the dead letters",
    )


@command.command(
    epilog=examples(
        ("forebay dlq stats", "all dead letters that the topic holds"),
        ("forebay dlq stats --since 15m", "do events still fail?"),
        ("forebay dlq stats --json | jq .kinds", "for scripts"),
    )
)
@filter_options
@limit_option("Count only the newest N.")
@json_option
def stats(place: Place, selection: DeadLetterFilter, limit: int | None, as_json: bool) -> None:
    """Count dead letters by kind, stage, model and topic.

    The topic is that of the original event. For each count, the share and the times of the first and the last are shown.
    """
    run_async(_stats(place, selection, limit, as_json))


async def _stats(place: Place, selection: DeadLetterFilter, limit: int | None, as_json: bool) -> None:
    from forebay.stream.dlq.filter import NewestDeadLetters
    from forebay.stream.dlq.stats import Stats

    counted = Stats()
    newest = None if limit is None else NewestDeadLetters(limit)
    async with open_dead_letters(place, selection, quiet=as_json) as (reader, dead_letters):
        async for dead_letter in dead_letters:
            (counted if newest is None else newest).add(dead_letter)
    for dead_letter in newest.dead_letters() if newest is not None else ():
        counted.add(dead_letter)
    if as_json:
        echo_json({"topic": place.topic, **counted.to_dict()})
    elif counted.total is None:
        report_no_match(reader)
    else:
        from forebay.stream.dlq.render import stats_text
        from forebay.stream.terminal.console import print_whole

        print_whole(stats_text(counted, place.topic))


command.add_command(dlq_replay.command)

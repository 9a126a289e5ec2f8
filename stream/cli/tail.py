"""`forebay tail`: read along a topic."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, cast

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option, timeout_option
from forebay.stream.cli.output import echo

if TYPE_CHECKING:
    from forebay.schemas.topics import TopicKey

KINDS = ("predictions", "dead-letters", "error-aggregates", "alerts", "outcome-deltas", "late-events", "features")


@click.command(
    name="tail",
    epilog=examples(
        ("forebay tail predictions", "as they come, until Ctrl-C"),
        ("forebay tail dead-letters --from-beginning --limit 10", "the oldest ten, and why"),
        ("forebay tail predictions --json | jq .value.label", "for scripts"),
        ("forebay tail dead-letters --since 15m", "those of the last quarter of an hour, and what comes"),
        ("forebay tail features --timeout 5", "until 5 seconds pass without one"),
    ),
)
@click.argument("kind", type=click.Choice(KINDS))
@config_options
@bootstrap_option
@click.option(
    "--topic", metavar="NAME", help="The topic's full name, if it is another one. [default: topics.prefix + KIND]"
)
@click.option("--from-beginning", is_flag=True, help="From the oldest record that is there, not only what comes now.")
@click.option(
    "--since",
    metavar="TIME",
    help="From then on: 15m or 2h ago, RFC 3339, or ms since the epoch, by the records' time.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after this many records.")
@timeout_option("Stop when no record has come for this long.", default=None)
@json_option
def command(
    source: ConfigSource,
    kind: str,
    bootstrap_server: str | None,
    topic: str | None,
    from_beginning: bool,
    since: str | None,
    limit: int | None,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Print the records of a topic as lines, or as JSON. Joins no group and commits nothing.

    Records of transactions that were not committed are left out.
    """
    if since is not None and from_beginning:
        raise click.UsageError("give either --from-beginning or --since")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    from forebay.schemas.topics import topic_name
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.dlq.filter import parse_time_range
    from forebay.stream.kafka.client import client_options

    settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
    name = topic
    if name is None:
        # Where the worker reads from other topics than `features`, its events are what is meant.
        base = settings.input.topics[0] if kind == "features" else kind
        name = topic_name(settings.topics.prefix, base)
    run_async(
        _tail(
            client_options(settings.kafka),
            cast("TopicKey", kind),
            name,
            from_beginning=from_beginning,
            since_ms=parse_time_range(since, None, now_ms=SystemClock().wall_ms())[0],
            limit=limit,
            timeout_s=timeout_s,
            as_json=as_json,
        )
    )


async def _tail(
    options: dict[str, object],
    kind: TopicKey,
    topic: str,
    *,
    from_beginning: bool,
    since_ms: int | None,
    limit: int | None,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.kafka.consumer.topic_reader import TopicReader
    from forebay.stream.terminal.record_format import as_json as to_json
    from forebay.stream.terminal.record_format import as_line

    shown = 0
    reader = TopicReader(options, [topic], from_beginning=from_beginning, since_ms=since_ms, clock=SystemClock())
    async with reader:
        if not as_json and sys.stderr.isatty():
            start = "from the beginning" if from_beginning else "from now on" if since_ms is None else "since then"
            echo(f"{topic}: {start}", err=True)
        async for partition, records in reader.polls(idle_timeout_s=timeout_s):
            for record in records:
                if as_json:
                    echo(to_json(partition, record))
                else:
                    echo(as_line(kind, partition, record))
                shown += 1
                if shown == limit:
                    return

"""`forebay tail`: read along a topic."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, cast

import click

from stream.cli.examples import examples
from stream.cli.interrupts import run_async
from stream.cli.options import ConfigSource, config_options, json_option
from stream.cli.output import echo

if TYPE_CHECKING:
    from schemas.topics import TopicKey

KINDS = ("predictions", "dead-letters", "error-aggregates", "alerts", "outcome-deltas", "late-events", "features")


@click.command(
    name="tail",
    epilog=examples(
        ("forebay tail predictions", "as they come, until Ctrl-C"),
        ("forebay tail dead-letters --from-beginning --limit 10", "the oldest ten, and why"),
        ("forebay tail predictions --json | jq .value.label", "for scripts"),
        ("forebay tail features --timeout 5", "until 5 seconds pass without one"),
    ),
)
@click.argument("kind", type=click.Choice(KINDS))
@config_options
@click.option("--bootstrap-server", metavar="HOST:PORT", help="The broker. [default: kafka.bootstrap_servers]")
@click.option(
    "--topic", metavar="NAME", help="The topic's full name, where it has another. [default: topics.prefix + KIND]"
)
@click.option("--from-beginning", is_flag=True, help="From the oldest record that is there, not only what comes now.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after so many records.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="S", help="Stop when none has come for so long."
)
@json_option
def command(
    source: ConfigSource,
    kind: str,
    bootstrap_server: str | None,
    topic: str | None,
    from_beginning: bool,
    limit: int | None,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Print the records of a topic as lines, or as JSON. Joins no group and commits nothing, so it disturbs nobody.

    Records of transactions that were not committed are left out.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    from schemas.topics import topic_name
    from stream.kafka.client import client_options

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
    limit: int | None,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    from stream.clock import SystemClock
    from stream.tail import TopicReader
    from stream.tail_format import as_json as to_json
    from stream.tail_format import as_line

    shown = 0
    async with TopicReader(options, [topic], from_beginning=from_beginning, clock=SystemClock()) as reader:
        if not as_json and sys.stderr.isatty():
            echo(f"{topic}: " + ("from the beginning" if from_beginning else "what comes from now on"), err=True)
        async for partition, records in reader.polls(idle_timeout_s=timeout_s):
            for record in records:
                if as_json:
                    echo(to_json(partition, record))
                else:
                    echo(as_line(kind, partition, record))
                shown += 1
                if shown == limit:
                    return

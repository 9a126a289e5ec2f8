"""`forebay errors`: show the errors of all workers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option, watch_options
from forebay.stream.cli.output import echo_json

if TYPE_CHECKING:
    from forebay.stream.aggregate.summary import Summary
    from forebay.stream.config.sections import Settings

DEFAULT_SINCE: Final = "1h"


@click.command(
    name="errors",
    epilog=examples(
        ("forebay errors", "the last hour"),
        ("forebay errors --since 1d --model late --stacks", "one model, the last day, with stack traces"),
        ("forebay errors --watch", "refresh until Ctrl-C"),
        ("forebay errors --json | jq '.errors[0]'", "the most frequent error, for scripts"),
    ),
)
@config_options
@bootstrap_option
@click.option(
    "--since",
    default=DEFAULT_SINCE,
    show_default=True,
    metavar="TIME",
    help="Count errors from this time on, by record timestamp: an age (15m, 2h), RFC 3339, or ms since 1970.",
)
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Count only this kind of error; may be repeated.")
@click.option("--model", metavar="NAME", help="Count only errors of this model.")
@click.option("--stacks", is_flag=True, help="Show a stack trace for each kind that has one.")
@watch_options
@json_option
def command(
    source: ConfigSource,
    bootstrap_server: str | None,
    since: str,
    kinds: tuple[str, ...],
    model: str | None,
    stacks: bool,
    watch: bool,
    interval_s: float,
    as_json: bool,
) -> None:
    """Show the errors of all workers by kind: count, share of the events, first time, and an example.

    Reads the topic error-aggregates, which the aggregator (`forebay aggregate`) updates with a delay of a second or two. Does
    not join a consumer group or commit offsets. --json prints one object; with --watch, one object per line.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its problems are reported as errors
    settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
    run_async(
        _errors(
            settings,
            since=since,
            kinds=kinds,
            model=model,
            stacks=stacks,
            interval_s=interval_s if watch else None,
            as_json=as_json,
        )
    )


async def _errors(
    settings: Settings,
    *,
    since: str,
    kinds: tuple[str, ...],
    model: str | None,
    stacks: bool,
    interval_s: float | None,
    as_json: bool,
) -> None:
    from forebay.schemas.topics import ERROR_AGGREGATES, topic_name
    from forebay.stream.aggregate.aggregate_reader import AggregateView
    from forebay.stream.aggregate.summary import summarise
    from forebay.stream.aggregate.topic_follower import TopicFollower
    from forebay.stream.core.cancellation import raise_if_cancelled
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.dlq.filter import check_kinds, parse_time_range
    from forebay.stream.kafka.client import client_options

    clock, chosen = SystemClock(), check_kinds(kinds)

    def since_ms() -> int:
        # An age such as 15m is converted again at each update.
        start_ms, _ = parse_time_range(since, None, now_ms=clock.wall_ms())
        return start_ms or 0

    topic = topic_name(settings.topics.prefix, ERROR_AGGREGATES.name)
    view, follower = AggregateView(), TopicFollower(client_options(settings.kafka), [topic], clock=clock)
    try:
        await follower.start(since_ms=since_ms())
        while True:
            raise_if_cancelled()  # an interrupt
            async for _partition, records in follower.read_new():
                for record in records:
                    view.upsert(record.key, record.value)
            start = since_ms()
            view.forget(start - 86_400_000)
            summary = summarise(view, since_ms=start, kinds=chosen, model=model)
            _show(summary, stacks=stacks, as_json=as_json, again=interval_s is not None)
            if interval_s is None:
                return
            await asyncio.sleep(interval_s)
    finally:
        await follower.stop()


def _show(summary: Summary, *, stacks: bool, as_json: bool, again: bool) -> None:
    if as_json:
        echo_json(summary.to_dict(), indent=None if again else 2)
        return
    from forebay.stream.aggregate.render import no_errors_text, summary_text
    from forebay.stream.terminal.console import clear_terminal, print_whole

    if again:
        clear_terminal()
    print_whole(summary_text(summary, stacks=stacks) if summary.rows else no_errors_text(summary))

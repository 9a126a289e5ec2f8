"""`forebay models experiment`: which version is better by its labels, how certainly, and how much longer it takes to know."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option, watch_options
from forebay.stream.cli.output import echo, echo_json
from forebay.stream.cli.quality_groups import warn_of_other_groups
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from forebay.stream.aggregate.topic_follower import TopicFollower
    from forebay.stream.config.sections import Settings
    from forebay.stream.core.clock import Clock
    from forebay.stream.experiments.report import Comparison, ExperimentView

DEFAULT_SPAN: Final = "7d"


@dataclass(frozen=True, slots=True)
class _Request:
    """What to compare. metric, against, since: None for the defaults."""

    model: str
    metric: str | None
    against: int | None
    since: str | None


@dataclass(frozen=True, slots=True)
class Span:
    """From when on windows are compared, and why.

    stable: the version to compare with; None if the cluster's rollout does not say.
    shares: of the keys, by version; empty if versions had different shares in this time.
    route_by: the field of events by which versions get their keys; None for the record key.
    """

    since_ms: int
    reason: str
    stable: int | None
    shares: Mapping[int, float]
    route_by: str | None = None


@click.command(
    name="experiment",
    epilog=examples(
        ("forebay models experiment fraud", "the canary against the stable version, by the labels so far"),
        ("forebay models experiment fraud --metric accuracy --watch", "by another metric; refresh until Ctrl-C"),
        ("forebay models experiment fraud --against 3 --since 7d", "all versions against version 3, of a week"),
        ("forebay models experiment fraud --json | jq '.comparisons[].verdict'", "for scripts"),
    ),
)
@click.argument("name", metavar="NAME")
@config_options
@bootstrap_option
@click.option(
    "--metric",
    type=click.Choice(["accuracy", "log_loss", "brier", "mae", "mse"]),
    help="The metric to compare by. [default: rollouts.quality_metric, else log_loss; mae for regression]",
)
@click.option(
    "--against", type=click.IntRange(min=1), metavar="N", help="Compare with this version. [default: the stable one]"
)
@click.option(
    "--since",
    metavar="TIME",
    help="Only windows that begin after this event time: an age (2h, 7d), RFC 3339, or ms since 1970. "
    f"[default: the last change of the rollout if there is a canary, else {DEFAULT_SPAN}]",
)
@watch_options
@json_option
def command(
    source: ConfigSource,
    bootstrap_server: str | None,
    name: str,
    metric: str | None,
    against: int | None,
    since: str | None,
    watch: bool,
    interval_s: float,
    as_json: bool,
) -> None:
    """Show which version of the model NAME is better, by the labels of its predictions.

    Reads the topic quality, which the evaluator (`forebay evaluate`) writes when labels come. The unit is the key, and the
    interval of the difference is valid however often it is computed: so a decision may be made as soon as there is a verdict.
    Shadows are compared by the events that both versions predicted, which takes fewer labels. rollouts.min_effect is the
    smallest difference that matters, rollouts.quality_alpha the probability of an error. Changes nothing. --json prints one
    object; with --watch, one object per line.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its problems are reported as errors
    settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
    request = _Request(name, metric or settings.rollouts.quality_metric, against, since)
    run_async(_follow(settings, request, interval_s=interval_s if watch else None, as_json=as_json))


async def _follow(settings: Settings, request: _Request, *, interval_s: float | None, as_json: bool) -> None:
    from forebay.stream.config.evaluator_group import evaluator_group
    from forebay.stream.core.cancellation import raise_if_cancelled
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.experiments.experiment import Plan
    from forebay.stream.experiments.report import ExperimentView, report

    clock = SystemClock()
    span = await find_span(settings, request.model, request.since, clock=clock)
    view = ExperimentView(request.model, group=evaluator_group(settings), since_ms=span.since_ms)
    plan = Plan(settings.rollouts.quality_alpha, settings.rollouts.min_effect)
    against = request.against
    if against is None:
        against = span.stable
    follower = await open_quality(settings, span.since_ms, clock=clock)
    try:
        while True:
            raise_if_cancelled()  # an interrupt
            async for _partition, records in follower.read_new():
                for record in records:
                    view.read(record.value)
            comparisons = report(view, metric=request.metric, plan=plan, against=against, shares=span.shares)
            _show(request.model, span, view, comparisons=comparisons, as_json=as_json, again=interval_s is not None)
            if interval_s is None:
                return
            await asyncio.sleep(interval_s)
    finally:
        await follower.stop()


async def open_quality(settings: Settings, since_ms: int, *, clock: Clock) -> TopicFollower:
    """Return a follower of the topic quality, started. Raises BrokerError."""
    from forebay.schemas.topics import QUALITY, topic_name
    from forebay.stream.aggregate.topic_follower import TopicFollower
    from forebay.stream.kafka.client import client_options

    topic = topic_name(settings.topics.prefix, QUALITY.name)
    # Records are written after the events that they count. Clocks may differ by ten minutes.
    since_ms = max(0, since_ms - 600_000)
    return await TopicFollower.started(client_options(settings.kafka), [topic], since_ms=since_ms, clock=clock)


async def find_span(settings: Settings, model: str, since: str | None, *, clock: Clock) -> Span:
    """Return the time to compare: as asked for, or since the current revision of the model. Raises BrokerError."""
    from forebay.stream.config.moment import parse_moment
    from forebay.stream.control.rollout_store import RolloutStore
    from forebay.stream.rollouts.quality_checks import SWITCH_MS

    entry = None
    if settings.rollouts.enabled:
        store = RolloutStore(settings, clock=clock)
        try:
            await store.start()
            entry = next((entry for entry in reversed(store.log.history(model)) if entry.accepted), None)
        finally:
            await store.stop()
    now_ms = clock.wall_ms()
    current = None if entry is None else entry.revision
    stable = None if current is None else current.stable
    begin_ms = 0 if entry is None else entry.timestamp_ms + SWITCH_MS
    shares = {}
    if current is not None:
        shares = {canary.version: canary.weight / 100 for canary in current.canaries}
        shares[current.stable] = 1 - sum(shares.values())
    route_by = None if current is None else current.route_by
    if since is None and current is not None and current.canaries:
        return Span(begin_ms, f"revision {current.number}", stable, shares=shares, route_by=route_by)
    since_ms = parse_moment("--since", since or DEFAULT_SPAN, now_ms=now_ms)
    return Span(
        since_ms, since or DEFAULT_SPAN, stable, shares=shares if since_ms >= begin_ms else {}, route_by=route_by
    )


def _show(
    model: str, span: Span, view: ExperimentView, *, comparisons: list[Comparison], as_json: bool, again: bool
) -> None:
    if view.rejected:
        echo(f"skipped {quantity(view.rejected, 'record')} that cannot be added: {view.last_error}", err=True)
    warn_of_other_groups(view.group, view.other_groups)
    if span.route_by is not None:
        echo(
            f"note: versions get their keys by the field {span.route_by}, and the unit here is the record key: if events with "
            "the same value resemble each other and have several record keys, the intervals are too narrow",
            err=True,
        )
    if as_json:
        document = {
            "model": model,
            "route_by": span.route_by,
            "since": span.since_ms,
            "from": view.first_ms,
            "to": view.last_ms,
            "comparisons": [comparison.to_dict() for comparison in comparisons],
        }
        echo_json(document, indent=None if again else 2)
        return
    from forebay.stream.cli.models_experiment_render import experiment_text, nothing_text
    from forebay.stream.terminal.console import clear_terminal, print_whole

    if again:
        clear_terminal()
    print_whole(
        experiment_text(model, view, comparisons) if comparisons else nothing_text(model, view, since_ms=span.since_ms)
    )

"""`forebay models compare`: compare a shadow with the version that served."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option
from forebay.stream.cli.output import echo, echo_json
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings
    from forebay.stream.experiments.report import Comparison
    from forebay.stream.rollouts.shadow_report import ShadowReport


@click.command(
    name="compare",
    epilog=examples(
        ("forebay models compare fraud --shadow", "all that the topic holds"),
        ("forebay models compare fraud --shadow --since 2h", "the last two hours"),
        ("forebay models compare fraud --shadow --json | jq '.comparisons[].agreement'", "for scripts"),
    ),
)
@click.argument("name", metavar="NAME")
@config_options
@bootstrap_option
@click.option("--shadow", "from_shadow", is_flag=True, help="Compare the predictions of shadows. Required.")
@click.option(
    "--since", metavar="TIME", help="Only pairs written since TIME: 15m or 2h ago, RFC 3339, or ms since 1970."
)
@click.option(
    "--limit",
    type=click.IntRange(min=0, max=1_000),
    default=10,
    show_default=True,
    metavar="N",
    help="The number of events to show that differ most, for each two versions.",
)
@json_option
def command(
    source: ConfigSource,
    name: str,
    bootstrap_server: str | None,
    from_shadow: bool,
    since: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Compare the shadows of the model NAME with the versions that predicted the same events.

    Reads the topic shadow-predictions: how often the classes agree (with a 95 % confidence interval), how much the outputs
    differ, failures of one side only, latencies, and the events that differ most. With evaluate.enabled, also which version
    is better by the labels that have come (see `forebay models experiment`).
    """
    if not from_shadow:
        raise click.UsageError("give --shadow: only the predictions of shadows can be compared")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    from forebay.schemas.topics import topic_name
    from forebay.stream.config.moment import parse_moment
    from forebay.stream.core.clock import SystemClock

    settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
    since_ms = None if since is None else parse_moment("--since", since, now_ms=SystemClock().wall_ms())
    topic = topic_name(settings.topics.prefix, "shadow-predictions")
    report, others = run_async(_read(settings, topic, name, since_ms=since_ms, limit=limit, quiet=as_json))
    quality = run_async(_read_quality(settings, name, since_ms=since_ms)) if settings.evaluate.enabled else []
    if as_json:
        by_labels = [comparison.to_dict() for comparison in quality]
        document = {"model": name, "topic": topic, "since": since_ms, "comparisons": report.to_list()}
        echo_json({**document, "quality": by_labels})
        return
    from forebay.stream.cli.models_compare_render import print_report

    if report.versions:
        print_report(name, report, quality)
        return
    period = "" if since is None else " in this period"
    more = f"; it holds pairs of {', '.join(sorted(others))}" if others else ""
    echo(f"{topic} holds no pair of {name}{period}{more}", err=True)


async def _read_quality(settings: Settings, model: str, *, since_ms: int | None) -> list[Comparison]:
    """Return the comparisons of shadows by the labels of the events that both versions predicted."""
    from forebay.stream.cli.models_experiment import open_quality
    from forebay.stream.config.evaluator_group import evaluator_group
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.experiments.experiment import Plan
    from forebay.stream.experiments.report import ExperimentView, report

    view = ExperimentView(model, group=evaluator_group(settings), since_ms=since_ms or 0)
    follower = await open_quality(settings, since_ms or 0, clock=SystemClock())
    try:
        async for _, records in follower.read_new():
            for record in records:
                view.read(record.value)
    finally:
        await follower.stop()
    plan = Plan(settings.rollouts.quality_alpha, settings.rollouts.min_effect)
    found = report(view, metric=settings.rollouts.quality_metric, plan=plan, against=None, shares={})
    return [comparison for comparison in found if comparison.paired]


async def _read(
    settings: Settings, topic: str, model: str, *, since_ms: int | None, limit: int, quiet: bool
) -> tuple[ShadowReport, set[str]]:
    """Return the report about a model, and the names of other models that have pairs."""
    from forebay.schemas.errors import DataError
    from forebay.stream.cli.dlq_reading import bar
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.kafka.client import client_options
    from forebay.stream.kafka.consumer.topic_reader import TopicReader
    from forebay.stream.rollouts.shadow_prediction import decode_pair
    from forebay.stream.rollouts.shadow_report import ShadowReport

    report, others, unreadable = ShadowReport(num_largest=limit), set[str](), 0
    reader = TopicReader(
        client_options(settings.kafka), [topic], from_beginning=True, bounded=True, clock=SystemClock()
    )
    async with reader:
        ranges = await reader.offset_ranges(since_ms=since_ms)
        with bar(topic, quiet=quiet) as progress:
            async for _, records in reader.within(ranges, on_progress=progress):
                pairs = []
                for record in records:
                    try:
                        pair = decode_pair(record.value)
                    except DataError:
                        unreadable += 1
                        continue
                    if pair.model == model:
                        pairs.append(pair)
                    else:
                        others.add(pair.model)
                report.add(pairs)
    if unreadable:
        echo(f"{topic}: skipped {quantity(unreadable, 'record')} that cannot be read as a shadow prediction", err=True)
    return report, others

"""`forebay topics`: create or check the topics of the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option, timeout_option
from forebay.stream.cli.output import echo_json
from forebay.stream.cli.subcommands import SubcommandGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from forebay.stream.kafka.cluster.topics import CreateResult, TopicCheck

_STATUS_STYLES = {"created": "green", "would create": "cyan", "differs": "yellow", "refused": "bold red"}
_SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}

_NUMBERS = ("partitions", "replicas")

_timeout = timeout_option("Time limit for the cluster.", default=15.0)


@click.group(
    name="topics",
    cls=SubcommandGroup,
    answers={
        "delete": "Forebay deletes no topics; use a tool of Kafka, such as `kafka-topics.sh --delete`.",
        "list": "`forebay topics check` lists the topics.",
        "describe": "`forebay topics check --json` describes the topics.",
    },
    epilog=examples(
        ("forebay topics create --dry-run", "check what would be created and allowed"),
        ("forebay topics create", "create missing topics"),
        ("forebay topics check", "compare all topics with the catalogue"),
    ),
)
def command() -> None:
    """Create or check the topics that Forebay uses.

    Names come from input.topics and the catalogue, with topics.prefix prepended. Partitions and replicas come from
    topics.partitions and topics.replication_factor; retention, cleanup and sizes from the catalogue.
    """


@command.command(
    epilog=examples(
        ("forebay topics create", "create missing topics"),
        ("forebay topics create --dry-run --json", "only check, with JSON output"),
        (
            "forebay topics create --set topics.partitions=12 --set topics.replication_factor=3",
            "for a production cluster",
        ),
    )
)
@config_options
@bootstrap_option
@_timeout
@click.option(
    "--dry-run", is_flag=True, help="Ask the cluster whether it would allow the topics, without creating them."
)
@json_option
def create(source: ConfigSource, bootstrap_server: str | None, timeout_s: float, dry_run: bool, as_json: bool) -> int:
    """Create missing topics, including those of the aggregator and, with evaluate.enabled, of the evaluator.

    Existing topics are not changed. The exit status is 1 if the cluster refuses a topic.
    """
    settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
    # Imported late: they import the Kafka client.
    from forebay.stream.aggregate.topics import create_aggregator_topics
    from forebay.stream.evaluate.topics import create_evaluator_topics
    from forebay.stream.kafka.cluster.topics import create_topics

    async def create_all() -> tuple[CreateResult, ...]:
        done = await create_topics(settings, dry_run=dry_run, timeout_s=timeout_s)
        done += await create_aggregator_topics(settings, dry_run=dry_run, timeout_s=timeout_s)
        # After predictions, whose number of partitions labels must have.
        return (*done, *await create_evaluator_topics(settings, dry_run=dry_run, timeout_s=timeout_s))

    done = run_async(create_all())
    if as_json:
        _print_json([_created_json(result) for result in done])
    else:
        _print_created(done)
    return 1 if any(result.status == "refused" for result in done) else 0


@command.command(
    epilog=examples(
        ("forebay topics check", "check the configured cluster"),
        ("forebay topics check --bootstrap-server kafka:9092", "check another cluster"),
        ("forebay topics check --json", "for scripts"),
    )
)
@config_options
@bootstrap_option
@_timeout
@json_option
def check(source: ConfigSource, bootstrap_server: str | None, timeout_s: float, as_json: bool) -> int:
    """Compare the topics of workers, aggregator and evaluator with the catalogue.

    Nothing is changed. The exit status is 1 if there is an error, with which one of them cannot work. Warnings
    and notes are only printed. Missing topics of the aggregator are a warning, since workers do not need them.
    """
    settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
    # Imported late: they import the Kafka client.
    from forebay.stream.aggregate.topics import check_aggregator_topics
    from forebay.stream.evaluate.topics import check_evaluator_topics
    from forebay.stream.kafka.cluster.topics import check_topics

    async def check_all() -> TopicCheck:
        checked = await check_topics(settings, timeout_s=timeout_s)
        checked = checked.merge(await check_aggregator_topics(settings, timeout_s=timeout_s))
        return checked.merge(await check_evaluator_topics(settings, timeout_s=timeout_s))

    checked = run_async(check_all())
    if as_json:
        _print_json(_checked_json(checked))
    else:
        from forebay.stream.terminal.console import print_whole

        print_whole(_checked_table(checked))
        _print_findings(checked)
    return 1 if checked.errors else 0


def _created_json(result: CreateResult) -> dict[str, Any]:
    # The existing topic, else the requested one.
    shown = result.state or result.topic
    return {
        "topic": result.topic.name,
        "status": result.status,
        "partitions": shown.num_partitions,
        "replication_factor": shown.replication_factor,
        "configs": None if shown.configs is None else dict(shown.configs),
        "differences": [
            {"setting": difference.setting, "wanted": difference.wanted, "actual": difference.actual}
            for difference in result.differences
        ],
        "reason": result.reason,
    }


def _print_created(done: tuple[CreateResult, ...]) -> None:
    from rich.text import Text

    from forebay.stream.terminal.console import plain_table, print_whole, stdout_console

    table = plain_table("topic", "status", "partitions", "replicas", "retention", right=_NUMBERS)
    for result in done:
        shown = result.state or result.topic
        table.add_row(
            result.topic.name,
            Text(result.status, _STATUS_STYLES.get(result.status, "")),
            str(shown.num_partitions),
            str(shown.replication_factor),
            _retention(shown.configs),
        )
    print_whole(table)
    console = stdout_console()
    for result in done:
        for note in (*([result.reason] if result.reason else []), *map(str, result.differences)):
            style = _STATUS_STYLES[result.status]
            console.print(Text.assemble((f"{result.status}: ", style), f"{result.topic.name}: {note}"))


def _checked_json(checked: TopicCheck) -> dict[str, Any]:
    return {
        "ok": not checked.errors,
        "topics": [
            {
                "topic": state.name,
                "status": state.status,
                "partitions": state.num_partitions,
                "replication_factor": state.replication_factor,
                "configs": None if state.configs is None else dict(state.configs),
            }
            for state in checked.states.values()
        ],
        "findings": [
            {
                "severity": finding.severity,
                "topic": finding.topic,
                "kind": finding.kind,
                "message": finding.message,
                "remedy": finding.remedy,
            }
            for finding in checked.findings
        ],
    }


def _checked_table(checked: TopicCheck) -> Table:
    from rich.text import Text

    from forebay.stream.kafka.cluster.topic_plan import MAX_MESSAGE_BYTES
    from forebay.stream.terminal.console import plain_table

    table = plain_table("topic", "status", "partitions", "replicas", "retention", "largest message", right=_NUMBERS)
    for topic in checked.wanted:
        state = checked.states[topic.name]
        worst = next((finding.severity for finding in checked.findings if finding.topic == topic.name), "note")
        if state.status != "present":
            table.add_row(topic.name, Text(state.status, _SEVERITY_STYLES[worst]))
            continue
        limit = state.number(MAX_MESSAGE_BYTES)
        table.add_row(
            topic.name,
            Text("ok", "green") if worst == "note" else Text(worst, _SEVERITY_STYLES[worst]),
            str(state.num_partitions),
            str(state.replication_factor),
            _retention(state.configs),
            "not reported" if limit is None else f"{limit:,} bytes",
        )
    return table


def _retention(configs: Mapping[str, str] | None) -> str:
    from forebay.stream.core.time_format import duration
    from forebay.stream.kafka.cluster.topic_plan import CLEANUP_POLICY, RETENTION_MS

    try:
        policy, retention_ms = (configs or {})[CLEANUP_POLICY], int((configs or {})[RETENTION_MS])
    except (KeyError, ValueError):
        return "not reported"
    parts = [duration(retention_ms)] if "delete" in policy else []
    return ", ".join(parts + ["compacted"] * ("compact" in policy))


def _print_findings(checked: TopicCheck) -> None:
    from itertools import groupby

    from rich.text import Text

    from forebay.stream.terminal.console import stdout_console

    console = stdout_console()
    # Findings with the same remedy are printed together.
    for remedy, findings in groupby(checked.findings, key=lambda finding: finding.remedy):
        for finding in findings:
            severity = (f"{finding.severity}: ", _SEVERITY_STYLES[finding.severity])
            console.print(Text.assemble(severity, f"{finding.topic}: {finding.message}"))
        if remedy:
            console.print(Text.assemble(("hint: ", "yellow"), remedy))


def _print_json(document: object) -> None:
    echo_json(document)

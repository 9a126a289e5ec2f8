"""`forebay topics`: make the topics of the catalogue, or see whether they are as they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option, timeout_option
from forebay.stream.cli.output import echo_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from forebay.stream.kafka.cluster.topics import CreateResult, TopicCheck

_STATUS_STYLES = {"created": "green", "would create": "cyan", "differs": "yellow", "refused": "bold red"}
_SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}

_NUMBERS = ("partitions", "replicas")

_timeout = timeout_option("How long the cluster may take.", default=15.0)


@click.group(
    name="topics",
    epilog=examples(
        ("forebay topics create --dry-run", "what would be created, and whether the cluster would allow it"),
        ("forebay topics create", "create what is missing"),
        ("forebay topics check", "see whether all are as they should be"),
    ),
)
def command() -> None:
    """Create or check the topics that Forebay uses.

    Names come from input.topics and the catalogue, with topics.prefix before each; partitions and replicas from
    topics.partitions and topics.replication_factor; retention, cleanup and sizes from the catalogue.
    """


@command.command(
    epilog=examples(
        ("forebay topics create", "as forebay.toml and the catalogue have it"),
        ("forebay topics create --dry-run --json", "only ask, and answer for a script"),
        (
            "forebay topics create --set topics.partitions=12 --set topics.replication_factor=3",
            "for a production cluster",
        ),
    )
)
@config_options
@bootstrap_option
@_timeout
@click.option("--dry-run", is_flag=True, help="Ask the cluster whether it would allow it, and create nothing.")
@json_option
def create(source: ConfigSource, bootstrap_server: str | None, timeout_s: float, dry_run: bool, as_json: bool) -> int:
    """Create the topics that are missing, the aggregator's too. Existing topics are not changed.

    Exit status 1 if the cluster refuses one.
    """
    settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
    # Only now: they import the Kafka client.
    from forebay.stream.aggregate.topics import create_aggregator_topics
    from forebay.stream.kafka.cluster.topics import create_topics

    async def create_all() -> tuple[CreateResult, ...]:
        done = await create_topics(settings, dry_run=dry_run, timeout_s=timeout_s)
        return (*done, *await create_aggregator_topics(settings, dry_run=dry_run, timeout_s=timeout_s))

    done = run_async(create_all())
    if as_json:
        _print_json([_created_json(one) for one in done])
    else:
        _print_created(done)
    return 1 if any(one.status == "refused" for one in done) else 0


@command.command(
    epilog=examples(
        ("forebay topics check", "the cluster of forebay.toml"),
        ("forebay topics check --bootstrap-server kafka:9092", "another one"),
        ("forebay topics check --json", "for a script"),
    )
)
@config_options
@bootstrap_option
@_timeout
@json_option
def check(source: ConfigSource, bootstrap_server: str | None, timeout_s: float, as_json: bool) -> int:
    """Compare the topics of workers and aggregator with the catalogue. Changes nothing.

    Exit status 1 if there is an error: something with which a worker or the aggregator cannot do its work. Warnings and notes
    are told only; that the aggregator's topics are missing is a warning, since workers do without them.
    """
    settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
    # Only now: they import the Kafka client.
    from forebay.stream.aggregate.topics import check_aggregator_topics
    from forebay.stream.kafka.cluster.topics import check_topics

    async def check_all() -> TopicCheck:
        checked = await check_topics(settings, timeout_s=timeout_s)
        return checked.merge(await check_aggregator_topics(settings, timeout_s=timeout_s))

    checked = run_async(check_all())
    if as_json:
        _print_json(_checked_json(checked))
    else:
        from forebay.stream.terminal.console import print_whole

        print_whole(_checked_table(checked))
        _print_findings(checked)
    return 1 if checked.errors else 0


def _created_json(one: CreateResult) -> dict[str, Any]:
    # What is there, else what is asked for.
    shown = one.state or one.topic
    return {
        "topic": one.topic.name,
        "status": one.status,
        "partitions": shown.num_partitions,
        "replication_factor": shown.replication_factor,
        "configs": None if shown.configs is None else dict(shown.configs),
        "differences": [
            {"setting": each.setting, "wanted": each.wanted, "actual": each.actual} for each in one.differences
        ],
        "reason": one.reason,
    }


def _print_created(done: tuple[CreateResult, ...]) -> None:
    from rich.text import Text

    from forebay.stream.terminal.console import plain_table, print_whole, stdout_console

    table = plain_table("topic", "status", "partitions", "replicas", "kept", right=_NUMBERS)
    for one in done:
        shown = one.state or one.topic
        table.add_row(
            one.topic.name,
            Text(one.status, _STATUS_STYLES.get(one.status, "")),
            str(shown.num_partitions),
            str(shown.replication_factor),
            _kept(shown.configs),
        )
    print_whole(table)
    console = stdout_console()
    for one in done:
        for remark in (*([one.reason] if one.reason else []), *map(str, one.differences)):
            style = _STATUS_STYLES[one.status]
            console.print(Text.assemble((f"{one.status}: ", style), f"{one.topic.name}: {remark}"))


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

    table = plain_table("topic", "status", "partitions", "replicas", "kept", "largest message", right=_NUMBERS)
    for topic in checked.wanted:
        state = checked.states[topic.name]
        worst = next((each.severity for each in checked.findings if each.topic == topic.name), "note")
        if state.status != "present":
            table.add_row(topic.name, Text(state.status, _SEVERITY_STYLES[worst]))
            continue
        limit = state.number(MAX_MESSAGE_BYTES)
        table.add_row(
            topic.name,
            Text("ok", "green") if worst == "note" else Text(worst, _SEVERITY_STYLES[worst]),
            str(state.num_partitions),
            str(state.replication_factor),
            _kept(state.configs),
            "not reported" if limit is None else f"{limit:,} bytes",
        )
    return table


def _kept(configs: Mapping[str, str] | None) -> str:
    from forebay.stream.core.time_format import duration
    from forebay.stream.kafka.cluster.topic_plan import CLEANUP_POLICY, RETENTION_MS

    try:
        policy, retention_ms = (configs or {})[CLEANUP_POLICY], int((configs or {})[RETENTION_MS])
    except (KeyError, ValueError):
        return "not reported"
    kept = [duration(retention_ms)] if "delete" in policy else []
    return ", ".join(kept + ["compacted"] * ("compact" in policy))


def _print_findings(checked: TopicCheck) -> None:
    from itertools import groupby

    from rich.text import Text

    from forebay.stream.terminal.console import stdout_console

    console = stdout_console()
    # What has one remedy is told together.
    for remedy, findings in groupby(checked.findings, key=lambda finding: finding.remedy):
        for finding in findings:
            severity = (f"{finding.severity}: ", _SEVERITY_STYLES[finding.severity])
            console.print(Text.assemble(severity, f"{finding.topic}: {finding.message}"))
        if remedy:
            console.print(Text.assemble(("hint: ", "yellow"), remedy))


def _print_json(document: object) -> None:
    echo_json(document)

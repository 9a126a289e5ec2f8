"""`forebay tail`: follow a topic."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, cast

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option, timeout_option
from forebay.stream.cli.output import echo
from forebay.stream.cli.shown_decryption import EVENT_KINDS, PREDICTION_KINDS, ShownDecryption, open_decryption

if TYPE_CHECKING:
    from forebay.schemas.topics import TopicKey
    from forebay.stream.config.sections import Settings
    from forebay.stream.core.records import Record, TopicPartition
    from forebay.stream.decode.value_reader import ValueReader

KINDS = (
    *("predictions", "dead-letters", "error-aggregates", "alerts", "outcome-deltas", "late-events", "features"),
    *("review", "rollouts", "rollout-switches", "shadow-predictions", "labels", "quality", "drift", "audit"),
)


@click.command(
    name="tail",
    epilog=examples(
        ("forebay tail predictions", "follow until Ctrl-C"),
        ("forebay tail dead-letters --from-beginning --limit 10", "the oldest ten"),
        ("forebay tail predictions --json | jq .value.label", "only the labels"),
        ("forebay tail dead-letters --since 15m", "the last 15 minutes, then follow"),
        ("forebay tail predictions --decrypt", "with the plain values of encrypted fields"),
        ("forebay tail features --timeout 5", "stop after 5 seconds without a record"),
    ),
)
@click.argument("kind", type=click.Choice(KINDS), metavar="KIND")
@config_options
@bootstrap_option
@click.option("--topic", metavar="NAME", help="Full name of the topic. [default: <topics.prefix><KIND>]")
@click.option("--from-beginning", is_flag=True, help="Start at the oldest record instead of the next one.")
@click.option(
    "--since",
    metavar="TIME",
    help="Start at this time, by record timestamp: an age (15m, 2h), RFC 3339, or ms since 1970.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after this many records.")
@click.option(
    "--decrypt",
    is_flag=True,
    help="Show encrypted fields of predictions, review, features, dead-letters and late-events in plain text, with the keys "
    "of [encryption].",
)
@timeout_option("Stop when no record arrives for this long.", default=None)
@json_option
def command(
    source: ConfigSource,
    kind: str,
    bootstrap_server: str | None,
    topic: str | None,
    from_beginning: bool,
    since: str | None,
    limit: int | None,
    decrypt: bool,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Print the records of a topic as text, or as JSON with one object per line.

    KIND is predictions, dead-letters, error-aggregates, alerts, outcome-deltas, late-events, features, review, rollouts,
    rollout-switches, shadow-predictions, labels, quality, drift or audit. Only committed records are printed. Does not join a
    consumer group or commit offsets.

    Values in Avro, Protobuf, MessagePack, Arrow and by JSON Schema, and CloudEvents, are shown as JSON; values that cannot be
    read are shown as bytes, with the reason.

    Encrypted fields are shown as tokens, and with --decrypt in plain text. Take care where the output goes.
    """
    if decrypt and kind not in (*PREDICTION_KINDS, *EVENT_KINDS):
        raise click.UsageError(
            f"--decrypt is for {', '.join((*PREDICTION_KINDS, *EVENT_KINDS))}; {kind} is not encrypted"
        )
    if since is not None and from_beginning:
        raise click.UsageError("--from-beginning and --since exclude each other")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    from forebay.schemas.topics import topic_name
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.dlq.filter import parse_time_range

    settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
    name = topic
    if name is None:
        # `features` and `labels` stand for the topics that are configured, whatever their names.
        base = {"features": settings.input.topics[0], "labels": settings.evaluate.labels_topic}.get(kind, kind)
        name = topic_name(settings.topics.prefix, base)
    run_async(
        _tail(
            settings,
            cast("TopicKey", kind),
            name,
            from_beginning=from_beginning,
            since_ms=parse_time_range(since, None, now_ms=SystemClock().wall_ms())[0],
            limit=limit,
            timeout_s=timeout_s,
            as_json=as_json,
            decryption=open_decryption(settings, kind, name) if decrypt else None,
        )
    )


async def _tail(
    settings: Settings,
    kind: TopicKey,
    topic: str,
    *,
    from_beginning: bool,
    since_ms: int | None,
    limit: int | None,
    timeout_s: float | None,
    as_json: bool,
    decryption: ShownDecryption | None,
) -> None:
    from forebay.stream.cli.value_reading import by_source_topic, open_value_reader
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.kafka.client import client_options
    from forebay.stream.kafka.consumer.topic_reader import TopicReader

    shown = 0
    reader = TopicReader(
        client_options(settings.kafka), [topic], from_beginning=from_beginning, since_ms=since_ms, clock=SystemClock()
    )
    async with reader, open_value_reader(settings) as values:
        if not as_json and sys.stderr.isatty():
            start = "from the beginning" if from_beginning else "from now on" if since_ms is None else "since then"
            echo(f"{topic}: {start}", err=True)
        async for partition, records in reader.polls(idle_timeout_s=timeout_s):
            found = [_decrypted(decryption, topic, record) for record in records]
            for source, of_source in by_source_topic(topic, [record for record, _ in found]).items():
                await values.resolve(source, of_source)
            for record, fault in found:
                echo(_shown(values, kind, partition, record, as_json=as_json, fault=fault))
                shown += 1
                if shown == limit:
                    return


def _decrypted(decryption: ShownDecryption | None, topic: str, record: Record) -> tuple[Record, str | None]:
    """Return a record for people, and why it cannot be decrypted if that was asked for."""
    from forebay.stream.cli.value_reading import source_topic

    return (record, None) if decryption is None else decryption.decrypt(source_topic(record) or topic, record)


def _shown(
    values: ValueReader,
    kind: TopicKey,
    partition: TopicPartition,
    record: Record,
    *,
    as_json: bool,
    fault: str | None,
) -> str | bytes:
    """Return the record as a line of text or JSON, with its value as a document if it can be read.

    fault: why it cannot be decrypted.
    """
    from forebay.stream.cli.value_reading import source_topic
    from forebay.stream.terminal.record_format import as_json as to_json
    from forebay.stream.terminal.record_format import as_line, printable

    decoded, read = values.decoded(source_topic(record) or partition.topic, record)
    about = read.about() if fault is None else {**read.about(), "undecryptable": fault}
    if as_json:
        return to_json(partition, decoded, about=about)
    unread = about.get("unread")
    line = as_line(kind, partition, decoded, unread=None if unread is None else str(unread))
    return line if fault is None else f"{line}  (not decrypted: {printable(fault)})"

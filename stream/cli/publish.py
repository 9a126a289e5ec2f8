"""`forebay publish`: publish one event from the command line, or the events of a file."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Unpack, cast

import click

from forebay.schemas.errors import ConfigError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import (
    ConfigSource,
    bootstrap_option,
    config_options,
    json_option,
    parse_column_types,
    parse_delimiter,
    type_option,
)
from forebay.stream.cli.publish_check import find_signature, outcome_topics, warn
from forebay.stream.cli.publish_file import send_file
from forebay.stream.cli.publish_format import (
    EVENT_FORMATS,
    FormatOptionValues,
    check_unsuitable,
    chosen_format,
    format_options,
    show_first,
    with_format,
)
from forebay.stream.cli.publish_labels import (
    LabelOptionValues,
    check_label_use,
    find_label_signature,
    is_labels_topic,
    label_job_options,
    label_options,
    values_by_option,
)
from forebay.stream.cli.publish_one import print_published, publish_and_wait

if TYPE_CHECKING:
    from forebay.models.data.row_source import ReadOptions
    from forebay.models.data.table_options import TableFormat
    from forebay.stream.config.load import LoadedSettings
    from forebay.stream.config.sections import Settings
    from forebay.stream.publish.event_times import TimeUnit
    from forebay.stream.publish.inspection import ServedSignature
    from forebay.stream.publish.publish_job import LabelOptions, PublishJob


class PublishOptions(LabelOptionValues, FormatOptionValues):
    """The options of the command, by parameter name."""

    file: str | None
    topic: str | None
    features: str | None
    event_id: str | None
    key: str | None
    model: str | None
    deadline_ms: int | None
    wait_s: float | None
    headers: tuple[str, ...]
    raw: bool
    id_column: str | None
    timestamp_column: str | None
    key_column: str | None
    text_columns: tuple[str, ...]
    column_types: tuple[str, ...]
    delimiter: str | None
    timezone: str | None
    timestamp_unit: TimeUnit | None
    rate: float
    limit: int | None
    skip_bad_lines: bool
    check: bool | None


@click.command(
    name="publish",
    epilog=examples(
        ("forebay publish --features '[0.5, 3, 7]'", "one event"),
        ("forebay publish --features 'carrier=UA dep_delay=42' --key UA1545", "one event, with features by name"),
        ("forebay publish --features '[0.5, 3, 7]' --wait 30", "one event, and its prediction"),
        ("forebay publish events.jsonl --rate 1000", "a file, at 1,000 events per second"),
        ("forebay publish flights.csv.gz --key-column tailnum", "a file whose columns become features"),
        ("forebay publish 's3://bucket/flights/*.parquet'", "all files of a pattern, in the order of their names"),
        ("forebay publish outcomes.csv --topic labels --label-column arrived_late --key-column tailnum", "labels"),
        (
            "forebay publish flights.csv --format avro --subject flights-value",
            "events in Avro, by the subject's latest schema",
        ),
        ("forebay publish flights.csv --format protobuf --dry-run", "the first event, without sending it"),
        ("tail -f events.jsonl | forebay publish -", "events as they arrive"),
        ("forebay publish broken.jsonl --raw", "unchanged lines, to see how invalid ones are handled"),
    ),
)
@click.argument("file", required=False, metavar="[FILE]")
@config_options
@bootstrap_option
@click.option("--topic", metavar="NAME", help="Full name of the topic. [default: the first of input.topics]")
@click.option("--features", metavar="VALUES", help="One event: a JSON array or object, or name=value pairs.")
@click.option("--id", "event_id", metavar="TEXT", help="One event: its id. [default: a random id]")
@click.option("--key", metavar="TEXT", help="One event: its record key. Order is kept per key.")
@click.option("--model", metavar="NAME", help="The model that is to predict the events. [default: that of the topic]")
@click.option(
    "--deadline-ms",
    type=click.IntRange(min=0),
    metavar="MS",
    help="Deadline of the prediction, MS after publishing; an event that misses it becomes a dead letter.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="One event: wait at most SECONDS for its prediction and print it; exit status 1 if there is none.",
)
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A record header; may be repeated.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "tsv", "parquet", "arrow", *EVENT_FORMATS]),
    help="The file's format, or that of the events (see --event-format). [default: inferred from the file's name; jsonl for -]",
)
@format_options
@click.option("--raw", is_flag=True, help="Send each line unchanged and unchecked.")
@click.option(
    "--id-column", metavar="NAME", help="Column of the event ids. [default: id; without it, <file>:<row number>]"
)
@click.option(
    "--timestamp-column",
    metavar="NAME",
    help="Column of the event times. [default: timestamp; without it, the time of publishing]",
)
@click.option(
    "--key-column",
    metavar="NAME",
    help="Column of the record keys; it also stays a feature. [default: key, if there is one]",
)
@label_options
@click.option(
    "--text-column",
    "text_columns",
    multiple=True,
    metavar="NAME",
    help="CSV: keep this column as text; may be repeated.",
)
@type_option
@click.option("--delimiter", metavar="CHARACTER", help="CSV: the separator of values; `tab` for a tab. [default: ,]")
@click.option(
    "--timezone",
    metavar="ZONE",
    help="Time zone of times without an offset, such as UTC; without this option they are refused.",
)
@click.option(
    "--timestamp-unit",
    type=click.Choice(["s", "ms", "us", "ns"]),
    help="Unit of timestamps that are numbers. [default: ms]",
)
@click.option(
    "--rate", type=click.FloatRange(min=0), default=0, metavar="N", help="Events per second; 0: as fast as possible."
)
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Stop after this many events.")
@click.option("--skip-bad-lines", is_flag=True, help="Skip and count lines that cannot be published.")
@click.option(
    "--check/--no-check",
    "check",
    default=None,
    help="Check every event against the model's signature, or none. [default: the first 100, if the model is found]",
)
@json_option
def command(
    source: ConfigSource, bootstrap_server: str | None, as_json: bool, **options: Unpack[PublishOptions]
) -> int:
    """Publish one event, or the events or labels of files.

    --features gives one event. FILE holds JSON lines, CSV, TSV, Parquet or Arrow; text can be compressed (.gz, .zst). It is a
    path, a pattern in quotes such as 'data/*.csv', or a URL such as s3://bucket/data.csv. A JSON line with the
    field `features` is sent as an event; the columns of any other row become features. The file can be of any size: it is read
    while it is sent. `-` is standard input.

    With --event-format (or --format) avro, protobuf or json-schema, the columns become the fields of the subject's schema,
    whose types say how values are read; a column a.b is the field b of a record a. All rows are checked before any is sent.
    msgpack and cloudevents hold the event as JSON has it.

    With --topic and the topic of labels, each row becomes a label: what really happened to an event. The key has to be that of
    the event, so that the label reaches the partition of its prediction.
    """
    _check_use(options)
    # The client's log repeats the errors reported here.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    from forebay.stream.publish.features import parse_features

    loaded = source.load({"kafka.bootstrap_servers": bootstrap_server})
    labels = is_labels_topic(loaded.settings, options["topic"])
    check_label_use(labels, values_by_option(options), _options_of_events(options))
    headers = tuple(_header(text) for text in options["headers"])
    if labels:
        signature = find_label_signature(loaded, model=_named_model(options), wanted=options["check"])
    else:
        signature = _find_signature(loaded, options)
    job = _make_job(loaded.settings, options, headers, signature)
    categories = {} if signature is None else signature.categories()
    if (chosen := chosen_format(options)) is not None:
        always = _options_of_events(options) | {
            "--deadline-ms": None,
            "--topic with the topic of labels": labels or None,
        }
        names = ("model", "deadline_ms", "id_column", "timestamp_column")
        check_unsuitable(chosen, always, {f"--{name.replace('_', '-')}": options[name] for name in names})  # type: ignore[literal-required]
        job = with_format(job, chosen, options, loaded.settings)
    if options["features"] is None:
        assert options["file"] is not None
        read = _read_options(options, categories)
        if options["dry_run"]:
            show_first(job, options["file"], read, as_json=as_json)
        else:
            check = options["check"] is not False and not options["skip_bad_lines"]
            send_file(job, options["file"], read, check=check, warn=warn, as_json=as_json)
        return 0
    event = (parse_features(options["features"], categories), options["event_id"], options["key"])
    if options["wait_s"] is None:
        print_published(job, run_async(job.publish_one(*event)), as_json)
        return 0
    outputs = outcome_topics(loaded.settings, model=_named_model(options), topic=options["topic"])
    return run_async(
        publish_and_wait(job, event, loaded.settings, outputs=outputs, wait_s=options["wait_s"], as_json=as_json)
    )


def _check_use(options: PublishOptions) -> None:
    file, features = options["file"], options["features"]
    if (file is None) == (features is None):
        raise click.UsageError("give either a FILE (- for standard input) or --features")
    for option, value in (_file_options(options) if file is None else _event_options(options)).items():
        if value is not None:
            raise click.UsageError(f"{option} can only be used with {'a FILE' if file is None else '--features'}")
    if options["raw"] and options["check"]:
        raise click.UsageError("--check cannot be used with --raw, which sends lines unchanged")


def _event_options(options: PublishOptions) -> dict[str, object]:
    """Return the options for a single event, with their values; None if not set."""
    return {"--id": options["event_id"], "--key": options["key"], "--wait": options["wait_s"]}


def _options_of_events(options: PublishOptions) -> dict[str, object]:
    """Return the options for events, not labels, with their values; None if not set."""
    return {
        "--features": options["features"],
        "--raw": options["raw"] or None,
        "--deadline-ms": options["deadline_ms"],
    }


def _file_options(options: PublishOptions) -> dict[str, object]:
    """Return the options for files, with their values; None if not set."""
    return {
        "--format": options["form"],
        "--dry-run": options["dry_run"] or None,
        "--raw": options["raw"] or None,
        "--id-column": options["id_column"],
        "--timestamp-column": options["timestamp_column"],
        "--key-column": options["key_column"],
        "--text-column": options["text_columns"] or None,
        "--type": options["column_types"] or None,
        "--delimiter": options["delimiter"],
        "--timezone": options["timezone"],
        "--timestamp-unit": options["timestamp_unit"],
        "--limit": options["limit"],
        "--skip-bad-lines": options["skip_bad_lines"] or None,
    }


def _input_topics(settings: Settings) -> list[str]:
    from forebay.schemas.topics import topic_name

    return [topic_name(settings.topics.prefix, name) for name in settings.input.topics]


def _find_signature(loaded: LoadedSettings, options: PublishOptions) -> ServedSignature | None:
    """Return the signature against which the events are checked; None if they are not checked."""
    topic = options["topic"]
    return find_signature(
        loaded,
        model=_named_model(options),
        topic=topic,
        other_topic=topic is not None and topic not in _input_topics(loaded.settings),
        wanted=False if options["raw"] else options["check"],
        warn=warn,
    )


def _make_job(
    settings: Settings,
    options: PublishOptions,
    headers: tuple[tuple[str, bytes], ...],
    signature: ServedSignature | None,
) -> PublishJob:
    from forebay.stream.cli.publish_encryption import event_encryption
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.kafka.client import client_options
    from forebay.stream.publish.event_builder import Columns
    from forebay.stream.publish.event_times import TimeRule, parse_zone
    from forebay.stream.publish.inspection import EventCheck, Inspection
    from forebay.stream.publish.publish_job import PublishJob

    labels = is_labels_topic(settings, options["topic"])
    event_check = None if signature is None or labels else EventCheck(signature, headers)
    timezone = options["timezone"]
    return PublishJob(
        options=client_options(settings.kafka),
        topic=options["topic"] or _input_topics(settings)[0],
        headers=headers,
        columns=Columns(options["id_column"], options["timestamp_column"], options["key_column"]),
        times=TimeRule(None if timezone is None else parse_zone(timezone), options["timestamp_unit"] or "ms"),
        model=options["model"],
        deadline_after_ms=options["deadline_ms"],
        rate=options["rate"] or None,
        limit=options["limit"],
        skip_invalid=options["skip_bad_lines"],
        clock=SystemClock(),
        inspection=None if options["raw"] else Inspection(event_check, options["check"] is True, warn),
        labels=_label_options(settings, options, signature) if labels else None,
        encryption=None if labels or options["raw"] else event_encryption(settings, options["topic"]),
    )


def _label_options(settings: Settings, options: PublishOptions, signature: ServedSignature | None) -> LabelOptions:
    from forebay.stream.publish.label_builder import LabelColumns

    columns = LabelColumns(
        id=options["id_column"],
        label=options["label_column"],
        timestamp=options["timestamp_column"],
        key=options["key_column"],
        topic=options["topic_column"],
        partition=options["partition_column"],
        offset=options["offset_column"],
        fields=options["field_columns"],
        default_fields=settings.evaluate.slices,
    )
    return label_job_options(settings, columns, signature, model=_named_model(options))


def _read_options(options: PublishOptions, categories: Mapping[str, Collection[str]]) -> ReadOptions:
    from forebay.models.data.csv_rows import CsvOptions
    from forebay.models.data.row_source import ReadOptions

    types = parse_column_types(options["column_types"], options["text_columns"])
    csv = CsvOptions(
        parse_delimiter(options["delimiter"]),
        text_columns=[name for name, kind in types.items() if kind == "text"],
        categories=categories,
        types=types,
    )
    form = None if options["form"] in EVENT_FORMATS else options["form"]
    return ReadOptions(cast("TableFormat | None", form), options["raw"], csv)


def _named_model(options: PublishOptions) -> str | None:
    """Return the model that an option or a header names for all events."""
    from forebay.schemas.headers import MODEL

    named = [content for name, content in map(_header, options["headers"]) if name.lower() == MODEL]
    return options["model"] or (named[-1].decode() if named else None)


def _header(text: str) -> tuple[str, bytes]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(
            f"--header {text!r} is not NAME=VALUE", kind="header", remedy="write it like --header source=test"
        )
    return name, value.encode()

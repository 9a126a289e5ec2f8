"""The options of `forebay publish` for events in other formats than JSON, and `--dry-run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

import click

from forebay.schemas.errors import ConfigError, DataError
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.output import echo, echo_json

if TYPE_CHECKING:
    from forebay.models.data.row_source import ReadOptions
    from forebay.stream.config.sections import Settings
    from forebay.stream.publish.arrow_values import ArrowValues
    from forebay.stream.publish.event_times import TimeRule
    from forebay.stream.publish.formatted_builder import EnvelopeValues, SchemaValues
    from forebay.stream.publish.publish_job import PublishJob
    from forebay.stream.schema_registry.schema import RegisteredSchema

SCHEMA_FORMATS: Final = {"avro": "AVRO", "protobuf": "PROTOBUF", "json-schema": "JSON"}
ENVELOPE_FORMATS: Final = ("msgpack", "cloudevents")
EVENT_FORMATS: Final = (*SCHEMA_FORMATS, *ENVELOPE_FORMATS)
"""Formats that `--format` names, too; arrow is the format of a file there."""
ARROW: Final = "arrow"


class FormatOptionValues(TypedDict):
    """The options, by parameter name."""

    form: str | None
    event_format: str | None
    subject: str | None
    schema_file: Path | None
    dry_run: bool


def format_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Show the first event of the file, and send nothing."),
        click.option(
            "--schema",
            "schema_file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            help="The schema among those of the subject to write with. [default: the latest]",
        ),
        click.option(
            "--subject", metavar="NAME", help="The subject of the schema in the registry. [default: <topic>-value]"
        ),
        click.option(
            "--event-format",
            type=click.Choice(["json", *EVENT_FORMATS, ARROW]),
            help="The format of the events; --format takes it, too, except arrow. With a schema, its fields are the columns. "
            "arrow: 256 rows in each record. [default: json]",
        ),
    ):
        function = option(function)
    return function


def chosen_format(options: FormatOptionValues) -> str | None:
    """Return the format of events; None for JSON, and for what the other options alone say. Raises UsageError."""
    chosen = options["event_format"]
    if options["form"] in EVENT_FORMATS:
        if chosen not in (None, options["form"]):
            raise click.UsageError(f"--format {options['form']} and --event-format {chosen} exclude each other")
        chosen = options["form"]
    chosen = None if chosen == "json" else chosen
    for name, value in (("--subject", options["subject"]), ("--schema", options["schema_file"])):
        if value is not None and chosen not in SCHEMA_FORMATS:
            raise click.UsageError(f"{name} needs --event-format {', '.join(SCHEMA_FORMATS)}")
    return chosen


def check_unsuitable(chosen: str, always: Mapping[str, object], with_schema: Mapping[str, object]) -> None:
    """Raise UsageError for options that have no meaning with a format.

    always, with_schema: options by name, with their values, None if not set: those that no other format than JSON has, and
        those that formats with a schema do not have.
    """
    for name, value in {**always, **(with_schema if chosen not in ENVELOPE_FORMATS else {})}.items():
        if value is not None:
            raise click.UsageError(f"{name} cannot be used with --event-format {chosen}")


def with_format(job: PublishJob, chosen: str, options: FormatOptionValues, settings: Settings) -> PublishJob:
    """Return the job with the format. Raises ConfigError, RegistryError."""
    values: SchemaValues | EnvelopeValues | ArrowValues
    inspection = None  # what has a schema is checked by it
    if chosen == ARROW:
        values = _arrow_values(job.times)
    elif chosen in SCHEMA_FORMATS:
        subject = options["subject"] or f"{job.topic}-value"
        file = options["schema_file"]
        text = None if file is None else file.read_text(encoding="utf-8")
        schema = run_async(_find_schema(settings, subject, chosen, file=file, text=text))
        values = _schema_values(chosen, schema, subject, job.times)
    else:
        from forebay.stream.publish.envelope_values import CloudEventsValues, MessagePackValues

        values = MessagePackValues() if chosen == "msgpack" else CloudEventsValues("forebay publish")
        inspection = None if job.inspection is None else job.inspection.in_format(values.headers, values.event)
    return replace(job, format=values, headers=(*values.headers, *job.headers), inspection=inspection)


def _arrow_values(times: TimeRule) -> ArrowValues:
    try:
        from forebay.stream.publish.arrow_values import ArrowValues
    except ImportError as error:
        raise ConfigError(
            f"--event-format arrow needs the Python package {error.name}",
            kind="missing_package",
            remedy="pip install 'forebay[arrow]'",
        ) from None
    return ArrowValues(times)


async def _find_schema(
    settings: Settings, subject: str, chosen: str, *, file: Path | None, text: str | None
) -> RegisteredSchema:
    """Return the latest schema of a subject, or that of the file's text. Raises ConfigError, RegistryError."""
    from forebay.stream.schema_registry.connection import open_registry
    from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaRef

    wanted = SCHEMA_FORMATS[chosen]
    async with open_registry(settings.schema_registry) as client:
        if text is None:
            schema = await client.latest(subject)
        else:
            number = await client.registered_id(subject, wanted, text)  # type: ignore[arg-type]
            if number is None:
                raise ConfigError(
                    f"subject {subject} does not have the schema in {file}",
                    kind="schema_not_registered",
                    remedy=f"`forebay schemas register --subject {subject} --file {file}` registers it",
                )
            schema = RegisteredSchema(SchemaRef(id=number), wanted, text)  # type: ignore[arg-type]
    if schema.type != wanted:
        names = {registered: name for name, registered in SCHEMA_FORMATS.items()}
        raise ConfigError(
            f"the schema of subject {subject} is {names[schema.type]}, not {chosen}",
            kind="schema_type",
            remedy=f"use --event-format {names[schema.type]}, or --subject names another subject",
        )
    if schema.rules:
        raise ConfigError(
            f"the schema of subject {subject} has rules that Forebay does not execute: {', '.join(schema.rules)}",
            kind="unsupported_schema",
            remedy="publish with a client that executes them, or use a subject without rules",
        )
    return schema


def _schema_values(chosen: str, schema: RegisteredSchema, subject: str, times: TimeRule) -> SchemaValues:
    from forebay.stream.decode.formats.payload import InvalidPayload
    from forebay.stream.publish.row_fault import RowFault

    try:
        if chosen == "avro":
            from forebay.stream.publish.avro_values import AvroValues

            return AvroValues(schema, times)
        if chosen == "protobuf":
            from forebay.stream.publish.protobuf_values import ProtobufValues

            return ProtobufValues(schema, times)
        from forebay.stream.publish.json_values import JsonSchemaValues

        return JsonSchemaValues(schema, times)
    except (InvalidPayload, RowFault, ValueError) as error:
        raise ConfigError(
            f"the schema of subject {subject} cannot be used: {error}",
            kind="unsupported_schema",
            remedy="--subject names another subject",
        ) from None
    except ImportError as error:
        raise ConfigError(
            f"--event-format {chosen} needs the Python package {error.name}",
            kind="missing_package",
            remedy=f"pip install 'forebay[{chosen}]'",
        ) from None


def show_first(job: PublishJob, file: str, options: ReadOptions, *, as_json: bool) -> None:
    """Print the first event of a file as it would be sent. Raises DataError."""
    from forebay.models.data.input_row import InputRow, InvalidRow
    from forebay.models.data.row_source import open_rows
    from forebay.stream.decode.json_values import to_json
    from forebay.stream.publish.rate_limited_publish import build_message

    with open_rows(file, options, job.check_columns) as source:
        row = next((item for item in job.records_of(source.rows) if item is not None), None)
        if row is None:
            raise DataError(f"{source.name} has no rows", kind="no_rows", remedy="name another file")
        message = build_message(row, job.row_builder(source.name), source.name, job.headers)
        if isinstance(message, InvalidRow):
            raise DataError(f"{message.place}: {message.reason}", kind="bad_row", remedy=message.remedy)
        assert isinstance(row, InputRow)
    shown: dict[str, object] = {
        "topic": job.topic,
        "key": None if message.key is None else message.key.decode("utf-8", "backslashreplace"),
        "headers": {name: content.decode("utf-8", "backslashreplace") for name, content in job.headers},
        "format": "json" if job.format is None else job.format.name,
        "bytes": len(message.value),
        "begins_with": message.value[:8].hex(),
    }
    import orjson

    document = orjson.loads(message.value) if job.format is None else job.format.decode(message.value)
    value = orjson.loads(to_json(document))
    if as_json:
        echo_json({**shown, "value": value}, indent=None)
        return
    for name, content in shown.items():
        echo(f"{name:<12}{content}")
    echo("value")
    echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
    echo("nothing was sent", err=True)

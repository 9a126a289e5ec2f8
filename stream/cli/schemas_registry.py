"""`forebay schemas register`, `list` and `show`: the schemas of a schema registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from forebay.schemas.errors import ConfigError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, config_options, json_option
from forebay.stream.cli.output import echo, echo_json

if TYPE_CHECKING:
    from forebay.stream.config.sections import SchemaRegistrySection, Settings
    from forebay.stream.output.prediction_format import OutputSubject
    from forebay.stream.schema_registry.answers import Reference
    from forebay.stream.schema_registry.registering import Registration
    from forebay.stream.schema_registry.schema import RegisteredSchema, SchemaType

MAX_FILE_BYTES = 8 << 20


@click.command(
    name="register",
    epilog=examples(
        ("forebay schemas register --subject features-value --file event.avsc --dry-run", "check only"),
        ("forebay schemas register --subject features-value --file event.avsc", "check and register"),
        (
            "forebay schemas register --outputs --dry-run",
            "whether the schemas of the configured outputs are compatible",
        ),
        (
            "forebay schemas register --subject orders-value --file order.proto --reference common.proto=common-value:3",
            "a schema that imports another one",
        ),
    ),
)
@config_options
@click.option("--subject", metavar="NAME", help="Subject, such as features-value for the topic features.")
@click.option("--file", "path", metavar="PATH", help="File with the schema.")
@click.option(
    "--outputs",
    is_flag=True,
    help="Register the schemas of the topics that are written in the configured output.format, in their subjects.",
)
@click.option(
    "--type",
    "named_type",
    type=click.Choice(["avro", "protobuf", "json"], case_sensitive=False),
    help="Type of the schema. Default: by the name of the file (.avsc, .proto, .json).",
)
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="NAME=SUBJECT:VERSION",
    help="A schema to which this one refers; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Check the schema and its compatibility, and register nothing.")
@json_option
def register_command(
    source: ConfigSource,
    subject: str | None,
    path: str | None,
    outputs: bool,
    named_type: str | None,
    references: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> int:
    """Register a schema in the schema registry, after checking that it is compatible with the subject's versions.

    The schema is parsed first, with its references, as a worker would. A schema that the subject has already is not registered
    again. The exit status is 1 if the schema is not compatible, and 2 if it is invalid.
    """
    settings = source.load().settings
    if outputs:
        if subject is not None or path is not None or named_type is not None or references:
            raise click.UsageError("--outputs takes subjects and schemas from the configuration")
        return _register_outputs(settings, dry_run=dry_run, as_json=as_json)
    if subject is None or path is None:
        raise click.UsageError("give --subject and --file, or --outputs")
    section = settings.schema_registry
    from forebay.stream.schema_registry.registering import parse_reference, type_of_file

    schema_type, text = type_of_file(path, named_type), _read(path)
    parsed = [parse_reference(reference) for reference in references]
    result = run_async(_register(section, subject, schema_type, text, references=parsed, dry_run=dry_run, path=path))
    if as_json:
        echo_json(result.to_dict() | {"dry_run": dry_run})
    else:
        _print_registration(result)
    return 1 if result.conflicts else 0


def _register_outputs(settings: Settings, *, dry_run: bool, as_json: bool) -> int:
    """Register the schemas of the configured outputs. Return 1 if one is not compatible."""
    from forebay.stream.output.prediction_format import prediction_subjects

    section = settings.output
    if section.format == "json":
        raise ConfigError(
            "output.format is json, which needs no schema",
            kind="no_output_schema",
            remedy='set output.format = "avro" or "protobuf"',
        )
    subjects = prediction_subjects(section.format, section.subject_name_strategy, settings.all_prediction_topics())
    results = run_async(_register_subjects(settings.schema_registry, subjects, dry_run=dry_run))
    if as_json:
        echo_json([result.to_dict() | {"dry_run": dry_run} for result in results])
    else:
        for result in results:
            _print_registration(result)
    return 1 if any(result.conflicts for result in results) else 0


async def _register_subjects(
    section: SchemaRegistrySection, subjects: list[OutputSubject], *, dry_run: bool
) -> list[Registration]:
    from forebay.stream.schema_registry.connection import open_registry
    from forebay.stream.schema_registry.registering import register_schema

    async with open_registry(section) as client:
        return [
            await register_schema(client, subject.name, subject.type, subject.text, dry_run=dry_run)
            for subject in subjects
        ]


async def _register(
    section: SchemaRegistrySection,
    subject: str,
    schema_type: SchemaType,
    text: str,
    *,
    references: list[Reference],
    dry_run: bool,
    path: str,
) -> Registration:
    from forebay.stream.decode.formats.schema_check import check_schema
    from forebay.stream.schema_registry.connection import open_registry
    from forebay.stream.schema_registry.registering import register_schema

    async with open_registry(section) as client:
        check_schema(await client.with_references(schema_type, text, references, about=path), about=path)
        return await register_schema(client, subject, schema_type, text, references=references, dry_run=dry_run)


def _print_registration(result: Registration) -> None:
    if result.existed:
        echo(f"{result.subject} has this schema already, with id {result.id}")
    elif result.conflicts:
        echo(f"{result.subject}: the schema is not compatible, and was not registered")
        for conflict in result.conflicts:
            echo(f"  {conflict}")
        echo("Change the schema, or the compatibility level of the subject.")
    elif result.id is None:
        echo(f"{result.subject}: the schema is compatible; nothing was registered (--dry-run)")
    else:
        echo(f"{result.subject}: the schema is compatible, and was registered with id {result.id}")


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES:,} bytes, which is too much for a schema")
        return content.decode()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", remedy="check the path") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not text in UTF-8", remedy="a schema is a text file") from None


@click.command(
    name="list",
    epilog=examples(("forebay schemas list", "one line per subject"), ("forebay schemas list --json", "for scripts")),
)
@config_options
@json_option
def list_command(source: ConfigSource, as_json: bool) -> None:
    """List the subjects of the schema registry: versions, and type and id of the latest one."""
    section = source.load().settings.schema_registry
    rows = run_async(_subjects(section))
    if as_json:
        echo_json([{**_described(schema), "versions": versions} for schema, versions in rows])
        return
    if not rows:
        echo("the schema registry has no subjects", err=True)
    width = max((len(schema.subject or "") for schema, _ in rows), default=0)
    for schema, versions in rows:
        rules = f"  rules: {', '.join(schema.rules)}" if schema.rules else ""
        echo(f"{schema.subject:<{width}}  {schema.type:<8}  version {versions[-1]}  id {schema.ref.id}{rules}")


async def _subjects(section: SchemaRegistrySection) -> list[tuple[RegisteredSchema, list[int]]]:
    from forebay.stream.schema_registry.connection import open_registry

    async with open_registry(section) as client:
        return [
            (await client.latest(subject), await client.versions(subject))
            for subject in sorted(await client.subjects())
        ]


@click.command(
    name="show",
    epilog=examples(
        ("forebay schemas show features-value", "the latest version"),
        ("forebay schemas show features-value --version 2", "another version"),
        ("forebay schemas show --id 17", "by its id, as it stands in the records"),
    ),
)
@config_options
@click.argument("subject", required=False)
@click.option("--version", type=click.IntRange(min=1), help="A version of the subject. Default: the latest one.")
@click.option("--id", "number", type=click.IntRange(min=0), help="Id of a schema, instead of SUBJECT.")
@click.option("--guid", metavar="GUID", help="GUID of a schema, instead of SUBJECT.")
@json_option
def show_command(
    source: ConfigSource,
    subject: str | None,
    version: int | None,
    number: int | None,
    guid: str | None,
    as_json: bool,
) -> None:
    """Print a schema of the schema registry. --json adds its type, id, references and rules."""
    if sum(given is not None for given in (subject, number, guid)) != 1:
        raise click.UsageError("give one of SUBJECT, --id and --guid")
    if version is not None and subject is None:
        raise click.UsageError("--version needs SUBJECT")
    section = source.load().settings.schema_registry
    schema = run_async(_schema(section, subject, version, number=number, guid=guid))
    if as_json:
        echo_json({**_described(schema), "schema": schema.text})
    else:
        echo(schema.text)


async def _schema(
    section: SchemaRegistrySection, subject: str | None, version: int | None, *, number: int | None, guid: str | None
) -> RegisteredSchema:
    from uuid import UUID

    from forebay.stream.schema_registry.connection import open_registry
    from forebay.stream.schema_registry.schema import SchemaRef

    try:
        ref = SchemaRef(id=number) if guid is None else SchemaRef(guid=UUID(guid))
    except ValueError:
        if subject is None:
            raise ConfigError(f"--guid {guid}: is not a GUID, such as 4d4c1b3e-0f52-4b4f-8f0b-3f1f8f7c0a11") from None
    async with open_registry(section) as client:
        if subject is None:
            return await client.get(ref)
        return await (client.latest(subject) if version is None else client.subject_version(subject, version))


def _described(schema: RegisteredSchema) -> dict[str, object]:
    return {
        "subject": schema.subject,
        "version": schema.version,
        "type": schema.type,
        "id": schema.ref.id,
        "guid": None if schema.ref.guid is None else str(schema.ref.guid),
        "references": [
            {"name": reference.name, "subject": reference.subject, "version": reference.version}
            for reference in schema.references
        ],
        "rules": list(schema.rules),
    }

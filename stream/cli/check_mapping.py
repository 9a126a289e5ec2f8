"""`forebay check`: which field of the events of each input topic becomes which feature, by the schema or a sample record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forebay.schemas.errors import ConfigError, ForebayError, ModelError
from forebay.stream.cli.interrupts import run_async

if TYPE_CHECKING:
    from forebay.models.artefacts.signature import Signature
    from forebay.stream.config.sections import Settings
    from forebay.stream.decode.formats.payload import Format
    from forebay.stream.decode.mapping.schema_fields import SchemaField
    from forebay.stream.preflight import Check
    from forebay.stream.schema_registry.schema import RegisteredSchema


@dataclass(frozen=True, slots=True)
class TopicFields:
    """The fields of a topic's events. origin: where they were found, in words."""

    fields: list[SchemaField]
    format: Format
    is_ce_binary: bool
    origin: str


def check_formats(settings: Settings) -> Check | None:
    """Check that the libraries and the files of configured formats can be used; None if they can."""
    from forebay.stream.decode.event_formats import event_formats
    from forebay.stream.preflight import Check, Status
    from forebay.stream.schema_registry.store import SchemaStore

    schemas = SchemaStore() if settings.schema_registry.urls else None
    try:
        event_formats(settings.input, prefix=settings.topics.prefix, schemas=schemas)
    except ForebayError as error:
        return Check("formats", Status.FAILED, error.message, error.remedy)
    return None


def check_mappings(settings: Settings, sample: Path | None) -> Iterator[Check]:
    """Check the mapping of each input topic, if there is a schema or a sample to compare it with."""
    from forebay.schemas.topics import topic_name
    from forebay.stream.preflight import Check, Status

    for topic in settings.input.topics:
        full = topic_name(settings.topics.prefix, topic)
        try:
            found = _fields(settings, topic, full, sample)
            if found is None:
                if (missing := _missing_subject(settings, topic, full)) is not None:
                    yield missing
                continue
            signature = _signature(settings, topic)
        except ModelError:
            yield Check("mapping", Status.SKIPPED, f"{full}: the model must be found first")
            continue
        except ForebayError as error:
            yield Check("mapping", Status.FAILED, f"{full}: {error.message}", error.remedy)
            continue
        yield _check(settings, full, found, signature)


def _missing_subject(settings: Settings, topic: str, full: str) -> Check | None:
    """Return the check of a topic whose schema the registry does not have; None if its events need none."""
    from forebay.stream.decode.formats.media_types import FRAMED_FORMATS
    from forebay.stream.preflight import Check, Status

    section = settings.input
    name = section.formats.get(topic, section.format)
    if not settings.schema_registry.urls or name not in ("auto", *FRAMED_FORMATS) or section.avro_schemas:
        return None
    is_needed = name in FRAMED_FORMATS
    waits = "; records wait until their schema is known" if is_needed else ""
    return Check(
        "mapping",
        Status.WARNING if is_needed else Status.SKIPPED,
        f"{full}: the schema registry has no subject {full}-value{waits}",
        remedy=f"`forebay schemas register --subject {full}-value --file FILE` registers a schema; [input.subjects] names "
        "the subject of a topic, where it is another one; --sample FILE compares the mapping with a record instead",
    )


def _check(settings: Settings, topic: str, found: TopicFields, signature: Signature) -> Check:
    from forebay.stream.decode.event_formats import event_formats
    from forebay.stream.decode.formats.choice import Choice
    from forebay.stream.decode.mapping.proposals import mapping_report, missing_lines, report_lines
    from forebay.stream.preflight import Check, Status

    formats = event_formats(settings.input, prefix=settings.topics.prefix)
    layouts = formats.layouts(topic, Choice(found.format, is_ce_binary=found.is_ce_binary))
    report = mapping_report(signature, layouts, found.fields)
    problems = (*missing_lines(report), *report_lines(report))
    if report.missing:
        count, total = len(report.missing), len(report.features)
        return Check(
            "mapping",
            Status.FAILED,
            f"{topic}: {count} of {total} features have no field in {found.origin}",
            remedy="map them in [input.mapping.fields], or correct the schema; docs/formats.md describes the mapping",
            problems=problems,
        )
    return Check("mapping", Status.OK, f"{topic}: by {found.origin}", problems=problems)


def _signature(settings: Settings, topic: str) -> Signature:
    """Return the signature of the model that takes the events of a topic."""
    from forebay.models.artefacts.repository import read_signature

    served = settings.models_to_serve()
    model = next((one for one in served if topic in one.topics), served[0]).model
    return read_signature(model.repository, model.name, model.version)


def _fields(settings: Settings, topic: str, full: str, sample: Path | None) -> TopicFields | None:
    if sample is not None:
        return _of_sample(settings, full, sample)
    if settings.schema_registry.urls:
        subject = settings.input.subjects.get(topic)
        schema = run_async(find_schema(settings, subject or f"{full}-value"))
        if schema is not None:
            return topic_fields(schema, settings.input.reader_schemas.get(topic))
        if subject is not None:
            raise ConfigError(
                f"the schema registry has no subject {subject}, which input.subjects names",
                kind="no_subject",
                remedy=f"`forebay schemas list` lists the subjects; `forebay schemas register --subject {subject} --file FILE` "
                "registers a schema",
            )
    return None


async def find_schema(settings: Settings, subject: str) -> RegisteredSchema | None:
    """Return the latest schema of a subject; None if there is none. Raises RegistryError."""
    from forebay.stream.schema_registry.connection import open_registry
    from forebay.stream.schema_registry.errors import SchemaNotFound

    async with open_registry(settings.schema_registry) as client:
        try:
            return await client.latest(subject)
        except SchemaNotFound:
            return None


def topic_fields(schema: RegisteredSchema, reader: str | None) -> TopicFields:
    """Return the fields of a schema. Raises ConfigError if it cannot be used.

    reader: a file with the schema that events are read as instead, in Avro.
    """
    from forebay.stream.decode.formats.factories import build_schema_format
    from forebay.stream.decode.formats.payload import InvalidPayload
    from forebay.stream.decode.mapping.schema_fields import fields_of_schema
    from forebay.stream.schema_registry.schema import RegisteredSchema

    origin = f"subject {schema.subject}, version {schema.version} ({schema.type})"
    if reader is not None and schema.type == "AVRO":
        origin = f"the reader schema {reader}"
        schema = RegisteredSchema(schema.ref, "AVRO", Path(reader).read_text(encoding="utf-8"))
    try:
        indexes = (0,) if schema.type == "PROTOBUF" else ()
        return TopicFields(fields_of_schema(schema), build_schema_format(schema, indexes), False, origin)
    except InvalidPayload as fault:
        raise ConfigError(f"{origin} cannot be used: {fault.message}", kind="unsupported_schema") from None


def _of_sample(settings: Settings, topic: str, sample: Path) -> TopicFields:
    """Return the fields of one record: the value that a file holds, or its first line if it is JSON lines."""
    from forebay.schemas.errors import DataError
    from forebay.stream.decode.event_formats import event_formats
    from forebay.stream.decode.formats.choice import JSON
    from forebay.stream.decode.formats.payload import InvalidPayload
    from forebay.stream.decode.mapping.schema_fields import fields_of_document
    from forebay.stream.decode.value_reader import DecodedRecord

    value = sample.read_bytes()
    if value.lstrip()[:1] == b"{" and b"}\n" in value:
        first, _, rest = value.partition(b"\n")
        value = first if rest.lstrip()[:1] == b"{" else value
    record = DecodedRecord(0, 0, None, value=value, headers=())
    try:
        choice = event_formats(settings.input, prefix=settings.topics.prefix).choice.choose(record, topic)
        payload_format = choice.format or JSON
        document = payload_format.document(value[choice.start :])
    except InvalidPayload as fault:
        raise DataError(
            f"{sample} is not a record of {topic}: {fault.message}",
            kind="bad_sample",
            remedy="the file must hold the value of one record, in the format that input.format says",
        ) from None
    return TopicFields(fields_of_document(document), payload_format, choice.is_ce_binary, f"the sample {sample}")

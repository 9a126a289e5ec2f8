"""Find out, before a worker starts, how it writes predictions: the id of their schema in the registry."""

from __future__ import annotations

import logging

from forebay.schemas.errors import ConfigError
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.output.prediction_format import BinaryPredictions, OutputSubject, prediction_subjects
from forebay.stream.schema_registry.client import SchemaRegistryClient
from forebay.stream.schema_registry.connection import open_registry
from forebay.stream.schema_registry.errors import SchemaNotFound
from forebay.stream.schema_registry.same_schema import is_same_schema

log = logging.getLogger("forebay.worker")


async def binary_predictions(settings: Settings, *, clock: Clock) -> BinaryPredictions | None:
    """Return the format of predictions with the id of its schema; None for JSON.

    Raises ConfigError if a subject does not have the schema, and RegistryError if the registry cannot be asked.
    """
    section = settings.output
    if section.format == "json":
        return None
    subjects = prediction_subjects(section.format, section.subject_name_strategy, settings.all_prediction_topics())
    async with open_registry(settings.schema_registry, clock=clock) as client:
        if settings.schema_registry.auto_register:
            ids = [await client.register(subject.name, subject.type, subject.text) for subject in subjects]
        else:
            ids = [await schema_id(client, subject) for subject in subjects]
    log.info("predictions are written in %s, with the schema %d of %s", section.format, ids[0], subjects[0].name)
    # An id names the same schema in all subjects, so one is enough also if the registry gave several.
    return BinaryPredictions(section.format, ids[0])


async def schema_id(client: SchemaRegistryClient, subject: OutputSubject) -> int:
    """Return the id of the subject's schema, in this version of Forebay or with other comments. Raises ConfigError."""
    found = await client.registered_id(subject.name, subject.type, subject.text)
    if found is not None:
        return found
    try:
        versions = await client.versions(subject.name)
    except SchemaNotFound:
        versions = []
    for version in reversed(versions):
        schema = await client.subject_version(subject.name, version)
        if schema.type == subject.type and is_same_schema(subject.type, schema.text, subject.text):
            assert schema.ref.id is not None
            return schema.ref.id
    what = f"it differs from all {len(versions)} versions" if versions else "it does not exist, or is empty"
    raise ConfigError(
        f"subject {subject.name} of the schema registry does not have the schema of predictions: {what}",
        kind="output_schema_missing",
        remedy="`forebay schemas register --outputs` registers it, and with --dry-run shows first whether it is compatible",
    )

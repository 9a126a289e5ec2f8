"""`forebay check`: whether the schema registry has the schemas of outputs in other formats than JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forebay.schemas.errors import ForebayError
from forebay.stream.cli.interrupts import run_async

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings
    from forebay.stream.preflight import Check


def check_outputs(settings: Settings) -> Check | None:
    """Check that every subject of predictions has their schema; None if they are JSON."""
    from forebay.stream.preflight import Check, Status

    section = settings.output
    if section.format == "json":
        return None
    if settings.schema_registry.auto_register:
        return Check("outputs", Status.OK, f"predictions in {section.format}; a worker registers their schema")
    try:
        found = run_async(_ids(settings))
    except ForebayError as error:
        return Check("outputs", Status.FAILED, error.message, error.remedy)
    return Check("outputs", Status.OK, f"predictions in {section.format}: {', '.join(found)}")


async def _ids(settings: Settings) -> list[str]:
    """Return the subjects with the id of the schema in each. Raises ConfigError, RegistryError."""
    from forebay.stream.output.prediction_format import prediction_subjects
    from forebay.stream.schema_registry.connection import open_registry
    from forebay.stream.worker.output_format import schema_id

    section = settings.output
    assert section.format != "json"
    subjects = prediction_subjects(section.format, section.subject_name_strategy, settings.all_prediction_topics())
    async with open_registry(settings.schema_registry) as client:
        return [f"{subject.name} has id {await schema_id(client, subject)}" for subject in subjects]

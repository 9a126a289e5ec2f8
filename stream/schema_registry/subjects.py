"""Reads the schemas of configured subjects at the start, so that their records need not wait."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from forebay.stream.schema_registry.client import SchemaRegistryClient
from forebay.stream.schema_registry.errors import RegistryUnavailable, SchemaInvalid, SchemaNotFound
from forebay.stream.schema_registry.schema import RegisteredSchema

log = logging.getLogger("forebay.schema_registry")

MAX_VERSIONS: Final = 100
"""At most this many of the latest versions of a subject are read."""


def refuse_rules(schema: RegisteredSchema, subject: str) -> None:
    """Raise SchemaInvalid if a schema has rules, which Forebay cannot execute."""
    if schema.rules:
        raise SchemaInvalid(
            f"version {schema.version} of subject {subject} has rules that Forebay does not execute: "
            f"{', '.join(schema.rules)}",
            remedy="remove or disable the rules, or write the events to a topic without rules",
        )


async def load_subjects(client: SchemaRegistryClient, subjects: Iterable[str]) -> None:
    """Read the versions of these subjects into the client's store.

    A registry that does not answer, and a subject that does not exist yet, are logged only: records wait for their schemas.

    Raises RegistryDenied, and SchemaInvalid if the latest version has rules.
    """
    for subject in subjects:
        try:
            versions = await client.versions(subject)
            for version in versions[-MAX_VERSIONS:]:
                schema = await client.subject_version(subject, version)
                if version == versions[-1]:
                    refuse_rules(schema, subject)
            log.info("subject %s: %d versions", subject, len(versions))
        except SchemaNotFound as error:
            log.warning("%s", error.description)
        except RegistryUnavailable as error:
            log.warning("the configured subjects are not read now: %s", error.description)
            return

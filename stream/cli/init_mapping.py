"""`forebay init --from-subject`: a mapping proposed from the fields of a schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forebay.schemas.errors import ConfigError
from forebay.stream.cli.check_mapping import find_schema
from forebay.stream.cli.interrupts import run_async

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings
    from forebay.stream.decode.mapping.schema_fields import SchemaField


def proposed_mapping(settings: Settings, subject: str) -> str:
    """Return the tables of a mapping as text. Raises ConfigError, ModelError, RegistryError."""
    from forebay.models.artefacts.repository import read_signature
    from forebay.stream.config.mapping_template import ProposedField, mapping_template
    from forebay.stream.core.field_path import format_field_path
    from forebay.stream.decode.formats.payload import InvalidPayload
    from forebay.stream.decode.mapping.proposals import propose
    from forebay.stream.decode.mapping.schema_fields import fields_of_schema

    schema = run_async(find_schema(settings, subject))
    if schema is None:
        raise ConfigError(
            f"the schema registry has no subject {subject}",
            kind="no_subject",
            remedy="`forebay schemas list` lists the subjects",
        )
    try:
        fields = [field for field in fields_of_schema(schema) if not field.is_object]
    except InvalidPayload as fault:
        raise ConfigError(
            f"the schema of subject {subject} cannot be used: {fault.message}", kind="unsupported_schema"
        ) from None
    model = settings.models_to_serve()[0].model
    signature = read_signature(model.repository, model.name, model.version)
    parts, used = _parts(fields)
    free = [field for field in fields if field not in used]
    proposed = []
    for feature in signature.features:
        found = propose(feature.name, free)
        if found is None:
            optional = "; the model allows it to be missing" if feature.nullable else ""
            proposed.append(ProposedField(feature.name, None, f"no field has a similar name{optional}", False))
            continue
        why = {"name": "same name", "alias": "by its alias", "similar": "similar name"}[found.basis]
        note = f"{found.field.type}, {why}"
        path = format_field_path(found.field.path)
        proposed.append(ProposedField(feature.name, path, note, found.basis != "similar"))
    return mapping_template(subject, schema.version, schema.type, parts=parts, fields=proposed)


def _parts(fields: list[SchemaField]) -> tuple[list[tuple[str, str]], list[SchemaField]]:
    """Return the sources of id and timestamp as settings, and the fields that they use."""
    from forebay.stream.core.field_path import format_field_path

    parts, used = [], []
    for name, fallback in (("id", "key"), ("timestamp", "record")):
        field = next((one for one in sorted(fields, key=lambda one: len(one.path)) if one.path[-1] == name), None)
        parts.append((name, fallback if field is None else f"field:{format_field_path(field.path)}"))
        used += [] if field is None else [field]
    return parts, used

"""`forebay init --from-subject`: a mapping proposed from the fields of a schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forebay.schemas.errors import ConfigError
from forebay.stream.cli.check_mapping import find_schema, topic_fields
from forebay.stream.cli.interrupts import run_async

if TYPE_CHECKING:
    from forebay.models.artefacts.signature import Signature
    from forebay.stream.config.mapping_template import ProposedField, ProposedPart
    from forebay.stream.config.sections import Settings
    from forebay.stream.decode.formats.payload import FieldRoles, Path
    from forebay.stream.decode.mapping.proposals import MappedFeature
    from forebay.stream.decode.mapping.schema_fields import SchemaField

PARTS: Final = ("id", "timestamp", "key")


def proposed_mapping(settings: Settings, subject: str) -> str:
    """Return the tables of a mapping as text. Raises ConfigError, ModelError, RegistryError."""
    from forebay.models.artefacts.repository import read_signature
    from forebay.stream.config.mapping_template import mapping_template
    from forebay.stream.decode.mapping.proposals import mapping_report
    from forebay.stream.decode.mapping.sources import BY_NAME, layouts_of

    schema = run_async(find_schema(settings, subject))
    if schema is None:
        raise ConfigError(
            f"the schema registry has no subject {subject}",
            kind="no_subject",
            remedy="`forebay schemas list` lists the subjects",
        )
    found = topic_fields(schema, None)
    model = settings.models_to_serve()[0].model
    signature = read_signature(model.repository, model.name, model.version)
    parts, used = _parts(found.fields, found.format.roles, signature)
    # What is found without a mapping needs no setting.
    report = mapping_report(
        signature,
        layouts_of(None, found.format.roles, BY_NAME),
        [field for field in found.fields if field.path not in used],
    )
    fields = [_proposed(feature) for feature in report.features if feature.field is None]
    return mapping_template(subject, schema.version, schema.type, parts=parts, fields=fields)


def _proposed(feature: MappedFeature) -> ProposedField:
    from forebay.stream.config.mapping_template import ProposedField
    from forebay.stream.core.field_path import format_field_path

    found = feature.proposal
    if found is None:
        optional = "" if feature.is_required else "; the model allows it to be missing"
        return ProposedField(feature.name, None, f"no field has a similar name{optional}", is_sure=False)
    why = {"name": "same name", "alias": "by its alias", "similar": "similar name"}[found.basis]
    return ProposedField(
        feature.name,
        format_field_path(found.field.path),
        f"{found.field.type}, {why}",
        is_sure=found.basis != "similar",
    )


def _parts(fields: list[SchemaField], roles: FieldRoles, signature: Signature) -> tuple[list[ProposedPart], set[Path]]:
    """Return the sources of id, timestamp and key that differ from the defaults, and the fields that they use.

    The schema says which field has a role, or a field has its name. Without a field, the defaults apply.
    """
    from forebay.stream.config.mapping_template import ProposedPart
    from forebay.stream.core.field_path import format_field_path

    parts: list[ProposedPart] = []
    used: set[Path] = set()
    features = {feature.name for feature in signature.features}
    by_depth = sorted((field for field in fields if not field.is_object), key=lambda field: len(field.path))
    for name in PARTS:
        path, note = roles.roles.get(name), "as the schema says"
        if path is None and name not in features:
            path, note = next((field.path for field in by_depth if field.path[-1] == name), None), "by its name"
        if path is None:
            continue
        used.add(path)
        is_default = path == (name,) and name != "key"
        if not is_default:
            parts.append(ProposedPart(name, f"field:{format_field_path(path)}", note))
    return parts, used

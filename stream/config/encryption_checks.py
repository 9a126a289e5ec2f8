"""Rules between the settings of encryption and others."""

from __future__ import annotations

from collections.abc import Iterator

from forebay.stream.config.conflict import Conflict
from forebay.stream.config.encryption_section import WHOLE
from forebay.stream.config.input_mapping import parse_source
from forebay.stream.config.privacy_section import PrivacySection
from forebay.stream.config.sections import Settings
from forebay.stream.core.field_path import parse_field_path
from forebay.stream.privacy.policy import Action, Place

_SOURCES = ("encryption.keys_file", "encryption.keys_variable", "encryption.keys_command")

_SECRETS = tuple(f"encryption.local_kms_secret_{source}" for source in ("file", "variable", "command"))


def encryption_conflicts(settings: Settings) -> Iterator[Conflict]:
    """Yield every broken rule of [encryption]."""
    section = settings.encryption
    num_sources = sum(source is not None for source in (section.keys_file, section.keys_variable, section.keys_command))
    if section.is_used and num_sources != 1:
        named = (
            "encryption.input_fields"
            if section.input_fields
            else "encryption.prediction_fields"
            if section.prediction_fields
            else "encryption.local_kms_secret_file"
        )
        yield Conflict(
            (named, *_SOURCES),
            f"needs one source of keys: one of {', '.join(_SOURCES)} ({num_sources} are set)",
        )
    if section.decrypts_avro:
        yield from _avro_conflicts(settings)
    if section.input_fields and section.input_fields != WHOLE:
        yield from _field_conflicts(settings)
    if not section.prediction_fields:
        return
    if section.prediction_fields != WHOLE and settings.output.format != "json":
        yield Conflict(
            ("encryption.prediction_fields", "output.format"),
            f'must be "*" with output.format {settings.output.format}: only JSON has single encrypted fields',
        )
    if section.prediction_fields == WHOLE and _changes_keys(settings.privacy):
        yield Conflict(
            ("encryption.prediction_fields", "privacy.keys", "privacy.overrides"),
            'must not be "*" if [privacy] changes keys: the readable header of a token has the original key, to which it is '
            "bound; list the fields to encrypt, or set privacy.keys to detect, and overrides for keys, too",
        )
    if settings.evaluate.enabled:
        yield Conflict(
            ("encryption.prediction_fields", "evaluate.enabled"),
            "must be empty with evaluate.enabled: the evaluator reads predictions, and has no keys",
        )
    if settings.rollouts.enabled:
        yield Conflict(
            ("encryption.prediction_fields", "rollouts.enabled"),
            "must be empty with rollouts.enabled: the topic shadow-predictions is not encrypted",
        )


def _changes_keys(privacy: PrivacySection) -> bool:
    """Return whether keys of predictions may be changed."""
    policy = privacy.policy()
    actions = {policy.action(detector, Place.KEYS) for detector in privacy.detectors}
    return privacy.enabled and not actions <= {Action.DETECT}


def _avro_conflicts(settings: Settings) -> Iterator[Conflict]:
    section = settings.encryption
    secrets = (section.local_kms_secret_file, section.local_kms_secret_variable, section.local_kms_secret_command)
    if sum(secret is not None for secret in secrets) > 1:
        yield Conflict(_SECRETS, f"only one of {', '.join(_SECRETS)} can be set")
    if not settings.schema_registry.urls:
        yield Conflict(
            (_SECRETS[0], "schema_registry.urls"),
            "needs schema_registry.urls: the registry has the rules and the data keys",
        )
    if section.input_fields == WHOLE:
        yield Conflict((_SECRETS[0], "encryption.input_fields"), 'cannot be used with encryption.input_fields = ["*"]')


def _field_conflicts(settings: Settings) -> Iterator[Conflict]:
    section = settings.encryption
    try:
        id_path = parse_field_path(section.id_field)
    except ValueError as error:
        yield Conflict(("encryption.id_field",), f"must be a path: {error}")
        return
    paths = [parse_field_path(field) for field in section.input_fields]
    if any(path[: len(id_path)] == id_path or id_path[: len(path)] == path for path in paths):
        yield Conflict(
            ("encryption.id_field", "encryption.input_fields"),
            "must not be an encrypted field: it binds the encrypted fields to the event",
        )
    mapping = settings.input.mapping
    source = None if mapping is None or mapping.id is None else parse_source(mapping.id)
    if source is not None and source.kind == "field" and source.path != id_path:
        yield Conflict(
            ("encryption.id_field", "input.mapping"),
            f"must be {'.'.join(source.path)}, from which input.mapping takes the id of events: it binds the encrypted "
            "fields to the event",
        )
    names = {path[-1] for path in paths}
    whole = any(len(path) == 1 for path in paths)
    carried = [name for name in settings.evaluate.slices if whole or name in names]
    if settings.evaluate.enabled and carried:
        yield Conflict(
            ("evaluate.slices", "encryption.input_fields"),
            f"must not name encrypted fields: predictions would carry {carried[0]} in plain text",
        )

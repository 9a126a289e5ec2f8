"""Load settings from a TOML file, the environment and the command line, and check them together.

Later sources override earlier ones: defaults, file, environment, command line. All errors are collected and reported together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from forebay.schemas.errors import ConfigError
from forebay.stream.config.checks import conflicts
from forebay.stream.config.document import Document, read_document
from forebay.stream.config.model_list import (
    build_models,
    flatten_models,
    override_models,
    parse_models,
    report_missing_models,
)
from forebay.stream.config.names import (
    ENVIRONMENT_PREFIX,
    LOG_VARIABLE,
    environment_name,
    hint_for_environment,
    hint_for_key,
    is_ours,
)
from forebay.stream.config.paths import MODELS, entry_keys, field_of, is_entry_key, value_of
from forebay.stream.config.section_builder import DEFAULT as DEFAULT
from forebay.stream.config.section_builder import RawValue, SectionBuilder, subject
from forebay.stream.config.sections import Settings, section_types
from forebay.stream.config.values import from_text
from forebay.stream.core.quantities import quantity

COMMAND_LINE = "command line"
FROM_MODELS = "topics of [[models]]"
"""The origin of input.topics if only the models name topics."""


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, with the origin of each value by "section.key".

    origins: "default", "FILE:LINE", "environment NAME", "command line", or FROM_MODELS for derived input.topics. Also of
    each "models[0].key", where "default" means that the value is inherited.
    path: the file that was read, if any.
    """

    settings: Settings
    origins: Mapping[str, str]
    path: Path | None


def load_settings(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] = MappingProxyType({})
) -> LoadedSettings:
    """Read, merge and check the settings.

    overrides: values by "section.key"; text is converted to the setting's type.
    Raises ConfigError with all errors and without secrets; if the file is not TOML, with that error only.
    """
    problems: list[str] = []
    raw: dict[str, RawValue] = {}
    if path is not None:
        raw.update(_from_file(path, problems))
    for later in (_from_environment(environ, problems), _from_command_line(overrides, problems)):
        raw = override_models(raw, later)
    report_missing_models(raw, problems)
    builder = SectionBuilder(raw, problems)
    sections = {name: builder.build(name, section) for name, section in section_types().items()}
    settings = Settings.model_validate({**sections, "models": build_models(builder)})
    derived = bool(settings.models) and "input.topics" not in raw and settings.input != sections["input"]
    for conflict in conflicts(settings):
        # A rule about an invalid value would repeat its error, or report a default in its place.
        if builder.invalid.isdisjoint(conflict.keys):
            key = conflict.keys[0]
            origin = FROM_MODELS if derived and key == "input.topics" else builder.origin(key)
            problems.append(f"{subject(key, field_of(key), value_of(settings, key), origin)} {conflict.rule}")
    if problems:
        raise ConfigError(
            f"the configuration has {quantity(len(problems), 'error')}",
            problems=problems,
            remedy="`forebay init -o -` prints a valid file with the common settings, for comparison",
        )
    origins = {key: builder.origin(key) for key in (*_keys(), *entry_keys(len(settings.models)))}
    if derived:
        origins["input.topics"] = FROM_MODELS
    return LoadedSettings(settings, MappingProxyType(origins), path)


def _from_file(path: Path, problems: list[str]) -> dict[str, RawValue]:
    document = read_document(path)
    sections, raw = section_types(), {}
    for name, section in document.tables.items():
        place = document.place(name)
        if name == MODELS:
            raw.update(flatten_models(section, place, problems, partial(_place_of, document, "")))
        elif name not in sections:
            tables = section if isinstance(section, list) and section else [section]
            kind = "section" if all(isinstance(table, dict) for table in tables) else "key"
            problems.append(f"{name} ({place}): unknown {kind}{hint_for_key(name)}")
        elif not isinstance(section, dict):
            several = ", or [[models]] for several models" if name == "model" else ""
            problems.append(f"{name} ({place}): must be a section: write [{name}], with its keys below{several}")
        else:
            for key, value in section.items():
                place = document.place(f"{name}.{key}")
                if key in sections[name].model_fields:
                    place_of = partial(_place_of, document, f"{name}.{key}")
                    raw[f"{name}.{key}"] = RawValue(value, place, place_of)
                else:
                    # The value is not shown: it may be a secret under a misspelt name.
                    problems.append(f"{name}.{key} ({place}): unknown key{hint_for_key(f'{name}.{key}')}")
    return raw


def _place_of(document: Document, key: str, part: str) -> str:
    return document.place(key + part)


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, RawValue]:
    known = {LOG_VARIABLE: "log.level"} | {environment_name(key): key for key in _keys()}
    raw = {}
    # Sorted, so that FOREBAY_LOG__LEVEL follows FOREBAY_LOG and overrides it.
    for name in sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX)):
        if name in known:
            field = field_of(known[name])
            raw[known[name]] = RawValue(from_text(field, environ[name]), f"environment {name}")
        elif name == environment_name(MODELS):
            raw.update(parse_models(environ[name], f"environment {name}", problems))
        elif is_ours(name):
            problems.append(f"{name} (environment): unknown setting{hint_for_environment(name)}")
    return raw


def _from_command_line(overrides: Mapping[str, object], problems: list[str]) -> dict[str, RawValue]:
    known, raw = set(_keys()), {}
    if MODELS in overrides:
        raw.update(parse_models(overrides[MODELS], COMMAND_LINE, problems))
    for key, value in overrides.items():
        if key == MODELS:
            continue
        if key not in known and not is_entry_key(key):
            problems.append(f"{key} ({COMMAND_LINE}): unknown setting{hint_for_key(key)}")
            continue
        raw[key] = RawValue(from_text(field_of(key), value) if isinstance(value, str) else value, COMMAND_LINE)
    return raw


def _keys() -> Iterable[str]:
    return (f"{name}.{key}" for name, section in section_types().items() for key in section.model_fields)

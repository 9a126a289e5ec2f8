"""Load settings from a TOML file, the environment and the command line, and check them together.

Later sources override earlier ones: defaults, file, environment, command line. All errors are collected and reported together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from forebay.schemas.errors import ConfigError
from forebay.stream.config.checks import conflicts
from forebay.stream.config.document import Document, read_document
from forebay.stream.config.names import (
    ENVIRONMENT_PREFIX,
    LOG_VARIABLE,
    environment_name,
    hint_for_environment,
    hint_for_key,
    is_ours,
)
from forebay.stream.config.sections import Section, Settings, section_types
from forebay.stream.config.values import Mistakes, allowed, from_text, is_secret, may_hold_secret, redacted
from forebay.stream.core.quantities import quantity

DEFAULT = "default"
COMMAND_LINE = "command line"
MAX_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, with the origin of each value by "section.key".

    origins: "default", "FILE:LINE", "environment NAME" or "command line".
    path: the file that was read, if any.
    """

    settings: Settings
    origins: Mapping[str, str]
    path: Path | None


@dataclass(frozen=True, slots=True)
class _RawValue:
    """A value before validation.

    place: returns the place of a part of the value, by its path below the key; None if only the origin is known.
    """

    value: object
    origin: str
    place: Callable[[str], str] | None = None

    def origin_of(self, part: str) -> str:
        return self.origin if self.place is None else self.place(part)


def load_settings(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] = MappingProxyType({})
) -> LoadedSettings:
    """Read, merge and check the settings.

    overrides: values by "section.key"; text is converted to the setting's type.
    Raises ConfigError with all errors and without secrets; if the file is not TOML, with that error only.
    """
    problems: list[str] = []
    raw: dict[str, _RawValue] = {}
    if path is not None:
        raw.update(_from_file(path, problems))
    raw.update(_from_environment(environ, problems))
    raw.update(_from_command_line(overrides, problems))
    sections, wrong = _build(raw, problems)
    settings = Settings.model_validate(sections)
    for conflict in conflicts(settings):
        # A rule about an invalid value would repeat its error, or report a default in its place.
        if wrong.isdisjoint(conflict.keys):
            key = conflict.keys[0]
            problems.append(f"{_subject(key, _value(settings, key), raw.get(key))} {conflict.rule}")
    if problems:
        raise ConfigError(
            f"the configuration has {quantity(len(problems), 'error')}",
            problems=problems,
            remedy="`forebay init -o -` prints a valid file with the common settings, for comparison",
        )
    origins = {
        f"{name}.{key}": raw[f"{name}.{key}"].origin if f"{name}.{key}" in raw else DEFAULT
        for name, section in section_types().items()
        for key in section.model_fields
    }
    return LoadedSettings(settings, MappingProxyType(origins), path)


def _from_file(path: Path, problems: list[str]) -> dict[str, _RawValue]:
    document = read_document(path)
    sections, raw = section_types(), {}
    for name, section in document.tables.items():
        place = document.place(name)
        if name not in sections:
            kind = "section" if isinstance(section, dict) else "key"
            problems.append(f"{name} ({place}): unknown {kind}{hint_for_key(name)}")
        elif not isinstance(section, dict):
            problems.append(f"{name} ({place}): must be a section: write [{name}], with its keys below")
        else:
            for key, value in section.items():
                place = document.place(f"{name}.{key}")
                if key in sections[name].model_fields:
                    place_of = partial(_place_of, document, f"{name}.{key}")
                    raw[f"{name}.{key}"] = _RawValue(value, place, place_of)
                else:
                    # The value is not shown: it may be a secret under a misspelt name.
                    problems.append(f"{name}.{key} ({place}): unknown key{hint_for_key(f'{name}.{key}')}")
    return raw


def _place_of(document: Document, key: str, part: str) -> str:
    return document.place(key + part)


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, _RawValue]:
    known = {LOG_VARIABLE: "log.level"} | {environment_name(key): key for key in _keys()}
    raw = {}
    # Sorted, so that FOREBAY_LOG__LEVEL follows FOREBAY_LOG and overrides it.
    for name in sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX)):
        if name in known:
            field = _field(known[name])
            raw[known[name]] = _RawValue(from_text(field, environ[name]), f"environment {name}")
        elif is_ours(name):
            problems.append(f"{name} (environment): unknown setting{hint_for_environment(name)}")
    return raw


def _from_command_line(overrides: Mapping[str, object], problems: list[str]) -> dict[str, _RawValue]:
    known, raw = set(_keys()), {}
    for key, value in overrides.items():
        if key not in known:
            problems.append(f"{key} ({COMMAND_LINE}): unknown setting{hint_for_key(key)}")
            continue
        raw[key] = _RawValue(from_text(_field(key), value) if isinstance(value, str) else value, COMMAND_LINE)
    return raw


def _build(raw: Mapping[str, _RawValue], problems: list[str]) -> tuple[dict[str, Section], set[str]]:
    """Return the sections, with defaults in place of invalid values, and the keys of those values."""
    sections, wrong = {}, set()
    for name, section in section_types().items():
        values = {key: raw[f"{name}.{key}"].value for key in section.model_fields if f"{name}.{key}" in raw}
        try:
            sections[name] = section(**values)
            continue
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            reasons = {str(detail["loc"][0]): detail for detail in details}
        for key, reason in reasons.items():
            full, field = f"{name}.{key}", section.model_fields[key]
            # Only the messages of Forebay's own checks add something to the allowed values.
            why = reason.get("ctx", {}).get("error") if reason["type"] == "value_error" else None
            wrong.add(full)
            if isinstance(why, Mistakes):
                for mistake in why.mistakes:
                    origin = raw[full].origin_of(mistake.part)
                    problems.append(f"{full}, {mistake.subject} ({origin}): {mistake.verdict}")
                continue
            problem = f"{_subject(full, raw[full].value, raw[full])} must be {allowed(field)}"
            problems.append(f"{problem} ({why})" if why and not may_hold_secret(field) else problem)
        sections[name] = section(**{key: value for key, value in values.items() if key not in reasons})
    return sections, wrong


def _subject(key: str, value: object, raw: _RawValue | None) -> str:
    """Return the beginning of an error: the setting, its value (secrets hidden) and its origin."""
    origin = raw.origin if raw else DEFAULT
    return f"{key} = {_shown(_field(key), value)} ({origin}):"


def _shown(field: FieldInfo, value: object) -> str:
    if value is None:
        return "(not set)"
    if is_secret(field) or isinstance(value, SecretStr):
        return "(hidden)"
    value = redacted(field, value)
    if isinstance(value, tuple):
        value = list(value)
    text = str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 3] + "..."


def _keys() -> Iterable[str]:
    return (f"{name}.{key}" for name, section in section_types().items() for key in section.model_fields)


def _field(key: str) -> FieldInfo:
    name, _, rest = key.partition(".")
    return section_types()[name].model_fields[rest]


def _value(settings: Settings, key: str) -> object:
    name, _, rest = key.partition(".")
    return getattr(getattr(settings, name), rest)

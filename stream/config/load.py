"""Settings from a TOML file, the environment and the command line, checked as a whole.

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

DEFAULT = "default"
COMMAND_LINE = "command line"
MAX_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings and, for each "section.key", where its value comes from.

    An origin is "default", "FILE:LINE", "environment NAME" or "command line". `path` is the file, if one was read.
    """

    settings: Settings
    origins: Mapping[str, str]
    path: Path | None


@dataclass(frozen=True, slots=True)
class _Given:
    """One value as it was given. place: of a part of it, by how it follows the key; the origin where that is all there is."""

    value: object
    origin: str
    place: Callable[[str], str] | None = None

    def origin_of(self, part: str) -> str:
        return self.origin if self.place is None else self.place(part)


def load_settings(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] = MappingProxyType({})
) -> LoadedSettings:
    """Read, merge and check the settings. `overrides` maps "section.key" to a value, or to text that stands for one.

    Raises ConfigError with every mistake that there is, secrets left out; where the file is no TOML, with that alone.
    """
    problems: list[str] = []
    given: dict[str, _Given] = {}
    if path is not None:
        given.update(_from_file(path, problems))
    given.update(_from_environment(environ, problems))
    given.update(_from_command_line(overrides, problems))
    sections, wrong = _build(given, problems)
    settings = Settings.model_validate(sections)
    for conflict in conflicts(settings):
        # A rule over a value that is wrong already would only repeat it, or speak of a default.
        if wrong.isdisjoint(conflict.keys):
            key = conflict.keys[0]
            problems.append(f"{_told(key, _value(settings, key), given.get(key))} {conflict.rule}")
    if problems:
        count = "one mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        raise ConfigError(
            f"the configuration has {count}",
            problems=problems,
            remedy="`forebay init` writes a file with the usual settings, to compare with",
        )
    origins = {
        f"{name}.{key}": given[f"{name}.{key}"].origin if f"{name}.{key}" in given else DEFAULT
        for name, section in section_types().items()
        for key in section.model_fields
    }
    return LoadedSettings(settings, MappingProxyType(origins), path)


def _from_file(path: Path, problems: list[str]) -> dict[str, _Given]:
    document = read_document(path)
    sections, given = section_types(), {}
    for name, section in document.tables.items():
        place = document.place(name)
        if name not in sections:
            kind = "section" if isinstance(section, dict) else "key"
            problems.append(f"{name} ({place}): there is no such {kind}{hint_for_key(name)}")
        elif not isinstance(section, dict):
            problems.append(f"{name} ({place}): must be a section, [{name}], with its keys below")
        else:
            for key, value in section.items():
                place = document.place(f"{name}.{key}")
                if key in sections[name].model_fields:
                    place_of = partial(_place_of, document, f"{name}.{key}")
                    given[f"{name}.{key}"] = _Given(value, place, place_of)
                else:
                    # The value is not told: it may be a secret whose name is misspelt.
                    problems.append(f"{name}.{key} ({place}): there is no such key{hint_for_key(f'{name}.{key}')}")
    return given


def _place_of(document: Document, key: str, part: str) -> str:
    return document.place(key + part)


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, _Given]:
    known = {LOG_VARIABLE: "log.level"} | {environment_name(key): key for key in _keys()}
    given = {}
    # In this order FOREBAY_LOG__LEVEL comes after FOREBAY_LOG and goes before it.
    for name in sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX)):
        if name in known:
            field = _field(known[name])
            given[known[name]] = _Given(from_text(field, environ[name]), f"environment {name}")
        elif is_ours(name):
            problems.append(f"{name}: there is no such setting{hint_for_environment(name)}")
    return given


def _from_command_line(overrides: Mapping[str, object], problems: list[str]) -> dict[str, _Given]:
    known, given = set(_keys()), {}
    for key, value in overrides.items():
        if key not in known:
            problems.append(f"{key} ({COMMAND_LINE}): there is no such setting{hint_for_key(key)}")
            continue
        given[key] = _Given(from_text(_field(key), value) if isinstance(value, str) else value, COMMAND_LINE)
    return given


def _build(given: Mapping[str, _Given], problems: list[str]) -> tuple[dict[str, Section], set[str]]:
    """The sections, with defaults in place of what is wrong, and the keys that are."""
    sections, wrong = {}, set()
    for name, section in section_types().items():
        values = {key: given[f"{name}.{key}"].value for key in section.model_fields if f"{name}.{key}" in given}
        try:
            sections[name] = section(**values)
            continue
        except ValidationError as error:
            reasons = {str(each["loc"][0]): each for each in error.errors(include_url=False, include_input=False)}
        for key, reason in reasons.items():
            full, field = f"{name}.{key}", section.model_fields[key]
            # Only our own checks say more than what is allowed does.
            why = reason.get("ctx", {}).get("error") if reason["type"] == "value_error" else None
            wrong.add(full)
            if isinstance(why, Mistakes):
                for each in why.mistakes:
                    problems.append(f"{full}, {each.subject} ({given[full].origin_of(each.part)}): {each.verdict}")
                continue
            told = _told(full, given[full].value, given[full])
            problems.append(
                f"{told} must be {allowed(field)}" + (f" ({why})" if why and not may_hold_secret(field) else "")
            )
        sections[name] = section(**{key: value for key, value in values.items() if key not in reasons})
    return sections, wrong


def _told(key: str, value: object, given: _Given | None) -> str:
    origin = given.origin if given else DEFAULT
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

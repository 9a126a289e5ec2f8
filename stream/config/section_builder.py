"""Build sections from values that are not yet validated, and report each invalid value with its origin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from forebay.stream.config.section import Section
from forebay.stream.config.values import Mistakes, allowed, is_secret, may_hold_secret, redacted

DEFAULT: Final = "default"
MAX_SHOWN_CHARS: Final = 80

S = TypeVar("S", bound=Section)


@dataclass(frozen=True, slots=True)
class RawValue:
    """A value before validation.

    place: returns the place of a part of the value, by its path below the key; None if only the origin is known.
    """

    value: object
    origin: str
    place: Callable[[str], str] | None = None

    def origin_of(self, part: str) -> str:
        """Return the place of a part of the value."""
        return self.origin if self.place is None else self.place(part)


@dataclass(frozen=True, slots=True)
class SectionBuilder:
    """Builds sections from raw values by key.

    problems: receives an error for each invalid value.
    invalid: the keys of the invalid values.
    """

    raw: Mapping[str, RawValue]
    problems: list[str]
    invalid: set[str] = field(default_factory=set)

    def build(
        self, path: str, section: type[S], *, fallbacks: Mapping[str, object] = MappingProxyType({}), **parts: Section
    ) -> S:
        """Return the section with the values below a path, with defaults in place of invalid values.

        fallbacks: values that replace invalid or missing values of keys without a default.
        parts: sections within the section that are already built.
        """
        values: dict[str, Any] = {
            key: self.raw[f"{path}.{key}"].value for key in section.model_fields if f"{path}.{key}" in self.raw
        }
        try:
            return section(**values, **parts)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            reasons = {str(detail["loc"][0]): detail for detail in details}
        for key, reason in reasons.items():
            self._report(path, key, section.model_fields[key], reason)
        valid = {key: value for key, value in values.items() if key not in reasons}
        return section(**{**fallbacks, **valid, **parts})

    def origin(self, key: str) -> str:
        """Return the origin of a setting."""
        return self.raw[key].origin if key in self.raw else DEFAULT

    def _report(self, path: str, key: str, setting: FieldInfo, reason: Any) -> None:
        full = f"{path}.{key}"
        self.invalid.add(full)
        if full not in self.raw:
            self.problems.append(f"{full} ({self.origin(path)}): is missing; it must be {allowed(setting)}")
            return
        raw = self.raw[full]
        # Only the messages of Forebay's own checks add something to the allowed values.
        why = reason.get("ctx", {}).get("error") if reason["type"] == "value_error" else None
        if isinstance(why, Mistakes):
            self.problems.extend(
                f"{full}, {mistake.subject} ({raw.origin_of(mistake.part)}): {mistake.verdict}"
                for mistake in why.mistakes
            )
            return
        problem = f"{subject(full, setting, raw.value, raw.origin)} must be {allowed(setting)}"
        self.problems.append(f"{problem} ({why})" if why and not may_hold_secret(setting) else problem)


def subject(key: str, setting: FieldInfo, value: object, origin: str) -> str:
    """Return the beginning of an error: the setting, its value (secrets hidden) and its origin."""
    return f"{key} = {_shown(setting, value)} ({origin}):"


def _shown(setting: FieldInfo, value: object) -> str:
    if value is None:
        return "(not set)"
    if is_secret(setting) or isinstance(value, SecretStr):
        return "(hidden)"
    value = redacted(setting, value)
    if isinstance(value, tuple):
        value = [one.model_dump(exclude_none=True) if isinstance(one, BaseModel) else one for one in value]
    text = str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 3] + "..."

"""Rules: which principal may use which models. What no rule permits is denied. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from forebay.stream.core.model_ref import ModelRef

_MODEL: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]*\*?)(?::(?P<version>[1-9][0-9]{0,17}))?")


class Pattern(NamedTuple):
    """A text, or the beginning of texts."""

    text: str
    is_prefix: bool

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Return the pattern of a text that may end with `*`."""
        return cls(text[:-1], True) if text.endswith("*") else cls(text, False)

    def matches(self, text: str) -> bool:
        """Return whether a text is this one, or begins with it."""
        return text.startswith(self.text) if self.is_prefix else text == self.text


class _ModelPattern(NamedTuple):
    """Models by name, of one version or all (None)."""

    name: Pattern
    version: int | None

    def matches(self, model: ModelRef) -> bool:
        return self.version in (None, model.version) and self.name.matches(model.name)


def principal_problem(pattern: str) -> str | None:
    """Return what is wrong with a pattern of principals; None if nothing is."""
    if not pattern or "*" in pattern[:-1]:
        return "must be the name of a principal, or its beginning followed by one `*`"
    return None


def model_problem(pattern: str) -> str | None:
    """Return what is wrong with a pattern of models; None if nothing is."""
    match = _MODEL.fullmatch(pattern)
    if match is None or not match["name"]:
        return "must be NAME, NAME:VERSION or the beginning of a name followed by `*`"
    return None


class Rules:
    """The models that principals may use. models_of: patterns of models by pattern of principals.

    `*` is a wildcard only in patterns and only at their end. In the name of a principal it is an ordinary character.
    """

    def __init__(self, models_of: Mapping[str, Sequence[str]]) -> None:
        self._exact: dict[str, list[_ModelPattern]] = {}
        self._prefixes: list[tuple[Pattern, list[_ModelPattern]]] = []
        for principals, models in models_of.items():
            if (problem := principal_problem(principals)) is not None:
                raise ValueError(f"{principals!r} {problem}")
            patterns = list(map(_model_pattern, models))
            pattern = Pattern.parse(principals)
            if pattern.is_prefix:
                self._prefixes.append((pattern, patterns))
            else:
                self._exact[principals] = patterns

    def permits(self, principal: str, model: ModelRef) -> bool:
        """Return whether a rule permits the principal to use the model."""
        if _any_matches(self._exact.get(principal, ()), model):
            return True
        return any(pattern.matches(principal) and _any_matches(models, model) for pattern, models in self._prefixes)


def _any_matches(patterns: Iterable[_ModelPattern], model: ModelRef) -> bool:
    return any(pattern.matches(model) for pattern in patterns)


def _model_pattern(text: str) -> _ModelPattern:
    if (problem := model_problem(text)) is not None:
        raise ValueError(f"{text!r} {problem}")
    name, _, version = text.partition(":")
    return _ModelPattern(Pattern.parse(name), int(version) if version else None)

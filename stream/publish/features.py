"""Parsing of the option `--features`: a JSON array or object, or name=value pairs."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from types import MappingProxyType

import orjson

from forebay.models.data.csv_rows import CsvOptions, value_reader
from forebay.schemas.errors import ConfigError


def parse_features(
    text: str, categories: Mapping[str, Collection[str]] = MappingProxyType({})
) -> list[object] | dict[str, object]:
    """Return the features of an event. A value that reads as a number becomes one; `name=` is a missing value.

    categories: the categories that the model knows, by text feature; such a feature stays as written. Raises ConfigError.
    """
    options = CsvOptions(categories=categories)
    if text.lstrip()[:1] in ("[", "{"):
        try:
            features = orjson.loads(text)
        except ValueError as error:
            raise _features_error(f"this is not JSON: {error}") from None
        assert isinstance(features, list | dict)
        return features
    try:
        pairs = [pair for pair in _split(text) if pair]
    except ValueError as error:
        raise _features_error(str(error)) from None
    features_by_name: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise _features_error(f"{pair!r} is not name=value")
        if name in features_by_name:
            raise _features_error(f"{name} is given twice")
        features_by_name[name] = value_reader(name, options)(value)
    if not features_by_name:
        raise _features_error("the value is empty")
    return features_by_name


def _split(text: str) -> list[str]:
    """Split text at blanks and commas that are not in quotes."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace += ","
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)


def _features_error(problem: str) -> ConfigError:
    return ConfigError(
        f"--features: {problem}",
        kind="features",
        remedy="write '[0.5, 3, 7]', '{\"name\": 0.5}', or 'name=0.5 other=3' (quote a value with blanks)",
    )

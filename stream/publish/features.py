"""What is typed after `--features`: a JSON array or object, or name=value pairs."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from types import MappingProxyType

import orjson

from forebay.schemas.errors import ConfigError
from forebay.stream.publish.csv_rows import CsvOptions, value_reader


def parse_features(
    text: str, categories: Mapping[str, Collection[str]] = MappingProxyType({})
) -> list[object] | dict[str, object]:
    """The features as they go into an event. A value that reads as a number is one; `name=` is a missing value.

    categories: what the model knows, by feature; such a feature is text as written. Raises ConfigError.
    """
    options = CsvOptions(categories=categories)
    if text.lstrip()[:1] in ("[", "{"):
        try:
            features = orjson.loads(text)
        except ValueError as error:
            raise _wrong(f"not JSON: {error}") from None
        assert isinstance(features, list | dict)
        return features
    try:
        pairs = [pair for pair in _split(text) if pair]
    except ValueError as error:
        raise _wrong(str(error)) from None
    named: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise _wrong(f"{pair!r} is no name=value")
        if name in named:
            raise _wrong(f"{name} is there twice")
        named[name] = value_reader(name, options)(value)
    if not named:
        raise _wrong("nothing is there")
    return named


def _split(text: str) -> list[str]:
    """At blanks and commas; what is quoted holds together."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace += ","
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)


def _wrong(problem: str) -> ConfigError:
    return ConfigError(
        f"--features: {problem}",
        kind="features",
        remedy="write '[0.5, 3, 7]', '{\"name\": 0.5}', or 'name=0.5 other=3' (quote a value that holds blanks)",
    )

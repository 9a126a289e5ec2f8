"""The repository that a command of `forebay models` works on."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

from forebay.stream.cli.options import ConfigSource

P = ParamSpec("P")
R = TypeVar("R")


def repository_option(function: Callable[P, R]) -> Callable[P, R]:
    """Add the option --repository to a command."""
    return click.option(
        "--repository",
        metavar="DIR|URL",
        help="The model repository: a folder, or a URL such as s3://bucket/models. [default: model.repository]",
    )(function)


def chosen_repository(source: ConfigSource, repository: str | None) -> str:
    """Return the repository of the option, or else of the configuration."""
    return source.load().settings.model.repository if repository is None else repository

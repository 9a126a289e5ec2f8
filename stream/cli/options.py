"""Options that several commands have: which configuration, single settings, and JSON for scripts."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, cast

import click

from forebay.schemas.errors import ConfigError
from forebay.stream.cli.output import echo

if TYPE_CHECKING:
    from forebay.stream.config.load import LoadedSettings

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_FILE: Final = "forebay.toml"


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """Where a command's settings come from: the file (None: there is none), the environment, the command line.

    found: the file was not named, but found in the current folder.
    """

    path: Path | None
    environ: Mapping[str, str]
    overrides: Mapping[str, object]
    found: bool = False

    def load(self, overrides: Mapping[str, object] = MappingProxyType({})) -> LoadedSettings:
        """Read and check the settings. `overrides` ("section.key" -> value) are from the command's own options.

        They override --set; those that are None (options not given) are left out. Raises ConfigError.
        """
        # Only now: --help should not wait for it.
        from forebay.stream.config.found_file import check_found_file
        from forebay.stream.config.load import load_settings

        if self.found and self.path is not None:
            check_found_file(self.path, self.environ)
            echo(f"settings from {self.path}, found in the current folder", err=True)
        given = {key: value for key, value in overrides.items() if value is not None}
        return load_settings(self.path, self.environ, {**self.overrides, **given})

    def on(self, bootstrap_server: str | None) -> ConfigSource:
        """Return the same with the value of --bootstrap-server, if it was given, so that `arguments` passes it on."""
        if bootstrap_server is None:
            return self
        return replace(self, overrides={**self.overrides, "kafka.bootstrap_servers": bootstrap_server})

    def arguments(self) -> list[str]:
        """The options that make another command read the same settings."""
        config = [] if self.path is None else ["-c", str(self.path)]
        return config + [part for key, value in self.overrides.items() for part in ("--set", f"{key}={value}")]


def config_options(function: Callable[Concatenate[ConfigSource, P], R]) -> Callable[P, R]:
    """Adds -c/--config and --set; the command gets a ConfigSource as its first argument."""

    @click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        envvar="FOREBAY_CONFIG",
        show_envvar=True,
        metavar="FILE",
        help=f"Configuration file. [default: {DEFAULT_FILE}, in the current folder, if it is yours]",
    )
    @click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="A single setting; overrides file and environment; may be repeated.",
    )
    @functools.wraps(function)
    def command(*args: Any, config_path: Path | None, assignments: tuple[str, ...], **kwargs: Any) -> R:
        found = config_path is None and Path(DEFAULT_FILE).is_file()
        if found:
            config_path = Path(DEFAULT_FILE)
        source = ConfigSource(config_path, MappingProxyType(dict(os.environ)), _parse(assignments), found)
        return function(source, *args, **kwargs)

    # The wrapper's own two parameters are filled in by click.
    return cast(Callable[P, R], command)


def bootstrap_option(function: Callable[P, R]) -> Callable[P, R]:
    """Adds --bootstrap-server; the command gets it as `bootstrap_server`."""
    return click.option(
        "--bootstrap-server", metavar="HOST:PORT", help="The broker. [default: kafka.bootstrap_servers]"
    )(function)


class _FirstName(click.Option):
    """An option whose help shows only the first of its names."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        names, self.opts = self.opts, self.opts[:1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = names


def timeout_option(help: str, *, default: float | None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Adds --timeout, which may be written as --timeout-s too; the command gets it as `timeout_s`."""
    return click.option(
        "--timeout",
        "--timeout-s",
        "timeout_s",
        cls=_FirstName,
        type=click.FloatRange(0.1, 600) if default is not None else click.FloatRange(min=0),
        default=default,
        show_default=default is not None,
        metavar="SECONDS",
        help=help,
    )


def json_option(function: Callable[P, R]) -> Callable[P, R]:
    """Adds --json; the command gets it as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(function)


def _parse(assignments: tuple[str, ...]) -> Mapping[str, object]:
    overrides: dict[str, object] = {}
    problems = []
    for number, assignment in enumerate(assignments, start=1):
        key, equals, value = assignment.partition("=")
        if equals and "." in key:
            overrides[key.strip()] = value
        else:
            # What was given is not told: it may be a secret.
            problems.append(f"--set number {number}: must be SECTION.KEY=VALUE, such as batch.max_batch_size=256")
    if problems:
        raise ConfigError("the command line has mistakes", problems=problems)
    return MappingProxyType(overrides)

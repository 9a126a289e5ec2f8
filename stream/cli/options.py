"""Options shared by several commands: configuration file, single settings, broker, timeout and JSON output."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, cast

import click

from forebay.schemas.errors import ConfigError
from forebay.stream.cli.output import echo

if TYPE_CHECKING:
    from forebay.models.data.table_options import ColumnType
    from forebay.stream.config.load import LoadedSettings

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_FILE: Final = "forebay.toml"
_READ_ONLY: Final = frozenset(
    {
        "acls",
        "check",
        "config",
        "describe",
        "dlq list",
        "dlq show",
        "dlq stats",
        "edge plan",
        "errors",
        "models compare",
        "models history",
        "models list",
        "models rollout",
        "models show",
        "models validate",
        "privacy report",
        "schemas",
        "status",
        "tail",
        "topics check",
    }
)
"""Commands that change nothing. They report a found file on a terminal only, as scripts do not need it."""


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """The sources of a command's settings: file, environment and command line.

    path: the file; None without one.
    found: whether the file was found in the current folder rather than named.
    announced: whether to report a found file on standard error.
    """

    path: Path | None
    environ: Mapping[str, str]
    overrides: Mapping[str, object]
    found: bool = False
    announced: bool = True

    def load(self, overrides: Mapping[str, object] = MappingProxyType({})) -> LoadedSettings:
        """Read and check the settings. Raises ConfigError.

        overrides: values of the command's own options by "section.key". They override --set; None is ignored.
        """
        # Imported late: --help should not wait for it.
        from forebay.stream.config.found_file import check_found_file
        from forebay.stream.config.load import load_settings

        if self.found and self.path is not None:
            check_found_file(self.path, self.environ)
            if self.announced:
                echo(f"using {self.path} from the current folder", err=True)
        options = {key: value for key, value in overrides.items() if value is not None}
        return load_settings(self.path, self.environ, {**self.overrides, **options})

    def with_broker(self, bootstrap_server: str | None) -> ConfigSource:
        """Return a source that includes the value of --bootstrap-server, if given, so that `arguments` passes it on."""
        if bootstrap_server is None:
            return self
        return replace(self, overrides={**self.overrides, "kafka.bootstrap_servers": bootstrap_server})

    def arguments(self) -> list[str]:
        """Return the options with which another command reads the same settings."""
        config = [] if self.path is None else ["-c", str(self.path)]
        return config + [part for key, value in self.overrides.items() for part in ("--set", f"{key}={value}")]


def config_options(function: Callable[Concatenate[ConfigSource, P], R]) -> Callable[P, R]:
    """Add -c/--config and --set. The command receives a ConfigSource as its first argument."""

    @click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        envvar="FOREBAY_CONFIG",
        show_envvar=True,
        metavar="FILE",
        help=f"Configuration file. [default: ./{DEFAULT_FILE}, if you own it]",
    )
    @click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Set one setting, of a model with models[0].KEY=VALUE; overrides the file and the environment; may be "
        "repeated.",
    )
    @functools.wraps(function)
    def command(*args: Any, config_path: Path | None, assignments: tuple[str, ...], **kwargs: Any) -> R:
        found = config_path is None and Path(DEFAULT_FILE).is_file()
        if found:
            config_path = Path(DEFAULT_FILE)
        announced = sys.stderr.isatty() or _command_name(click.get_current_context()) not in _READ_ONLY
        environ = MappingProxyType(dict(os.environ))
        source = ConfigSource(config_path, environ, _parse(assignments), found=found, announced=announced)
        return function(source, *args, **kwargs)

    # click passes the two parameters that the wrapper adds.
    return cast(Callable[P, R], command)


def _command_name(context: click.Context) -> str:
    """Return the name of a command below `forebay`, such as `dlq list`."""
    names: list[str] = []
    while context.parent is not None:
        names.insert(0, context.info_name or "")
        context = context.parent
    return " ".join(names)


def bootstrap_option(function: Callable[P, R]) -> Callable[P, R]:
    """Add --bootstrap-server. The command receives it as `bootstrap_server`."""
    return click.option(
        "--bootstrap-server", metavar="HOST:PORT", help="Broker to connect to. [default: kafka.bootstrap_servers]"
    )(function)


class _FirstName(click.Option):
    """An option whose help and errors show only its first name."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        with self._one_name():
            return super().get_help_record(ctx)

    def get_error_hint(self, ctx: click.Context) -> str:
        with self._one_name():
            return super().get_error_hint(ctx)

    @contextmanager
    def _one_name(self) -> Iterator[None]:
        names, self.opts = self.opts, self.opts[:1]
        try:
            yield
        finally:
            self.opts = names


def timeout_option(help: str, *, default: float | None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Add --timeout, with --timeout-s as an alias. The command receives it as `timeout_s`."""
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


def watch_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add --watch and --interval. The command receives `watch` and `interval_s`."""
    interval = click.option(
        "--interval",
        "interval_s",
        type=click.FloatRange(min=0.2),
        default=2.0,
        show_default=True,
        metavar="S",
        help="Seconds between two updates of --watch.",
    )
    return click.option("--watch", is_flag=True, help="Refresh until Ctrl-C.")(interval(function))


def json_option(function: Callable[P, R]) -> Callable[P, R]:
    """Add --json. The command receives it as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def type_option(function: Callable[P, R]) -> Callable[P, R]:
    """Add --type. The command receives its values as `column_types`; see `parse_column_types`."""
    return click.option(
        "--type",
        "column_types",
        multiple=True,
        metavar="NAME=TYPE",
        help="CSV and JSON lines: the type of a column: number, integer, boolean, text, or time (ISO 8601, or milliseconds "
        "since 1970); may be repeated. [default: found from the first rows]",
    )(function)


def parse_column_types(assignments: Sequence[str], text_columns: Sequence[str] = ()) -> dict[str, ColumnType]:
    """Return the types of `--type NAME=TYPE`, and of `--text-column NAME`. Raises ConfigError for an unknown type."""
    from forebay.models.data.table_options import column_type

    types: dict[str, ColumnType] = {}
    for assignment in assignments:
        column, equals, kind = assignment.rpartition("=")
        if not equals or not column:
            raise ConfigError(
                f"--type {assignment!r} is not NAME=TYPE",
                kind="column_type",
                remedy="write it like --type amount=number",
            )
        types[column] = column_type(column, kind)
    return {**types, **dict.fromkeys(text_columns, "text")}


def parse_delimiter(text: str | None) -> str | None:
    """Return the character of --delimiter. Raises ConfigError for several characters."""
    character = {"tab": "\t", "\\t": "\t"}.get(text or "", text)
    if character is not None and (len(character) != 1 or character in '"\r\n'):
        raise ConfigError(
            f"--delimiter {text!r} is not one character", kind="delimiter", remedy="write it like --delimiter ';'"
        )
    return character


def _parse(assignments: tuple[str, ...]) -> Mapping[str, object]:
    overrides: dict[str, object] = {}
    problems = []
    for number, assignment in enumerate(assignments, start=1):
        key, equals, value = assignment.partition("=")
        if equals and ("." in key or key.strip() == "models"):
            overrides[key.strip()] = value
        else:
            # The text is not shown: it may be a secret.
            problems.append(f"--set number {number}: must be SECTION.KEY=VALUE, such as batch.max_batch_size=256")
    if problems:
        raise ConfigError("the command line has errors", problems=problems)
    return MappingProxyType(overrides)

"""Options of the commands that change a rollout."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, cast

import click

from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option, timeout_option

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings

P = ParamSpec("P")
R = TypeVar("R")

WAIT_TIMEOUT_S: Final = 60.0

NAME: Final = click.argument("name", metavar="NAME")
VERSION: Final = click.argument("version", required=False, metavar="[VERSION|ALIAS]")


@dataclass(frozen=True, slots=True)
class ChangeOptions:
    """How a change is made and reported.

    author: None for the user that runs the command.
    wait: whether to wait until every live worker has applied it.
    token_over_http: send admin.token without TLS to other machines too.
    """

    reason: str
    author: str | None
    dry_run: bool
    wait: bool
    timeout_s: float
    token_over_http: bool
    as_json: bool


def group_options(function: Callable[Concatenate[Settings, P], R]) -> Callable[P, R]:
    """Add the options for the cluster and the workers' group; the command receives Settings as its first argument."""

    @config_options
    @bootstrap_option
    @click.option("--group", metavar="NAME", help="Consumer group of the workers. [default: kafka.group_id]")
    @functools.wraps(function)
    def command(
        source: ConfigSource, /, *args: Any, bootstrap_server: str | None, group: str | None, **kwargs: Any
    ) -> R:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its problems are reported as errors
        settings = source.load({"kafka.bootstrap_servers": bootstrap_server, "kafka.group_id": group}).settings
        return function(settings, *args, **kwargs)

    return cast(Callable[P, R], command)


def token_option(function: Callable[P, R]) -> Callable[P, R]:
    """Add --token-over-http, as in `forebay status`."""
    return click.option(
        "--token-over-http",
        is_flag=True,
        help="Send admin.token without TLS to other machines too: to any address that a group member advertises.",
    )(function)


def change_options(
    *, wait: bool = False
) -> Callable[[Callable[Concatenate[Settings, ChangeOptions, P], R]], Callable[P, R]]:
    """Return the decorator that adds the options of all changes; the command receives Settings and ChangeOptions.

    wait: the default of --wait.
    """

    def decorate(function: Callable[Concatenate[Settings, ChangeOptions, P], R]) -> Callable[P, R]:
        @group_options
        @click.option("--reason", default="", metavar="TEXT", help="Why, for the history.")
        @click.option("--author", metavar="TEXT", help="Who decides it, for the history. [default: user@host]")
        @click.option("--dry-run", is_flag=True, help="Check and print the change, without making it.")
        @click.option(
            "--wait/--no-wait",
            "wait_for_workers",
            default=wait,
            show_default=True,
            help="Wait until every live worker has applied the change. The exit status is 1 if one has not.",
        )
        @timeout_option("How long --wait waits.", default=WAIT_TIMEOUT_S)
        @token_option
        @json_option
        @functools.wraps(function)
        def command(
            settings: Settings,
            /,
            *args: Any,
            reason: str,
            author: str | None,
            dry_run: bool,
            wait_for_workers: bool,
            timeout_s: float,
            token_over_http: bool,
            as_json: bool,
            **kwargs: Any,
        ) -> R:
            options = ChangeOptions(
                reason=reason.strip(),
                author=None if author is None else author.strip() or None,
                dry_run=dry_run,
                wait=wait_for_workers,
                timeout_s=timeout_s,
                token_over_http=token_over_http,
                as_json=as_json,
            )
            return function(settings, options, *args, **kwargs)

        return cast(Callable[P, R], command)

    return decorate


def force_option(function: Callable[P, R]) -> Callable[P, R]:
    """Add --force, with which a person uses a rejected version again."""
    return click.option(
        "--force", is_flag=True, help="Use the version although it was rejected: rolled back or aborted."
    )(function)

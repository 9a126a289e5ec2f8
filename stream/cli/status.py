"""`forebay status`: show the workers of a consumer group."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Final

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import (
    ConfigSource,
    bootstrap_option,
    config_options,
    json_option,
    timeout_option,
    watch_options,
)
from forebay.stream.cli.output import echo

if TYPE_CHECKING:
    from forebay.stream.admin.group_status import GroupStatus
    from forebay.stream.config.sections import Settings

CLUSTER_TIMEOUT_S: Final = 15.0
EXIT_UNHEALTHY: Final = 1


@click.command(
    name="status",
    epilog=examples(
        ("forebay status", "workers, partitions, lag, versions, health"),
        ("forebay status --watch", "refresh until Ctrl-C"),
        ("forebay status --json | jq .lag", "the lag, for scripts"),
        ("forebay status || echo down", "exit status 1: no worker is healthy"),
    ),
)
@config_options
@bootstrap_option
@click.option("--group", metavar="NAME", help="Consumer group of the workers. [default: kafka.group_id]")
@watch_options
@click.option(
    "--token-over-http",
    is_flag=True,
    help="Send admin.token without TLS to other machines too: to any address that a group member advertises.",
)
@timeout_option("Time limit for the cluster in each update.", default=CLUSTER_TIMEOUT_S)
@json_option
def command(
    source: ConfigSource,
    bootstrap_server: str | None,
    group: str | None,
    watch: bool,
    interval_s: float,
    token_over_http: bool,
    timeout_s: float,
    as_json: bool,
) -> int:
    """Show the workers of a consumer group: their partitions, lag, versions and health.

    A worker advertises the address of its admin API when it joins the group; this command queries each address. admin.token
    is sent to workers on this machine, and over HTTPS to workers whose certificate is admin.tls_cert_file or whose name is
    in admin.allowed_hosts. For a worker that does not answer, the group still reports its partitions. Lag is the number of
    records that are committed on the input topics and not yet by the group. Does not join the group.

    The exit status is 1 if no worker is healthy. --json prints one object; with --watch, one object per line.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its problems are reported as errors
    settings = source.load({"kafka.bootstrap_servers": bootstrap_server, "kafka.group_id": group}).settings
    healthy = run_async(
        _status(
            settings,
            interval_s=interval_s if watch else None,
            token_over_http=token_over_http,
            timeout_s=timeout_s,
            as_json=as_json,
        )
    )
    return 0 if healthy else EXIT_UNHEALTHY


async def _status(
    settings: Settings, *, interval_s: float | None, token_over_http: bool, timeout_s: float, as_json: bool
) -> bool:
    from forebay.schemas.topics import topic_name
    from forebay.stream.admin.group_status import admin_urls, build_group_status
    from forebay.stream.admin.status_client import fetch_statuses
    from forebay.stream.core.cancellation import raise_if_cancelled
    from forebay.stream.kafka.client import client_options
    from forebay.stream.kafka.cluster.group_inspector import GroupInspector

    topics = [topic_name(settings.topics.prefix, name) for name in settings.input.topics]
    options = client_options(settings.kafka)
    async with GroupInspector(options, settings.kafka.group_id, topics, timeout_s=timeout_s) as inspector:
        while True:
            raise_if_cancelled()  # an interrupt
            group = await inspector.inspect()
            urls = admin_urls(group)
            responses = await fetch_statuses(settings.admin, list(urls.values()), token_over_http=token_over_http)
            status = build_group_status(group, dict(zip(urls, responses, strict=True)))
            _show(status, as_json=as_json, again=interval_s is not None)
            if interval_s is None:
                return status.healthy
            await asyncio.sleep(interval_s)


def _show(status: GroupStatus, *, as_json: bool, again: bool) -> None:
    if as_json:
        # ASCII only: member names are arbitrary text, and JSON does not escape control characters beyond ASCII.
        echo(json.dumps(status.to_dict(), indent=None if again else 2))
        return
    from forebay.stream.admin.render import render_status
    from forebay.stream.terminal.console import clear_terminal, print_whole

    if again:
        clear_terminal()
    print_whole(render_status(status))

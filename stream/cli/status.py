"""`forebay status`: the group and all its workers."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Final

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option, timeout_option
from forebay.stream.cli.output import echo

if TYPE_CHECKING:
    from forebay.stream.admin.group_status import GroupStatus
    from forebay.stream.config.sections import Settings

CLUSTER_TIMEOUT_S: Final = 15.0
EXIT_UNHEALTHY: Final = 1


@click.command(
    name="status",
    epilog=examples(
        ("forebay status", "who is alive, what each owns, lag, versions, health"),
        ("forebay status --watch", "as it changes, until Ctrl-C"),
        ("forebay status --json | jq .lag", "for scripts"),
        ("forebay status || echo down", "exit status 1: no worker is healthy"),
    ),
)
@config_options
@bootstrap_option
@click.option("--group", metavar="NAME", help="The workers' group. [default: kafka.group_id]")
@click.option("--watch", is_flag=True, help="Refresh until Ctrl-C.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(min=0.2),
    default=2.0,
    show_default=True,
    metavar="S",
    help="--watch: seconds between two updates.",
)
@click.option(
    "--token-over-http",
    is_flag=True,
    help="Send admin.token to other machines without TLS, too: to whatever address a member of the group announces.",
)
@timeout_option("How long the cluster may take for one update.", default=CLUSTER_TIMEOUT_S)
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
    """Show the workers of the group: what each owns, how far behind it is, and what it reports.

    The consumer group is the service registry: a worker announces its address when it joins. Each is asked at its admin
    HTTP, with admin.token on this machine, and over HTTPS if its certificate is admin.tls_cert_file or its name is in
    admin.allowed_hosts; for one that does not answer, the group still reports what it owns. Joins no group. Lag is what is
    committed on the input and not yet committed by the group.

    Exit status 1 if no worker is healthy. With --json one object, or with --watch one a line.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters of it comes as an error
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
            look = await inspector.inspect()
            urls = admin_urls(look)
            answers = await fetch_statuses(settings.admin, list(urls.values()), token_over_http=token_over_http)
            status = build_group_status(look, dict(zip(urls, answers, strict=True)))
            _show(status, as_json=as_json, again=interval_s is not None)
            if interval_s is None:
                return status.healthy
            await asyncio.sleep(interval_s)


def _show(status: GroupStatus, *, as_json: bool, again: bool) -> None:
    if as_json:
        # As ASCII: names of members are any text, and JSON leaves the control characters beyond it as they are.
        echo(json.dumps(status.to_dict(), indent=None if again else 2))
        return
    from forebay.stream.admin.render import render_status
    from forebay.stream.terminal.console import print_whole, stdout_console

    console = stdout_console()
    if again and console.is_terminal:
        console.clear()
    print_whole(render_status(status))

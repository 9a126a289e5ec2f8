"""`forebay aggregate`: the aggregator."""

from __future__ import annotations

import click

from schemas.errors import ConfigError
from stream.cli.examples import examples
from stream.cli.options import ConfigSource, config_options


@click.command(
    name="aggregate",
    epilog=examples(
        ("forebay aggregate -c forebay.toml", "until SIGTERM or Ctrl-C"),
        ("forebay aggregate --set aggregate.webhook_url=http://pager/alerts", "alerts also there"),
        ("forebay errors --watch", "what it has counted, in another terminal"),
        ("forebay tail alerts", "what its rules have raised"),
    ),
)
@config_options
def command(source: ConfigSource) -> None:
    """Merge the outcome deltas of all workers into error-aggregates, and raise alerts.

    Run one, or several to share the partitions of outcome-deltas. Its state is in the topic aggregator-changelog: it may be
    killed at any time, and whoever comes next goes on with exact counts. Makes the topics that it writes where they miss.
    """
    settings = source.load().settings

    import asyncio
    import os
    import sys
    from importlib.util import find_spec

    from stream.clock import SystemClock
    from stream.logs import set_up_logging

    if find_spec("faust") is None:
        raise ConfigError(
            "the aggregator needs the Python package faust-streaming, which is not installed",
            kind="missing_package",
            remedy="pip install 'forebay[aggregate]'",
        )
    from stream.aggregate.quiet import quieten
    from stream.aggregate.service import Aggregator

    set_up_logging(settings.log.level, settings.log.format)
    quieten(settings.log.level)
    counted = asyncio.run(Aggregator(settings, clock=SystemClock()).run())
    click.echo(f"{counted:,} deltas counted", err=True)
    # Faust's consumer has a thread that may wait for the broker; nothing of it is needed any more.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)

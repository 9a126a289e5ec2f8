"""`forebay aggregate`: run the aggregator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

import click

from forebay.schemas.errors import ConfigError, ForebayError
from forebay.stream.cli.examples import examples
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options
from forebay.stream.cli.output import echo
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from forebay.stream.aggregate.service import Aggregator

EXIT_FAILED: Final = 1


@click.command(
    name="aggregate",
    epilog=examples(
        ("forebay aggregate -c forebay.toml", "until SIGTERM or Ctrl-C"),
        ("forebay aggregate --set aggregate.webhook_url=http://pager/alerts", "also send alerts to a webhook"),
        ("forebay errors --watch", "watch the counts, in another terminal"),
        ("forebay tail alerts", "watch the alerts"),
    ),
)
@config_options
@bootstrap_option
def command(source: ConfigSource, bootstrap_server: str | None) -> None:
    """Run the aggregator: merge the outcome deltas of all workers into error-aggregates, and raise alerts.

    Several aggregators share the partitions of outcome-deltas. The state is in the topic aggregator-changelog, so an
    aggregator can be killed at any time and the next one continues with exact counts. Missing output topics are created.
    """
    settings = source.with_broker(bootstrap_server).load().settings

    from importlib.util import find_spec

    from forebay.stream.core.clock import SystemClock
    from forebay.stream.core.extras import install_hint
    from forebay.stream.telemetry.log_setup import set_up_logging

    if find_spec("faust") is None:
        raise ConfigError(
            "the aggregator requires the Python package faust-streaming, which is not installed",
            kind="missing_package",
            remedy=install_hint("aggregate"),
        )
    from forebay.stream.aggregate.faust_logging import quiet_faust
    from forebay.stream.aggregate.service import Aggregator

    set_up_logging(settings.log.level, settings.log.format)
    quiet_faust(settings.log.level)
    _run_and_end(Aggregator(settings, clock=SystemClock()))


def _run_and_end(aggregator: Aggregator) -> NoReturn:
    """Run the aggregator and end the process without the cleanup of asyncio and the interpreter.

    That cleanup would cancel Faust's tasks, which log this as crashes, and wait for Faust's threads, which wait for the
    broker. By then all work is done or recorded in the changelog.
    """
    import asyncio
    import logging
    import os
    import signal
    import sys

    from forebay.stream.core.stop_request import StoppedEarly
    from forebay.stream.terminal.console import render_error

    loop, status = asyncio.new_event_loop(), EXIT_FAILED
    asyncio.set_event_loop(loop)
    try:
        counted = loop.run_until_complete(aggregator.run())
        echo(f"{quantity(counted, 'delta')} counted", err=True)
        status = 0
    except StoppedEarly as error:
        echo(str(error), err=True)
        status = 128 + error.number if error.number == signal.SIGINT else 0
    except ForebayError as error:
        render_error(error)
    except BaseException:
        logging.getLogger("forebay.aggregate").exception("unexpected error; this is a bug")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

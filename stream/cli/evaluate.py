"""`forebay evaluate`: run the evaluator."""

from __future__ import annotations

import asyncio
import signal

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import Interrupted
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options
from forebay.stream.cli.output import echo


@click.command(
    name="evaluate",
    epilog=examples(
        ("forebay evaluate -c forebay.toml", "until SIGTERM or Ctrl-C"),
        ("forebay evaluate --set evaluate.enabled=true --set evaluate.horizon_s=3600", "labels come within an hour"),
        ("forebay tail labels", "watch the labels, in another terminal"),
        ("forebay tail quality", "watch the quality records"),
    ),
)
@config_options
@bootstrap_option
def command(source: ConfigSource, bootstrap_server: str | None) -> None:
    """Run the evaluator: join labels with predictions, and write the quality of each model version to the topic quality.

    Several evaluators share the partitions. What waits for labels is in memory only: an evaluator can be killed at any
    time, and the next one reads it again and continues with exact sums. Requires evaluate.enabled.
    """
    settings = source.with_broker(bootstrap_server).load().settings

    from forebay.stream.core.clock import SystemClock
    from forebay.stream.core.stop_request import StoppedEarly
    from forebay.stream.evaluate.service import EvaluatorService
    from forebay.stream.telemetry.log_setup import set_up_logging

    set_up_logging(settings.log.level, settings.log.format)
    service = EvaluatorService(settings, clock=SystemClock())
    try:
        totals = asyncio.run(service.run())
    except StoppedEarly as error:
        if error.number == signal.SIGINT:
            raise Interrupted(error.number) from None
        echo(str(error), err=True)
        return
    echo(str(totals), err=True)

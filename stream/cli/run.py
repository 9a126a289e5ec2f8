"""`forebay run`: run a worker."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import Interrupted
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options
from forebay.stream.cli.output import echo

if TYPE_CHECKING:
    from forebay.stream.core.stop_request import StoppedEarly


@click.command(
    name="run",
    epilog=examples(
        ("forebay run -c forebay.toml", "until SIGTERM or Ctrl-C, then drain and leave the group"),
        ("forebay run --set model.version=3", "serve this version instead of the highest"),
        ("forebay run --from-timestamp 2026-01-31T00:00:00Z", "start at this time, for a new group"),
        ("FOREBAY_KAFKA__GROUP_ID=again forebay run", "as a new group, from the start of the topics"),
    ),
)
@config_options
@bootstrap_option
@click.option(
    "--from-timestamp",
    metavar="TIME",
    help="Start at this time (RFC 3339, or ms since 1970) where the group has no committed offset.",
)
@click.option("--with-aggregator", is_flag=True, help="Also run `forebay aggregate`, in a separate process.")
def command(
    source: ConfigSource, bootstrap_server: str | None, from_timestamp: str | None, with_aggregator: bool
) -> None:
    """Run a worker: consume events, predict, and publish predictions.

    It runs until SIGTERM or Ctrl-C, which drain the events in flight; a second signal ends it at once. On a fatal error it
    stops with the reason and exit status 1. Events that were not committed are read again by the next worker.
    """
    source = source.with_broker(bootstrap_server)
    settings = source.load({"input.from_timestamp": from_timestamp}).settings

    import asyncio
    from contextlib import nullcontext

    from forebay.stream.aggregate.sidecar_process import sidecar_aggregator
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.core.stop_request import StoppedEarly
    from forebay.stream.inference.loading import ModelLoader
    from forebay.stream.telemetry.load_meter import load_meter
    from forebay.stream.telemetry.log_setup import set_up_logging
    from forebay.stream.worker.assembly import run_worker
    from forebay.stream.worker.start_versions import load_models, stable_versions

    set_up_logging(settings.log.level, settings.log.format)
    served = settings.models_to_serve()
    loader = ModelLoader(served, settings.trust, load_meter())
    try:
        versions = asyncio.run(stable_versions(settings, clock=SystemClock())) if settings.rollouts.enabled else {}
    except StoppedEarly as error:
        _end_early(error)
        return
    models = load_models(served, versions, loader.load)
    with sidecar_aggregator(source.arguments(), source.environ) if with_aggregator else nullcontext():
        try:
            pipeline = asyncio.run(run_worker(settings, models))
        except StoppedEarly as error:
            _end_early(error)
            return
    echo(str(pipeline.totals), err=True)


def _end_early(error: StoppedEarly) -> None:
    """End as the signal asked for: without a failure, unless it was Ctrl-C."""
    if error.number == signal.SIGINT:
        raise Interrupted(error.number) from None
    echo(str(error), err=True)

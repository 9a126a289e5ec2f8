"""`forebay run`: run a worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import Interrupted
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options
from forebay.stream.cli.output import echo

if TYPE_CHECKING:
    from forebay.stream.config.sections import Settings
    from forebay.stream.core.stop_request import StoppedEarly


class ProcessCount(click.ParamType):
    """A number of processes, or `auto`. The setting has the limits."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        try:
            return "auto" if value == "auto" else int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor auto", param, ctx)


@click.command(
    name="run",
    epilog=examples(
        ("forebay run -c forebay.toml", "until SIGTERM or Ctrl-C, then drain and leave the group"),
        ("forebay run --processes auto", "a worker on each core, supervised, with one admin API"),
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
@click.option(
    "--processes",
    type=ProcessCount(),
    help="Run this many workers, each in a process of its own; auto: one for each core. [default: worker.processes]",
)
@click.option("--with-aggregator", is_flag=True, help="Also run `forebay aggregate`, in a separate process.")
def command(
    source: ConfigSource,
    bootstrap_server: str | None,
    from_timestamp: str | None,
    processes: int | str | None,
    with_aggregator: bool,
) -> None:
    """Run a worker: consume events, predict, and publish predictions.

    It runs until SIGTERM or Ctrl-C, which drain the events in flight; a second signal ends it at once. On a fatal error it
    stops with the reason and exit status 1. Events that were not committed are read again by the next worker.

    With several processes, one that ends is started again, after a growing wait; SIGHUP restarts them one after the other with
    the current settings.
    """
    source = source.with_broker(bootstrap_server)

    def load() -> Settings:
        return source.load({"input.from_timestamp": from_timestamp, "worker.processes": processes}).settings

    settings = load()
    aggregator = partial(_aggregator, source, with_aggregator=with_aggregator)
    if settings.worker.processes == 1:
        _run_one(settings, aggregator)
    else:
        _run_several(settings, load, aggregator)


def _run_one(settings: Settings, aggregator: Callable[[], AbstractContextManager[None]]) -> None:
    """Run a worker in this process."""
    import asyncio

    from forebay.stream.core.stop_request import StoppedEarly
    from forebay.stream.telemetry.log_setup import set_up_logging
    from forebay.stream.worker.assembly import run_worker
    from forebay.stream.worker.start import load_initial_models

    set_up_logging(settings.log.level, settings.log.format)
    try:
        models = load_initial_models(settings)
        with aggregator():
            pipeline = asyncio.run(run_worker(settings, models))
    except StoppedEarly as error:
        _end_early(error)
        return
    echo(str(pipeline.totals), err=True)


def _run_several(
    settings: Settings, load: Callable[[], Settings], aggregator: Callable[[], AbstractContextManager[None]]
) -> None:
    """Run several workers in processes of their own, and supervise them."""
    from forebay.stream.supervisor.threads import limit_threads

    limit_threads(os.environ)

    from forebay.stream.supervisor.run import fork_for, run_processes
    from forebay.stream.telemetry.log_setup import set_up_logging
    from forebay.stream.worker.start import load_and_run

    set_up_logging(settings.log.level, settings.log.format)
    forked = fork_for(settings, load_and_run)
    with aggregator():
        run_processes(settings, forked, load)


def _aggregator(source: ConfigSource, *, with_aggregator: bool) -> AbstractContextManager[None]:
    """Return a context with a running aggregator, if there is to be one."""
    if not with_aggregator:
        return nullcontext()
    from forebay.stream.aggregate.sidecar_process import sidecar_aggregator

    return sidecar_aggregator(source.arguments(), source.environ)


def _end_early(error: StoppedEarly) -> None:
    """End as the signal asked for: without a failure, unless it was Ctrl-C."""
    if error.number == signal.SIGINT:
        raise Interrupted(error.number) from None
    echo(str(error), err=True)

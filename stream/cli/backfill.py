"""`forebay backfill`: predict the events of the past again, into topics of their own, and end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import Interrupted, run_async
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options, json_option

if TYPE_CHECKING:
    from forebay.stream.backfill.completion import Completion
    from forebay.stream.backfill.run import BackfillPlan, BackfillRequest
    from forebay.stream.cli.backfill_render import BackfillDisplay
    from forebay.stream.config.models_section import ServedModelSettings
    from forebay.stream.core.model_ref import ModelRef


@click.command(
    name="backfill",
    epilog=examples(
        ("forebay backfill --from -7d --dry-run", "what would be read, and where it would go"),
        ("forebay backfill --from -7d --model fraud@3", "a week, predicted by one version"),
        ("forebay backfill --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z --run-id january", "a month"),
        (
            "forebay backfill --from -7d --processes 4 --max-lag-of forebay",
            "four workers, which wait while live ones lag",
        ),
        ("forebay backfill --run-id january", "continue after it was interrupted or killed"),
        ("forebay backfill --from 0:1200 --to 0:1300 --json", "100 offsets of partition 0, for scripts"),
    ),
)
@config_options
@bootstrap_option
@click.option(
    "--from",
    "begin",
    default="beginning",
    show_default=True,
    metavar="WHERE",
    help="Where to begin: beginning, end, a duration before now (-7d), a time (RFC 3339, or ms since 1970), or offsets "
    "(PARTITION:OFFSET,…; only these partitions are read).",
)
@click.option(
    "--to", "end", default="end", show_default=True, metavar="WHERE", help="Where to end, written in the same way."
)
@click.option(
    "--run-id", metavar="ID", help="Name of the back-fill. The same name continues it. [default: the time of the start]"
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME@VERSION",
    help="The version to predict with; may be repeated. [default: the version that workers load]",
)
@click.option(
    "--output-prefix",
    metavar="PREFIX",
    help="Prefix of the topics with the results. [default: topics.prefix, and backfill-ID.]",
)
@click.option(
    "--close-windows",
    is_flag=True,
    help="Also emit the windows over event time that are still open at the end, as if no more events followed.",
)
@click.option(
    "--max-rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Read at most this many records per second. [default: no limit]",
)
@click.option(
    "--max-lag-of",
    metavar="GROUP",
    help="Read nothing while the lag of this consumer group in the input topics is above --max-lag.",
)
@click.option(
    "--max-lag",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Records of lag above which --max-lag-of holds; reading continues at half of it.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of worker processes.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be read and written, and do nothing.")
@json_option
def command(
    source: ConfigSource,
    bootstrap_server: str | None,
    begin: str,
    end: str,
    run_id: str | None,
    models: tuple[str, ...],
    output_prefix: str | None,
    close_windows: bool,
    max_rate: float | None,
    max_lag_of: str | None,
    max_lag: int,
    processes: int,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Predict the events of a range of the input topics again, exactly once, and end.

    Events are read, predicted and committed as by a worker, in a consumer group of their own, so the live workers and their
    offsets are not touched. Predictions, dead letters and counts go to topics of their own, which are created:
    backfill-ID.predictions and so on. Other commands read them with --set topics.prefix=backfill-ID.

    The ends are fixed at the start. A run that was interrupted continues with the same --run-id, also after a kill, and
    repeats nothing; one that is finished says so. The exit status is 0 only if all is committed.
    """
    if processes > 1:
        import os

        from forebay.stream.supervisor.threads import limit_threads

        limit_threads(os.environ)  # before NumPy is imported

    from forebay.stream.backfill.bounds import parse_bound
    from forebay.stream.backfill.run import BackfillRequest
    from forebay.stream.backfill.run_settings import name_run, parse_versions
    from forebay.stream.cli.backfill_render import open_display
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.telemetry.log_setup import set_up_logging

    loaded = source.load({"kafka.bootstrap_servers": bootstrap_server})
    settings, now_ms = loaded.settings, SystemClock().wall_ms()
    topics, prefix = settings.input.topics, settings.topics.prefix
    request = BackfillRequest(
        settings,
        name_run(settings, run_id, output_prefix, now_ms=now_ms),
        begin=parse_bound("--from", begin, topics=topics, prefix=prefix, now_ms=now_ms),
        end=parse_bound("--to", end, topics=topics, prefix=prefix, now_ms=now_ms),
        versions=parse_versions(models, [served.model.name for served in settings.models_to_serve()]),
        outputs_given=output_prefix is not None,
        close_windows=close_windows,
        max_rate=max_rate,
        max_lag=None if max_lag_of is None else (max_lag_of, max_lag),
        processes=processes,
    )
    # The log of a worker would be between the lines of the progress; problems are still in it.
    level = "warning" if loaded.origins["log.level"] == "default" else settings.log.level
    set_up_logging(level, settings.log.format)
    return backfill(request, open_display(as_json), dry_run=dry_run)


def backfill(request: BackfillRequest, display: BackfillDisplay, *, dry_run: bool) -> int:
    """Plan, run and report a back-fill; return the exit status. Raises ForebayError, and Interrupted after a signal."""
    from forebay.stream.backfill.outcomes import read_outcomes
    from forebay.stream.backfill.run import plan_backfill
    from forebay.stream.cli.backfill_render import Pace
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.kafka.client import client_options

    clock = SystemClock()
    if request.settings.rollouts.enabled:
        request = _with_stable_versions(request)
    plan = run_async(plan_backfill(request, _resolve, dry_run=dry_run, clock=clock))
    display.show_plan(plan, dry_run=dry_run)
    if dry_run:
        return 0
    state = plan.completion(plan.progress, now_ms=clock.wall_ms())
    pace = None
    if not state.is_complete:
        pace = Pace(state.done)
        state = _run(plan, display)
    topic = f"{plan.run.outputs}outcome-deltas"
    outcomes = run_async(read_outcomes(client_options(plan.settings.kafka), topic, clock=clock))
    display.show_end(plan, state, outcomes, pace)
    return 0


def _with_stable_versions(request: BackfillRequest) -> BackfillRequest:
    """Return the request with the versions that the current revisions make stable, except where it names others."""
    import asyncio
    from dataclasses import replace

    from forebay.stream.core.clock import SystemClock
    from forebay.stream.worker.start_versions import stable_versions

    stable = asyncio.run(stable_versions(request.settings, clock=SystemClock()))
    return replace(request, configured=stable)


def _resolve(served: ServedModelSettings) -> ModelRef:
    """Return the version that a worker would load, from its manifest."""
    from forebay.models.artefacts.artefact import read_version
    from forebay.stream.core.model_ref import ModelRef

    manifest = read_version(served.model.repository, served.model.name, served.model.version).manifest
    return ModelRef(manifest.name, manifest.version)


def _run(plan: BackfillPlan, display: BackfillDisplay) -> Completion:
    """Load the models and run the workers until all is committed. Raises Interrupted after a signal."""
    import asyncio

    from forebay.stream.backfill.run import BackfillStopped, run_backfill, run_backfill_processes
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.worker.start import load_initial_models

    clock = SystemClock()
    try:
        with display.progress(plan) as on_progress:
            if plan.request.processes > 1:
                return run_backfill_processes(plan, on_progress, clock=clock)
            models = load_initial_models(plan.settings)
            return asyncio.run(run_backfill(plan, models, on_progress, clock=clock))
    except BackfillStopped as error:
        display.show_interrupted(plan)
        raise Interrupted(error.number) from None

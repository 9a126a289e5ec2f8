"""Measure how throughput, memory and latency of a worker grow with the size of what it has to do.

    python -m benchmarks.growth --broker apache
    python -m benchmarks.growth --broker apache --rounds 3 --only partitions,windows
    python -m benchmarks.growth --quick

Each point is a worker of its own with topics of its own. It differs from a base (4 partitions, one process, 32 features, an
MLP 32-128-64-2 in ONNX Runtime, micro-batches of at most 4,096, 1,000 keys) in one respect. Of each, these are measured:
the memory at rest, the latency of an open loop at a modest rate, and the CPU time, rate and peak memory while it drains a
topic that was filled while it was paused. Points with large events get fewer events and a lower rate. Broker, worker and
benchmark share the machine: compare CPU times rather than rates. One round takes about ten minutes on two idle cores, and
--quick two.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.field import started_broker
from benchmarks.growth.points import DIMENSIONS, Point, in_order, points_of
from benchmarks.growth.report import lines_of, save_plot, to_document
from benchmarks.growth.subject import Result, Size, measure, save_models
from forebay.schemas.errors import ForebayError
from forebay.stream.bench.host_info import describe_host

FULL = Size(events=400_000, rate=1_000, latency_s=5)
QUICK = Size(events=100_000, rate=500, latency_s=2)


async def run(
    points: Sequence[Point],
    size: Size,
    *,
    rounds: int,
    broker: str,
    bootstrap_server: str | None,
    guarantee: str,
    progress: Callable[[str], None],
    done: Callable[[Point, Result], None],
) -> tuple[str, dict[Point, list[Result]]]:
    """Measure all points in each round. Return the description of the broker, and the results.

    done: receives each result as soon as it is measured.
    """
    runs: dict[Point, list[Result]] = {point: [] for point in points}
    with tempfile.TemporaryDirectory(prefix="forebay-growth-") as name:
        folder = Path(name)
        save_models(folder / "models", [point.load for point in points])
        async with started_broker(broker, bootstrap_server, folder) as (servers, description):
            for number in range(rounds):
                for point in in_order(points, number):
                    title = f"{point.dimension} {point.value:,}"
                    result = await measure(
                        point.load,
                        size,
                        servers=servers,
                        folder=folder,
                        guarantee=guarantee,
                        progress=lambda step, title=title: progress(f"{title}: {step}"),  # type: ignore[misc]
                    )
                    runs[point].append(result)
                    done(point, result)
    return description, runs


def chosen(only: str | None) -> list[str]:
    """Return the names of the dimensions in a list with commas. Raises BadParameter."""
    names = [name.strip() for name in only.split(",")] if only else list(DIMENSIONS)
    for name in names:
        if name not in DIMENSIONS:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(DIMENSIONS)}", param_hint="--only")
    return names


@click.command(help=__doc__.partition("\n")[0] if __doc__ else None)
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="embedded", show_default=True)
@click.option("--bootstrap-server", metavar="HOST:PORT", help="Use this running Kafka instead.")
@click.option("--only", metavar="NAME,…", help=f"Measure only these: {', '.join(DIMENSIONS)}. [default: all]")
@click.option("--rounds", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--quick", is_flag=True, help="Only the ends of each dimension, with fewer events.")
@click.option("--events", type=click.IntRange(min=1_000), help="Events to drain at each point, at most.")
@click.option("--at-least-once", is_flag=True, help="Measure at least once instead of exactly once.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.json", help="Save the JSON.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png", help="Save a plot.")
def main(
    broker: str,
    bootstrap_server: str | None,
    only: str | None,
    rounds: int,
    quick: bool,
    events: int | None,
    at_least_once: bool,
    as_json: bool,
    output: Path | None,
    plot: Path | None,
) -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    points = points_of(chosen(only), quick=quick)
    base = QUICK if quick else FULL
    size = Size(events or base.events, base.rate, base.latency_s)
    guarantee = "at_least_once" if at_least_once else "exactly_once"
    console, began_s = Console(stderr=True), time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, refresh_per_second=2, transient=True) as bar:
            task = bar.add_task("starting the broker", total=len(points) * rounds)

            def done(point: Point, result: Result) -> None:
                bar.advance(task)
                line = f"{point.dimension} {point.value:,}: {result.cpu_us:.2f} µs of CPU per event"
                console.print(f"{line}, peak {result.peak_mib:,.0f} MiB", style="dim", highlight=False)

            description, runs = asyncio.run(
                run(
                    points,
                    size,
                    rounds=rounds,
                    broker=broker,
                    bootstrap_server=bootstrap_server,
                    guarantee=guarantee,
                    progress=lambda text: bar.update(task, description=text),
                    done=done,
                )
            )
    except ForebayError as error:
        console.print(str(error), style="bold red", markup=False)
        sys.exit(1)
    title = f"{description} · {guarantee.replace('_', ' ')} · medians of {rounds}"
    document = to_document(
        runs,
        broker=description,
        processing_guarantee=guarantee,
        rounds=rounds,
        seconds=round(time.monotonic() - began_s, 1),
        machine=describe_host(),
    )
    text = json.dumps(document, ensure_ascii=False, indent=2)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
    if plot is not None:
        save_plot(runs, title, plot)
    click.echo(text if as_json else f"{title}\n\n" + "\n".join(lines_of(runs)))


if __name__ == "__main__":
    main()

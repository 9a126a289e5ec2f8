"""Compare Forebay with hand-written workers.

python -m benchmarks.compare --rounds 5 --events 400000
python -m benchmarks.compare --broker apache --contestants all
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.contestants.catalogue import (
    CONTESTANTS,
    DIVISORS,
    FOREBAY,
    GROUPS,
    Contestant,
    Runtime,
    chosen,
    reference_of,
)
from benchmarks.field import Field, Run, RunFailed, prepared
from forebay.schemas.errors import ForebayError
from forebay.stream.bench.host_info import describe_host, installed_version
from forebay.stream.bench.stats import pairwise_ratios

Runs = dict[str, list[Run]]


def order_of(contestants: Sequence[Contestant], number: int) -> list[Contestant]:
    """Return the order of round `number`: it rotates, so that each contestant runs first, second and so on."""
    shift = number % len(contestants)
    return [*contestants[shift:], *contestants[:shift]]


def summarise(runs: Runs) -> dict[str, dict[str, object]]:
    """Return medians, ranges, and the ratios of Forebay with the same guarantee to each contestant, round by round."""
    references = {contestant.name: reference_of(contestant).name for contestant in CONTESTANTS}
    summary: dict[str, dict[str, object]] = {}
    for name, rounds in runs.items():
        rates = [run.events_per_s for run in rounds]
        cpu_rates = [run.events_per_cpu_s for run in rounds]
        entry: dict[str, object] = {
            "events_per_s": spread(rates),
            "events_per_cpu_s": spread(cpu_rates),
            "peak_rss_mib": max(run.peak_rss_mib for run in rounds),
        }
        ours = runs.get(references.get(name, FOREBAY.name)) or runs.get(FOREBAY.name)
        if ours is not None and name != FOREBAY.name:
            entry["forebay_ratio"] = spread(pairwise_ratios([run.events_per_s for run in ours], rates))
            entry["forebay_cpu_ratio"] = spread(pairwise_ratios([run.events_per_cpu_s for run in ours], cpu_rates))
        summary[name] = entry
    return summary


def spread(values: Sequence[float]) -> dict[str, object]:
    """Return the median, the range and the values of all rounds."""
    return {"median": median(values), "min": min(values), "max": max(values), "rounds": list(values)}


def to_table(summary: Mapping[str, Mapping[str, object]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("contestant", no_wrap=True)
    for heading in ("events/s", "range", "events/CPU-s", "Forebay ÷ it", "range", "per CPU-s", "range", "peak MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, entry in summary.items():
        rate, cpu_rate = _numbers(entry, "events_per_s"), _numbers(entry, "events_per_cpu_s")
        ratio, cpu_ratio = _numbers(entry, "forebay_ratio"), _numbers(entry, "forebay_cpu_ratio")
        table.add_row(
            name,
            f"{rate['median']:,.0f}",
            f"{rate['min'] / 1000:,.0f}–{rate['max'] / 1000:,.0f} k",
            f"{cpu_rate['median']:,.0f}",
            f"{ratio['median']:.2f}×" if ratio else "",
            f"{ratio['min']:.2f}–{ratio['max']:.2f}" if ratio else "",
            f"{cpu_ratio['median']:.2f}×" if cpu_ratio else "",
            f"{cpu_ratio['min']:.2f}–{cpu_ratio['max']:.2f}" if cpu_ratio else "",
            f"{entry['peak_rss_mib']:,.0f}",
        )
    return table


def _numbers(entry: Mapping[str, object], key: str) -> dict[str, float]:
    found = entry.get(key)
    return found if isinstance(found, dict) else {}


async def run_rounds(field: Field, contestants: Sequence[Contestant], rounds: int, done: Callable[[int], None]) -> Runs:
    """Run every contestant once in each round, in rotating order."""
    runs: Runs = {contestant.name: [] for contestant in contestants}
    for number in range(rounds):
        for contestant in order_of(contestants, number):
            runs[contestant.name].append(await field.run(contestant, number))
            done(1)
    return runs


async def compete(
    contestants: Sequence[Contestant],
    *,
    rounds: int,
    events: int,
    partitions: int,
    idempotent: bool,
    broker: str,
    bootstrap_server: str | None,
    begin: Callable[[str, int], Callable[[int], None]],
    builds: Mapping[Runtime, Path],
) -> tuple[str, Runs]:
    """Run every contestant once in each round, on one broker and one filled topic. Return the broker and the runs."""
    async with prepared(
        broker=broker,
        bootstrap_server=bootstrap_server,
        events=events,
        partitions=partitions,
        idempotent=idempotent,
        run_id=uuid.uuid4().hex[:8],
        timestamp_ms=time.time_ns() // 1_000_000,
        progress=begin("filling the topics", events + sum(events // divisor for divisor in DIVISORS.values())),
        builds=builds,
    ) as field:
        return field.broker, await run_rounds(field, contestants, rounds, begin("runs", rounds * len(contestants)))


def available(
    contestants: Sequence[Contestant], console: Console
) -> tuple[list[Contestant], dict[Runtime, Path], dict[str, str]]:
    """Build the contestants in other languages. Return those that can run, their builds, and why the others cannot."""
    if all(contestant.runtime == "python" for contestant in contestants):
        return list(contestants), {}, {}
    # Imported only here: it uses a module of the tests, and so needs the extra `test`.
    from benchmarks.rivals.toolchains import set_up

    console.print("building contestants where this has not been done before…")
    builds, reasons = set_up(contestants, os.environ)
    running = [contestant for contestant in contestants if contestant.runtime not in reasons]
    missing = {c.name: reasons[c.runtime] for c in contestants if c.runtime in reasons}
    return running, builds, missing


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--events", type=click.IntRange(min=10_000), default=400_000, show_default=True)
@click.option("--partitions", type=click.IntRange(min=1), default=4, show_default=True)
@click.option(
    "--idempotent",
    is_flag=True,
    help="Make all producers idempotent. [default: only Forebay's; the others are faster without]",
)
@click.option(
    "--broker",
    type=click.Choice(["embedded", "apache"]),
    default="embedded",
    show_default=True,
    help="Broker to start. apache: Apache Kafka, from Maven or in a container.",
)
@click.option("--bootstrap-server", metavar="HOST:PORT", help="Use this running Kafka instead.")
@click.option(
    "--contestants",
    "names",
    multiple=True,
    default=["python"],
    show_default=True,
    type=click.Choice([*GROUPS, *(contestant.name for contestant in CONTESTANTS if contestant.name not in GROUPS)]),
    help="Run this group of contestants, or this contestant. Can be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.json", help="Save the JSON report."
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png", help="Save a plot.")
def main(
    rounds: int,
    events: int,
    partitions: int,
    idempotent: bool,
    broker: str,
    bootstrap_server: str | None,
    names: tuple[str, ...],
    as_json: bool,
    output: Path | None,
    plot: Path | None,
) -> None:
    """Compare workers that read JSON events, predict with an MLP 32-128-64-2, and write JSON predictions."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console(stderr=True)
    contestants, builds, missing = available(chosen(names), console)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, refresh_per_second=2, transient=True) as bar:

            def begin(name: str, total: int) -> Callable[[int], None]:
                task = bar.add_task(name, total=total)
                return lambda done: bar.advance(task, done)

            broker_name, runs = asyncio.run(
                compete(
                    contestants,
                    rounds=rounds,
                    events=events,
                    partitions=partitions,
                    idempotent=idempotent,
                    broker=broker,
                    bootstrap_server=bootstrap_server,
                    begin=begin,
                    builds=builds,
                )
            )
    except (RunFailed, ForebayError) as error:
        console.print(str(error), style="bold red", markup=False)
        sys.exit(1)
    summary = summarise(runs)
    report = {
        "broker": broker_name,
        "rounds": rounds,
        "events": events,
        "partitions": partitions,
        "idempotent": idempotent,
        "contestants": {
            c.name: {"what": c.what, "processing_guarantee": c.processing_guarantee, **summary[c.name]}
            for c in contestants
        },
        "left_out": missing,
        "machine": {**describe_host(), "confluent-kafka": installed_version("confluent-kafka")},
    }
    document = json.dumps(report, ensure_ascii=False, indent=2)
    title = f"{broker_name} · {events:,} events · median of {rounds} · {partitions} partitions"
    if output is not None:
        output.write_text(document + "\n", encoding="utf-8")
    if plot is not None:
        from benchmarks.plot import save_plot

        save_plot(summary, title, plot)
    if as_json:
        click.echo(document)
    else:
        output_console = Console(width=None if sys.stdout.isatty() else 140)
        output_console.print(to_table(summary, title))
        for name, reason in missing.items():
            output_console.print(f"{name}: left out; {reason}", markup=False)


if __name__ == "__main__":
    main()

"""Measure what several models in one worker cost.

    python -m benchmarks.lanes --rounds 10 --events 400000
    python -m benchmarks.lanes --broker apache

Each variant is a worker process that drains a topic with the same number of events:

- "wide" serves one model with 32 features, "narrow" one with 8. Their events name no model.
- "two" serves both. The events of its topic name their model in the field `model`, in turn: half are for each.
- "ten" serves the model of "wide" and nine more of that size, which get no events. It drains the topic of "wide".

Figures are events per CPU second of the worker process. In each round, "two" is divided by the rate that one worker for each
model would reach with the same CPU time: half of the events at the rate of "wide" and half at that of "narrow", which is the
harmonic mean of both. "ten" is divided by "wide".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import harmonic_mean, median
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.compare import Runs, run_rounds
from benchmarks.contestants.catalogue import Contestant
from benchmarks.field import Field, RunFailed, started_broker
from forebay.models.artefacts.artefact import read_version
from forebay.schemas.errors import ForebayError
from forebay.schemas.topics import topic_name
from forebay.stream.bench.events import AlternatingEvents, EventGenerator, Events
from forebay.stream.bench.host_info import describe_host
from forebay.stream.bench.preload import preload_topic
from forebay.stream.bench.setup import save_bench_model
from forebay.stream.bench.stats import mean_ratio, pairwise_ratios
from forebay.stream.config.sections import InputSection, KafkaSection, ModelSection, Settings, TopicsSection
from forebay.stream.config.toml_text import toml_value
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topics import create_topics

WIDE, NARROW = "wide", "narrow"
NUM_FEATURES = {WIDE: 32, NARROW: 8}
IDLE = tuple(f"idle-{number}" for number in range(1, 10))
MIXED_TOPIC = "mixed"


@dataclass(frozen=True, slots=True)
class Variant:
    """A worker to measure.

    models: names of its models; the first is the default.
    topic: its input topic, without the prefix.
    """

    name: str
    models: tuple[str, ...]
    topic: str
    what: str

    def contestant(self) -> Contestant:
        """Return the contestant that runs this variant."""
        return Contestant(
            self.name, "benchmarks.contestants.forebay_worker", self.what, config=f"forebay-{self.name}.toml"
        )


@dataclass(frozen=True, slots=True)
class Target:
    """What a variant is compared with. min_ratio: the ratio that is to be reached."""

    variant: str
    baselines: tuple[str, ...]
    min_ratio: float


VARIANTS = (
    Variant("wide", (WIDE,), WIDE, "one model with 32 features"),
    Variant("narrow", (NARROW,), NARROW, "one model with 8 features"),
    Variant("two", (WIDE, NARROW), MIXED_TOPIC, "both, on one topic whose events name their model"),
    Variant("ten", (WIDE, *IDLE), WIDE, "ten models with 32 features; nine get no events"),
)
TARGETS = (Target("two", ("wide", "narrow"), 0.85), Target("ten", ("wide",), 0.95))


def worker_config(settings: Settings, variant: Variant) -> str:
    """Return the configuration file of a variant. What it does not contain has its default."""
    lines = [
        "[kafka]",
        f"bootstrap_servers = {toml_value(settings.kafka.bootstrap_servers)}",
        "[topics]",
        f"prefix = {toml_value(settings.topics.prefix)}",
        f"partitions = {settings.topics.partitions}",
        "[input]",
        f"topics = {toml_value([variant.topic])}",
        "[model]",
        f"repository = {toml_value(settings.model.repository)}",
    ]
    if len(variant.models) == 1:
        lines.append(f"name = {toml_value(variant.models[0])}")
    else:
        for model in variant.models:
            lines += ["[[models]]", f"name = {toml_value(model)}"]
    return "\n".join(lines) + "\n"


def summarise(runs: Runs, targets: Sequence[Target] = TARGETS) -> dict[str, dict[str, object]]:
    """Return the events per CPU second of each variant, and the ratios to what it is compared with, round by round."""
    rates = {name: [run.events_per_cpu_s for run in rounds] for name, rounds in runs.items()}
    summary: dict[str, dict[str, object]] = {
        name: {
            "events_per_cpu_s": {"median": median(of_name), "min": min(of_name), "max": max(of_name), "rounds": of_name}
        }
        for name, of_name in rates.items()
    }
    for target in targets:
        baseline = [harmonic_mean(rounds) for rounds in zip(*(rates[name] for name in target.baselines), strict=True)]
        ratios = pairwise_ratios(rates[target.variant], baseline)
        summary[target.variant]["ratio"] = {
            **asdict(mean_ratio(ratios)),
            "median": median(ratios),
            "rounds": ratios,
            "to": target.baselines,
            "target": target.min_ratio,
        }
    return summary


def to_table(summary: Mapping[str, Mapping[str, object]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("worker", "events/CPU-s", "range", "divided by", "mean ratio", "lower 95 %", "range", "target"):
        table.add_column(heading, justify="left" if heading in ("worker", "divided by") else "right", no_wrap=True)
    for name, entry in summary.items():
        rate, ratio = _figures(entry["events_per_cpu_s"]), _figures(entry.get("ratio"))
        cells = [name, f"{rate['median']:,.0f}", f"{rate['min'] / 1000:,.0f}–{rate['max'] / 1000:,.0f} k"]
        if ratio:
            lower, rounds = ratio["lower_95"], ratio["rounds"]
            cells += [" and ".join(ratio["to"]), f"{ratio['mean']:.3f}", "" if lower is None else f"{lower:.3f}"]
            cells += [f"{min(rounds):.3f}–{max(rounds):.3f}", f"≥ {ratio['target']:.2f}"]
        table.add_row(*cells)
    return table


def _figures(figures: object) -> dict[str, Any]:
    return figures if isinstance(figures, dict) else {}


@contextlib.asynccontextmanager
async def prepared(
    *,
    broker: str,
    bootstrap_server: str | None,
    events: int,
    partitions: int,
    run_id: str,
    timestamp_ms: int,
    begin: Callable[[str, int], Callable[[int], None]],
) -> AsyncIterator[Field]:
    """Prepare the models, the topics with their events, and the configuration of each variant."""
    with tempfile.TemporaryDirectory(prefix="forebay-lanes-") as name:
        folder = Path(name)
        repository = folder / "models"
        for model in (WIDE, NARROW, *IDLE):
            save_bench_model(repository, name=model, num_features=NUM_FEATURES.get(model, NUM_FEATURES[WIDE]))
        async with started_broker(broker, bootstrap_server, folder) as (servers, description):
            settings = Settings(
                kafka=KafkaSection(bootstrap_servers=servers),
                input=InputSection(topics=(WIDE, NARROW, MIXED_TOPIC)),
                model=ModelSection(repository=str(repository), name=WIDE),
                topics=TopicsSection(prefix=f"forebay-bench-{run_id}-", partitions=partitions),
            )
            await create_topics(settings)
            for variant in VARIANTS:
                (folder / variant.contestant().config).write_text(worker_config(settings, variant), encoding="utf-8")
            for topic, generator in _events(repository).items():
                await preload_topic(
                    client_options(settings.kafka),
                    topic_name(settings.topics.prefix, topic),
                    num_partitions=partitions,
                    events=events,
                    generator=generator,
                    timestamp_ms=timestamp_ms,
                    progress=begin(f"filling the topic {topic}", events),
                )
            yield Field(settings=settings, folder=folder, events=events, broker=description, idempotent=True)


def _events(repository: Path) -> dict[str, Events]:
    """Return the events of each topic."""
    signatures = {name: read_version(repository, name).manifest.signature for name in (WIDE, NARROW)}
    named = [EventGenerator(signature, model=name) for name, signature in signatures.items()]
    alone = {name: EventGenerator(signature) for name, signature in signatures.items()}
    return {**alone, MIXED_TOPIC: AlternatingEvents(named)}


async def measure(
    *,
    rounds: int,
    events: int,
    partitions: int,
    broker: str,
    bootstrap_server: str | None,
    begin: Callable[[str, int], Callable[[int], None]],
) -> tuple[str, Runs]:
    """Run every variant once in each round. Return the broker and the runs."""
    async with prepared(
        broker=broker,
        bootstrap_server=bootstrap_server,
        events=events,
        partitions=partitions,
        run_id=uuid.uuid4().hex[:8],
        timestamp_ms=time.time_ns() // 1_000_000,
        begin=begin,
    ) as field:
        contestants = [variant.contestant() for variant in VARIANTS]
        return field.broker, await run_rounds(field, contestants, rounds, begin("runs", rounds * len(contestants)))


@click.command(help=__doc__.partition("\n")[0] if __doc__ else None)
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--events", type=click.IntRange(min=1_000), default=400_000, show_default=True)
@click.option("--partitions", type=click.IntRange(min=1), default=4, show_default=True)
@click.option(
    "--broker",
    type=click.Choice(["embedded", "apache"]),
    default="embedded",
    show_default=True,
    help="Broker to start. apache: Apache Kafka, from Maven or in a container.",
)
@click.option("--bootstrap-server", metavar="HOST:PORT", help="Use this running Kafka instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rounds: int, events: int, partitions: int, broker: str, bootstrap_server: str | None, as_json: bool) -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, refresh_per_second=2, transient=True) as bar:

            def begin(name: str, total: int) -> Callable[[int], None]:
                task = bar.add_task(name, total=total)
                return lambda done: bar.advance(task, done)

            broker_name, runs = asyncio.run(
                measure(
                    rounds=rounds,
                    events=events,
                    partitions=partitions,
                    broker=broker,
                    bootstrap_server=bootstrap_server,
                    begin=begin,
                )
            )
    except (RunFailed, ForebayError) as error:
        console.print(str(error), style="bold red", markup=False)
        sys.exit(1)
    summary = summarise(runs)
    if as_json:
        report = {
            "broker": broker_name,
            "rounds": rounds,
            "events": events,
            "partitions": partitions,
            "variants": {variant.name: {"what": variant.what, **summary[variant.name]} for variant in VARIANTS},
            "machine": describe_host(),
        }
        click.echo(json.dumps(report, ensure_ascii=False, indent=2))
        return
    title = f"{broker_name} · {events:,} events · median of {rounds} · {partitions} partitions · at least once"
    Console(width=None if sys.stdout.isatty() else 120).print(to_table(summary, title))


if __name__ == "__main__":
    main()

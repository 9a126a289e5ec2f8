"""Measure a worker with gradient-boosted trees, beside XGBoost itself in a hand-written aiokafka worker.

    python -m benchmarks.boosted_trees --rounds 5 --events 400000
    python -m benchmarks.boosted_trees --broker apache

Events are JSON with 32 features by name. Two models are served: 100 and 500 trees of depth 6, trained by XGBoost on made-up
rows with two classes. Each worker has one thread for its model, and one core where the machine's other cores are busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

import click
import numpy as np
import xgboost
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.compare import Runs, run_rounds
from benchmarks.contestants.catalogue import Contestant
from benchmarks.field import Field, RunFailed, started_broker
from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.manifest import Provenance
from forebay.models.registration.hints import Hints
from forebay.models.registration.publish import publish_candidate
from forebay.models.registration.xgboost_reader import read_xgboost
from forebay.schemas.errors import ForebayError
from forebay.schemas.topics import FEATURES, topic_name
from forebay.stream.bench.events import EventGenerator
from forebay.stream.bench.preload import preload_topic
from forebay.stream.bench.stats import pairwise_ratios
from forebay.stream.config.sections import KafkaSection, ModelSection, Settings, TopicsSection
from forebay.stream.config.toml_text import toml_value
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topics import create_topics

NUM_FEATURES: Final = 32
DEPTH: Final = 6
NUM_TREES: Final = (100, 500)
_TRAINING_ROWS: Final = 50_000


def model_name(num_trees: int) -> str:
    return f"trees-{num_trees}"


def contestants() -> list[Contestant]:
    """Return the workers: for each model Forebay's and the hand-written one."""
    found = []
    for num_trees in NUM_TREES:
        name = model_name(num_trees)
        found.append(
            Contestant(
                f"forebay {num_trees}", "benchmarks.contestants.forebay_worker", "Forebay", config=f"{name}.toml"
            )
        )
        found.append(
            Contestant(f"xgboost {num_trees}", "benchmarks.contestants.aiokafka_xgboost", "aiokafka", model=name)
        )
    return found


def save_models(folder: Path) -> None:
    """Train the boosters, save them as JSON, and publish them in `folder / "models"`."""
    rng = np.random.default_rng(0)
    x_NF = rng.normal(size=(_TRAINING_ROWS, NUM_FEATURES)).astype(np.float32)
    y_N = ((x_NF[:, :8].sum(axis=1) + x_NF[:, 8] * x_NF[:, 9] + rng.normal(size=len(x_NF))) > 0).astype(int)
    names = [f"f{index}" for index in range(NUM_FEATURES)]
    for num_trees in NUM_TREES:
        options = {"objective": "binary:logistic", "max_depth": DEPTH, "eta": 0.1, "nthread": 1, "seed": 0}
        data = xgboost.DMatrix(x_NF, label=y_N, feature_names=names)
        booster = xgboost.train(options, data, num_boost_round=num_trees)
        booster.save_model(folder / f"{model_name(num_trees)}.json")
        publish_candidate(
            read_xgboost(booster, Hints(model_name(num_trees))),
            repository=folder / "models",
            name=model_name(num_trees),
            provenance=Provenance(datetime.now(UTC), {}, note="for benchmarks only; its predictions mean nothing"),
        )


@contextlib.asynccontextmanager
async def prepared(
    *, broker: str, events: int, partitions: int, begin: Callable[[str, int], Callable[[int], None]]
) -> AsyncIterator[Field]:
    """Prepare the models, the topic with its events, and the configuration of each Forebay worker."""
    with tempfile.TemporaryDirectory(prefix="forebay-trees-") as scratch:
        folder = Path(scratch)
        save_models(folder)
        prefix = f"forebay-bench-{uuid.uuid4().hex[:8]}-"
        async with started_broker(broker, None, folder) as (servers, description):
            for num_trees in NUM_TREES:
                (folder / f"{model_name(num_trees)}.toml").write_text(
                    f"[kafka]\nbootstrap_servers = {toml_value(servers)}\n"
                    f"[topics]\nprefix = {toml_value(prefix)}\npartitions = {partitions}\n"
                    f"[model]\nrepository = {toml_value(str(folder / 'models'))}\n"
                    f"name = {toml_value(model_name(num_trees))}\n",
                    encoding="utf-8",
                )
            settings = Settings(
                kafka=KafkaSection(bootstrap_servers=servers),
                model=ModelSection(repository=str(folder / "models"), name=model_name(NUM_TREES[0])),
                topics=TopicsSection(prefix=prefix, partitions=partitions),
            )
            await create_topics(settings)
            signature = read_version(folder / "models", model_name(NUM_TREES[0])).manifest.signature
            await preload_topic(
                client_options(settings.kafka),
                topic_name(prefix, FEATURES.name),
                num_partitions=partitions,
                events=events,
                generator=EventGenerator(signature, by_name=True),
                timestamp_ms=time.time_ns() // 1_000_000,
                progress=begin("filling the topic", events),
            )
            yield Field(settings=settings, folder=folder, events=events, broker=description, idempotent=False)


async def measure(
    *, rounds: int, events: int, partitions: int, broker: str, begin: Callable[[str, int], Callable[[int], None]]
) -> tuple[str, Runs]:
    """Run every worker once in each round. Return the broker and the runs."""
    async with prepared(broker=broker, events=events, partitions=partitions, begin=begin) as field:
        workers = contestants()
        return field.broker, await run_rounds(field, workers, rounds, begin("runs", rounds * len(workers)))


def to_table(runs: Runs, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("worker", "events/s", "range", "events/CPU-s", "Forebay ÷ it, per CPU-s", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "worker" else "right", no_wrap=True)
    for name, rounds in runs.items():
        rates = [run.events_per_s for run in rounds]
        cpu_rates = [run.events_per_cpu_s for run in rounds]
        ours = [run.events_per_cpu_s for run in runs[name.replace("xgboost", "forebay")]]
        ratio = median(pairwise_ratios(ours, cpu_rates))
        table.add_row(
            name,
            f"{median(rates):,.0f}",
            f"{min(rates) / 1000:,.0f}–{max(rates) / 1000:,.0f} k",
            f"{median(cpu_rates):,.0f}",
            f"{ratio:.2f}×" if name.startswith("xgboost") else "",
            f"{max(run.peak_rss_mib for run in rounds):,.0f}",
        )
    return table


@click.command(help=__doc__.partition("\n")[0] if __doc__ else None)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--events", type=click.IntRange(min=1_000), default=400_000, show_default=True)
@click.option("--partitions", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="embedded", show_default=True)
def main(rounds: int, events: int, partitions: int, broker: str) -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, refresh_per_second=2, transient=True) as bar:

            def begin(name: str, total: int) -> Callable[[int], None]:
                task = bar.add_task(name, total=total)
                return lambda done: bar.advance(task, done)

            measured = measure(rounds=rounds, events=events, partitions=partitions, broker=broker, begin=begin)
            broker_name, runs = asyncio.run(measured)
    except (RunFailed, ForebayError) as error:
        console.print(str(error), style="bold red", markup=False)
        sys.exit(1)
    title = f"{broker_name} · {events:,} events · median of {rounds} · {partitions} partitions · at least once"
    Console(width=None if sys.stdout.isatty() else 120).print(to_table(runs, title))


if __name__ == "__main__":
    main()

"""Measure a whole worker with events in each format, beside confluent-kafka's deserializers in hand-written workers.

    python -m benchmarks.format_rates --rounds 5 --events 200000
    python -m benchmarks.format_rates --broker apache --only "JSON list" --only Arrow

One worker process after the other drains a topic that was filled before, in interleaved rounds. Forebay's workers run with
the default guarantee, exactly once. The hand-written ones are at least once, with producers that are not idempotent; they
predict with the same net and write the same predictions.
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
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import format_events
from benchmarks.compare import Runs, order_of
from benchmarks.contestants.catalogue import Contestant
from benchmarks.field import Field, RunFailed, started_broker
from forebay.models.artefacts.preprocessing import Impute, Preprocessing
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.save import save_artefact
from forebay.schemas.errors import ForebayError
from forebay.schemas.topics import topic_name
from forebay.stream.bench.events import Events
from forebay.stream.bench.host_info import describe_host
from forebay.stream.bench.preload import preload_topic
from forebay.stream.bench.stats import pairwise_ratios
from forebay.stream.config.sections import InputSection, KafkaSection, ModelSection, Settings, TopicsSection
from forebay.stream.config.toml_text import toml_value
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topics import create_topics

BASELINE: Final = "JSON list"
ARROW_SHARE: Final = 4
"""How many times as many events the topic with Arrow has, so that its runs are not too short to measure."""


@dataclass(frozen=True, slots=True)
class Input:
    """A topic with events of one format.

    topic: its name, without the prefix.
    events: makes its records, given the id of its schema.
    model: the model that takes them.
    format: input.format of Forebay's worker; None if the values have the prefix of a registry's serializer, or are JSON.
    schema: type and text of the schema in the registry, if any.
    rows: events in a record.
    share: how many times as many events as the others it has.
    """

    name: str
    topic: str
    events: Callable[[int], Events]
    model: str = "numbers"
    format: str | None = None
    schema: tuple[str, str] | None = None
    rows: int = 1
    share: int = 1

    @property
    def config(self) -> str:
        return f"{self.topic}.toml"


INPUTS: Final = (
    Input(BASELINE, "json-list", lambda _: format_events.json_list()),
    Input("JSON by name", "json-by-name", lambda _: format_events.json_by_name()),
    Input(
        "Avro floats",
        "avro-floats",
        format_events.avro_floats,
        schema=("AVRO", json.dumps(format_events.AVRO_FLOATS)),
    ),
    Input(
        "Avro nullable, 4 strings",
        "avro-nullable",
        format_events.avro_nullable,
        model="mixed",
        schema=("AVRO", json.dumps(format_events.AVRO_NULLABLE)),
    ),
    Input(
        "Protobuf, 4 strings",
        "protobuf",
        format_events.protobuf,
        model="mixed",
        schema=("PROTOBUF", format_events.PROTOBUF),
    ),
    Input("MessagePack by name", "msgpack", lambda _: format_events.msgpack_by_name(), format="msgpack"),
    Input(
        "Arrow",
        "arrow",
        lambda _: format_events.ArrowEvents(),
        format="arrow",
        rows=format_events.ARROW_ROWS,
        share=ARROW_SHARE,
    ),
)


def contestants() -> dict[str, tuple[Contestant, Input]]:
    """Return the workers by name, with the input of each."""
    found = {}
    for each in INPUTS:
        worker = Contestant(
            each.name,
            "benchmarks.contestants.forebay_formats",
            "Forebay",
            processing_guarantee="exactly_once",
            config=each.config,
            topic=each.topic,
        )
        found[each.name] = worker, each
    by_name = {each.name: each for each in INPUTS}
    for name, module in (
        (BASELINE, "confluent_pipelined"),
        ("Avro floats", "confluent_formats"),
        ("Avro nullable, 4 strings", "confluent_formats"),
        ("Protobuf, 4 strings", "confluent_formats"),
    ):
        each = by_name[name]
        other = Contestant(
            f"confluent: {name}",
            f"benchmarks.contestants.{module}",
            "confluent-kafka's deserializer",
            config=f"{each.topic}.json",
            model=each.model,
            topic=each.topic,
        )
        found[other.name] = other, each
    return found


def save_models(repository: Path) -> None:
    """Save two nets with the same weights: one takes numbers, and one also texts and missing values, which become 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build_net("mlp", {"input_dim": format_events.NUM_FEATURES, "hidden_dims": [128, 64], "output_dim": 2})
    width = format_events.NUM_FEATURES
    impute = Preprocessing((Impute(width, tuple(range(width)), (0.0,) * width),))
    note, now = "untrained, for benchmarks only; its predictions mean nothing", datetime.now(UTC)
    save_artefact(repository, "numbers", net, signature=format_events.NUMBERS, created_at=now, note=note)
    save_artefact(
        repository,
        "mixed",
        net,
        signature=format_events.MIXED,
        preprocessing=impute,
        created_at=now,
        note=note,
    )


def worker_config(settings: Settings, each: Input, registry: str) -> str:
    """Return the configuration file of Forebay's worker. What it does not contain has its default."""
    lines = [
        "[kafka]",
        f"bootstrap_servers = {toml_value(settings.kafka.bootstrap_servers)}",
        "[topics]",
        f"prefix = {toml_value(settings.topics.prefix)}",
        f"partitions = {settings.topics.partitions}",
        "[model]",
        f"repository = {toml_value(settings.model.repository)}",
        f"name = {toml_value(each.model)}",
        "[input]",
        f"topics = {toml_value([each.topic])}",
    ]
    if each.format is not None:
        lines.append(f"format = {toml_value(each.format)}")
    if each.schema is not None:
        lines += ["[schema_registry]", f"urls = {toml_value([registry])}"]
    return "\n".join(lines) + "\n"


@contextlib.asynccontextmanager
async def prepared(
    inputs: Sequence[Input],
    *,
    broker: str,
    events: int,
    partitions: int,
    begin: Callable[[str, int], Callable[[int], None]],
) -> AsyncIterator[Field]:
    """Prepare the models, the registry, the topics with their events, and the configurations of the workers."""
    from tests.registry.stub import stub_registry  # only here: it belongs to the tests

    with tempfile.TemporaryDirectory(prefix="forebay-formats-") as scratch:
        folder = Path(scratch)
        save_models(folder / "models")
        async with started_broker(broker, None, folder) as (servers, description), stub_registry() as registry:
            settings = Settings(
                kafka=KafkaSection(bootstrap_servers=servers),
                input=InputSection(topics=tuple(each.topic for each in inputs)),
                model=ModelSection(repository=str(folder / "models"), name="numbers"),
                topics=TopicsSection(prefix=f"forebay-bench-{uuid.uuid4().hex[:8]}-", partitions=partitions),
            )
            await create_topics(settings)
            for each in inputs:
                schema_id = 0
                if each.schema is not None:
                    kind, text = each.schema
                    schema_id = registry.add(f"{topic_name(settings.topics.prefix, each.topic)}-value", text, kind).id
                (folder / each.config).write_text(worker_config(settings, each, registry.url), encoding="utf-8")
                about = {"registry": registry.url, "format": "avro" if "avro" in each.topic else "protobuf"}
                (folder / f"{each.topic}.json").write_text(json.dumps(about), encoding="utf-8")
                records = events * each.share // each.rows
                await preload_topic(
                    client_options(settings.kafka),
                    topic_name(settings.topics.prefix, each.topic),
                    num_partitions=partitions,
                    events=records,
                    generator=each.events(schema_id),
                    timestamp_ms=time.time_ns() // 1_000_000,
                    progress=begin(f"filling the topic {each.topic}", records),
                )
            yield Field(settings=settings, folder=folder, events=events, broker=description, idempotent=False)


async def measure(
    *,
    rounds: int,
    events: int,
    partitions: int,
    broker: str,
    only: Sequence[str],
    begin: Callable[[str, int], Callable[[int], None]],
) -> tuple[str, Runs]:
    """Run every worker once in each round, in rotating order. Return the broker and the runs."""
    workers = {name: found for name, found in contestants().items() if not only or name in only}
    inputs = [each for each in INPUTS if any(each is found for _, found in workers.values())]
    async with prepared(inputs, broker=broker, events=events, partitions=partitions, begin=begin) as field:
        runs: Runs = {name: [] for name in workers}
        done = begin("runs", rounds * len(workers))
        for number in range(rounds):
            for worker in order_of([worker for worker, _ in workers.values()], number):
                each = workers[worker.name][1]
                own = replace(field, events=events * each.share // each.rows * each.rows)
                runs[worker.name].append(await own.run(worker, number))
                done(1)
        return field.broker, runs


def summarise(runs: Runs) -> dict[str, dict[str, Any]]:
    """Return medians and ranges, and the ratios to JSON with a list of features, round by round."""
    summary = {}
    for name, rounds in runs.items():
        figures = {
            "events_per_s": [run.events_per_s for run in rounds],
            "cpu_us": [1e6 / run.events_per_cpu_s for run in rounds],
        }
        entry: dict[str, Any] = {
            key: {"median": median(values), "min": min(values), "max": max(values)} for key, values in figures.items()
        }
        if base := runs.get(BASELINE):
            rates = pairwise_ratios(figures["events_per_s"], [run.events_per_s for run in base])
            costs = pairwise_ratios(figures["cpu_us"], [1e6 / run.events_per_cpu_s for run in base])
            entry |= {"ratio": median(rates), "cpu_ratio": median(costs)}
        summary[name] = {**entry, "peak_rss_mib": max(run.peak_rss_mib for run in rounds)}
    return summary


def to_table(summary: dict[str, dict[str, Any]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("worker", no_wrap=True)
    for heading in ("events/s", "range", "÷ JSON list", "CPU µs", "range", "÷ JSON list", "peak MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, entry in summary.items():
        rate, cost = entry["events_per_s"], entry["cpu_us"]
        table.add_row(
            name,
            f"{rate['median']:,.0f}",
            f"{rate['min'] / 1000:,.0f}–{rate['max'] / 1000:,.0f} k",
            f"{entry['ratio']:.2f}" if "ratio" in entry else "",
            f"{cost['median']:.1f}",
            f"{cost['min']:.1f}–{cost['max']:.1f}",
            f"{entry['cpu_ratio']:.2f}" if "cpu_ratio" in entry else "",
            f"{entry['peak_rss_mib']:,.0f}",
        )
    return table


@click.command(help=__doc__.partition("\n")[0] if __doc__ else None)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--events",
    type=click.IntRange(min=1_000),
    default=200_000,
    show_default=True,
    help=f"Events of each topic; Arrow has {ARROW_SHARE} times as many.",
)
@click.option("--partitions", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="embedded", show_default=True)
@click.option(
    "--only", multiple=True, type=click.Choice([*contestants()]), help="Run only this worker. Can be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rounds: int, events: int, partitions: int, broker: str, only: tuple[str, ...], as_json: bool) -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, refresh_per_second=2, transient=True) as bar:

            def begin(name: str, total: int) -> Callable[[int], None]:
                task = bar.add_task(name, total=total)
                return lambda done: bar.advance(task, done)

            measured = measure(
                rounds=rounds, events=events, partitions=partitions, broker=broker, only=only, begin=begin
            )
            broker_name, runs = asyncio.run(measured)
    except (RunFailed, ForebayError) as error:
        console.print(str(error), style="bold red", markup=False)
        sys.exit(1)
    summary = summarise(runs)
    if as_json:
        about = {"broker": broker_name, "rounds": rounds, "events": events, "partitions": partitions}
        report = {**about, "workers": summary, "machine": describe_host()}
        click.echo(json.dumps(report, ensure_ascii=False, indent=2))
        return
    title = f"{broker_name} · {events:,} events · median of {rounds} · {partitions} partitions"
    Console(width=None if sys.stdout.isatty() else 130).print(to_table(summary, title))


if __name__ == "__main__":
    main()

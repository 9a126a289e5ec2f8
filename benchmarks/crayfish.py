"""Measure the workload of the benchmark Crayfish: images of 28×28 from Kafka, a dense net, predictions to Kafka.

python -m benchmarks.crayfish --broker apache
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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import orjson
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.compare import Runs, available, run_rounds, spread
from benchmarks.contestants.catalogue import Contestant, Runtime
from benchmarks.field import Field, RunFailed, started_broker
from benchmarks.predictions import Expected
from benchmarks.rivals.model_files import expected_scores, write_model_files
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.save import save_artefact
from forebay.schemas.errors import ForebayError
from forebay.schemas.topics import topic_name
from forebay.stream.bench.host_info import describe_host
from forebay.stream.bench.preload import preload_topic
from forebay.stream.bench.stats import pairwise_ratios
from forebay.stream.config.sections import InputSection, KafkaSection, ModelSection, Settings, TopicsSection
from forebay.stream.config.toml_text import toml_value
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topics import create_topics

MODEL: Final = "crayfish"
WIDTH: Final = 28 * 28
CLASSES: Final = 10
HIDDEN: Final = (32, 32, 32)
DISTINCT_ROWS: Final = 500
PARTITIONS: Final = 4
JSON_TOPIC: Final = "images-json"
RAW_TOPIC: Final = "images-raw"
WARM_UP_TOPIC: Final = "warm-up"
PUBLISHED: Final[Mapping[str, str]] = {
    "Kafka Streams + ONNX Runtime": "1,600–1,900",
    "Flink + ONNX Runtime": "1,000–1,100",
    "Flink + TF-Serving": "460",
    "Flink + TorchServe": "170",
    "Ray + ONNX Runtime": "120",
}
"""Events/s at parallelism 1, in the paper of Crayfish (EDBT 2024): on other hardware, with the versions of that time."""
# Members of a new group that join within this time get their partitions together.
_BROKER_SETTINGS: Final = {"group.initial.rebalance.delay.ms": "2000"}


def workers() -> tuple[Contestant, ...]:
    """Return Forebay with JSON and raw float32, and Kafka Streams with JSON, at parallelism 1 and 2."""
    one, several = "benchmarks.contestants.forebay_worker", "benchmarks.contestants.forebay_group"
    found = []
    for parallelism, module in ((1, one), (2, several)):
        for form, topic in (("JSON", JSON_TOPIC), ("raw", RAW_TOPIC)):
            found.append(
                Contestant(
                    f"forebay {form} ×{parallelism}",
                    module,
                    "exactly once",
                    "exactly_once",
                    config=f"{topic}.toml",
                    model=MODEL,
                    topic=topic,
                    parallelism=parallelism,
                )
            )
        found.append(
            Contestant(
                f"kafka streams JSON ×{parallelism}",
                "forebay.rivals.StreamsWorker",
                "ONNX Runtime, one record a call, at least once, warmed",
                model=MODEL,
                topic=JSON_TOPIC,
                runtime="java",
                warmed=True,
                parallelism=parallelism,
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class ImageEvents:
    """Generates images of uniform noise, like Crayfish: event number n has row n % R.

    raw: whether a value is the float32 values, and the key the id; else JSON with all digits of float32.
    """

    rows_RF: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    texts: Sequence[bytes]
    raw: bool

    def key(self, number: int) -> bytes:
        """Return the record key of event `number`."""
        return b"event-%d" % number

    def value(self, number: int, timestamp_ms: int) -> bytes:
        """Return event `number`."""
        row = number % len(self.rows_RF)
        if self.raw:
            return bytes(self.rows_RF[row].astype("<f4").tobytes())
        return b'{"id":"event-%d","timestamp":%d,"features":%b}' % (number, timestamp_ms, self.texts[row])


def make_events() -> tuple[ImageEvents, ImageEvents]:
    """Return the generators of JSON and of raw events, with the same images."""
    rows_RF = np.random.default_rng(0).random((DISTINCT_ROWS, WIDTH), dtype=np.float32)
    texts = [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in rows_RF]
    return ImageEvents(rows_RF, texts, raw=False), ImageEvents(rows_RF, texts, raw=True)


def save_model(repository: Path) -> None:
    """Save an untrained dense net 784-32-32-32-10, which has 27,562 parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build_net("mlp", {"input_dim": WIDTH, "hidden_dims": list(HIDDEN), "output_dim": CLASSES})
    features = tuple(Feature(f"p{number}") for number in range(WIDTH))
    signature = Signature(features, (WIDTH,), "multiclass", CLASSES)
    note = "untrained, for benchmarks only; its predictions mean nothing"
    save_artefact(repository, MODEL, net, signature=signature, created_at=datetime.now(UTC), note=note)


def worker_config(settings: Settings, topic: str) -> str:
    """Return the configuration file of Forebay's worker. What it does not contain has its default."""
    lines = [
        "[kafka]",
        f"bootstrap_servers = {toml_value(settings.kafka.bootstrap_servers)}",
        "[topics]",
        f"prefix = {toml_value(settings.topics.prefix)}",
        f"partitions = {settings.topics.partitions}",
        "[model]",
        f"repository = {toml_value(settings.model.repository)}",
        f"name = {toml_value(MODEL)}",
        "[input]",
        f"topics = {toml_value([topic])}",
    ]
    if topic == RAW_TOPIC:
        lines.append('format = "f32"')
    # Several workers run at the same time on this machine.
    lines += ["[admin]", "port = 0"]
    return "\n".join(lines) + "\n"


@contextlib.asynccontextmanager
async def prepared(events: int, broker: str, builds: Mapping[Runtime, Path]) -> AsyncIterator[Field]:
    """Prepare the broker, the model, and the topics with their events."""
    with tempfile.TemporaryDirectory(prefix="forebay-crayfish-") as scratch:
        folder = Path(scratch)
        save_model(folder / "models")
        write_model_files(folder / "models", MODEL, folder)
        async with started_broker(broker, None, folder, _BROKER_SETTINGS) as (servers, description):
            settings = Settings(
                kafka=KafkaSection(bootstrap_servers=servers),
                input=InputSection(topics=(JSON_TOPIC, RAW_TOPIC, WARM_UP_TOPIC)),
                model=ModelSection(repository=str(folder / "models"), name=MODEL),
                topics=TopicsSection(prefix=f"forebay-bench-{uuid.uuid4().hex[:8]}-", partitions=PARTITIONS),
            )
            await create_topics(settings)
            generators = make_events()
            for topic, generator in zip((JSON_TOPIC, RAW_TOPIC), generators, strict=True):
                (folder / f"{topic}.toml").write_text(worker_config(settings, topic), encoding="utf-8")
                await preload_topic(
                    client_options(settings.kafka),
                    topic_name(settings.topics.prefix, topic),
                    num_partitions=PARTITIONS,
                    events=events,
                    generator=generator,
                    timestamp_ms=time.time_ns() // 1_000_000,
                )
            scores = expected_scores(folder / "models", MODEL, generators[0].rows_RF).numpy()
            yield Field(
                settings=settings,
                folder=folder,
                events=events,
                broker=description,
                idempotent=False,
                builds=builds,
                expected=Expected(scores),
            )


def summarise(runs: Runs) -> dict[str, dict[str, Any]]:
    """Return medians and ranges, and the ratios to Kafka Streams with the same parallelism, round by round."""
    summary: dict[str, dict[str, Any]] = {}
    for name, rounds in runs.items():
        rates, cpu_rates = [run.events_per_s for run in rounds], [run.events_per_cpu_s for run in rounds]
        entry: dict[str, Any] = {
            "events_per_s": spread(rates),
            "events_per_cpu_s": spread(cpu_rates),
            "peak_rss_mib": max(run.peak_rss_mib for run in rounds),
        }
        theirs = runs.get(f"kafka streams JSON ×{name[-1]}")
        if theirs and name.startswith("forebay"):
            entry["ratio"] = spread(pairwise_ratios(rates, [run.events_per_s for run in theirs]))
            entry["cpu_ratio"] = spread(pairwise_ratios(cpu_rates, [run.events_per_cpu_s for run in theirs]))
        summary[name] = entry
    return summary


def to_table(summary: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("worker", no_wrap=True)
    for heading in ("events/s", "range", "events/CPU-s", "range", "÷ kafka streams", "per CPU-s", "peak MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, entry in summary.items():
        rate, cpu_rate = entry["events_per_s"], entry["events_per_cpu_s"]
        table.add_row(
            name,
            f"{rate['median']:,.0f}",
            f"{rate['min'] / 1000:,.1f}–{rate['max'] / 1000:,.1f} k",
            f"{cpu_rate['median']:,.0f}",
            f"{cpu_rate['min'] / 1000:,.1f}–{cpu_rate['max'] / 1000:,.1f} k",
            f"{entry['ratio']['median']:.1f}×" if "ratio" in entry else "",
            f"{entry['cpu_ratio']['median']:.1f}×" if "cpu_ratio" in entry else "",
            f"{entry['peak_rss_mib']:,.0f}",
        )
    return table


async def measure(
    chosen: Sequence[Contestant],
    *,
    rounds: int,
    events: int,
    broker: str,
    builds: Mapping[Runtime, Path],
    say: Callable[[str], None],
) -> tuple[str, Runs]:
    """Run every worker once in each round, in rotating order. Return the broker and the runs."""
    say("filling the topics…")
    async with prepared(events, broker, builds) as field:
        say(f"{rounds * len(chosen)} runs…")
        return field.broker, await run_rounds(field, chosen, rounds, lambda done: None)


@click.command(help=__doc__.partition("\n")[0] if __doc__ else None)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--events", type=click.IntRange(min=1_000), default=50_000, show_default=True, help="Events of each topic."
)
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="embedded", show_default=True)
@click.option(
    "--only", multiple=True, type=click.Choice([worker.name for worker in workers()]), help="Run only this worker."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rounds: int, events: int, broker: str, only: tuple[str, ...], as_json: bool) -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console(stderr=True)
    selected = [worker for worker in workers() if not only or worker.name in only]
    running, builds, missing = available(selected, console)
    try:
        measured = measure(running, rounds=rounds, events=events, broker=broker, builds=builds, say=console.print)
        broker_name, runs = asyncio.run(measured)
    except (RunFailed, ForebayError) as error:
        console.print(str(error), style="bold red", markup=False)
        sys.exit(1)
    summary = summarise(runs)
    if as_json:
        about = {"broker": broker_name, "rounds": rounds, "events": events, "partitions": PARTITIONS}
        published = {"events_per_s_parallelism_1_edbt_2024": PUBLISHED}
        report = {**about, "workers": summary, "left_out": missing, "machine": describe_host(), **published}
        click.echo(json.dumps(report, ensure_ascii=False, indent=2))
        return
    output = Console(width=None if sys.stdout.isatty() else 120)
    output.print(to_table(summary, f"{broker_name} · {events:,} images · median of {rounds} · {PARTITIONS} partitions"))
    for name, reason in missing.items():
        output.print(f"{name}: left out; {reason}", markup=False)
    output.print("Published (EDBT 2024), parallelism 1, other hardware, events/s:")
    for name, rate in PUBLISHED.items():
        output.print(f"  {name}: {rate}", markup=False, highlight=False)


if __name__ == "__main__":
    main()

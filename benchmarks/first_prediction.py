"""Print what happens between the start of a worker and its first readable prediction, as a Markdown table.

    python -m benchmarks.first_prediction --broker apache --rounds 5

The worker serves an ONNX graph, and its input topic has events. Times are those of the lines of its log, in seconds since its
process was started; each step ends with its line, and the last one when a read_committed consumer has a prediction. CPU time is
that of the worker until then. Of a new consumer group, the broker completes the first rebalance only after
`group.initial.rebalance.delay.ms`, 3 s by default; the broker of `--broker apache` has 0.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
import uuid
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Final

import click
import orjson

from benchmarks.field import started_broker
from forebay.schemas.topics import CATALOGUE, FEATURES, PREDICTIONS, topic_name
from forebay.stream.bench.events import EventGenerator
from forebay.stream.bench.preload import preload_topic
from forebay.stream.bench.reader import PredictionReader
from forebay.stream.bench.setup import as_toml, bench_settings, save_bench_model, signature_of
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import SystemClock
from forebay.stream.embedded.worker_process import WorkerProcess, without_settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.delete_topics import delete_topics
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.telemetry.process_usage import ProcessMeter

CLOCK: Final = SystemClock()
LINES: Final = {
    "admin page at": "the parts are built: imports, settings, model file, cluster, listeners, permissions, topics",
    "is warm": "the model is warm",
    "partitions assigned": "partitions are assigned: producer id, joining the group, offsets",
}
FIRST: Final = "the first prediction is readable"


async def measure(base: Settings, folder: Path) -> dict[str, float]:
    """Return the seconds from the start of a worker to each step."""
    settings = bench_settings(
        base, run_id=uuid.uuid4().hex[:8], embedded_servers=None, own_repository=folder / "models"
    )
    config, log = folder / "forebay.toml", folder / "log"
    config.write_text(as_toml(settings), encoding="utf-8")
    options, num_partitions = client_options(settings.kafka), settings.topics.partitions
    features, predictions = (topic_name(settings.topics.prefix, spec.name) for spec in (FEATURES, PREDICTIONS))
    await create_topics(settings)
    reader = PredictionReader(options, predictions, num_partitions)
    worker = WorkerProcess(config, log, environ=without_settings(os.environ), clock=CLOCK, die_with_parent=True)
    try:
        await preload_topic(
            options,
            features,
            num_partitions=num_partitions,
            events=1000,
            generator=EventGenerator(signature_of(settings.model)),
            timestamp_ms=CLOCK.wall_ms(),
        )
        await reader.start()
        started_s = time.time()
        worker.start()
        while not await reader.poll(timeout_s=0.02, max_records=1):
            worker.check()
        first_s = time.time() - started_s
        usage = ProcessMeter(worker.pid).usage()
    finally:
        await worker.stop()
        await reader.stop()
        await delete_topics(settings.kafka, [topic_name(settings.topics.prefix, spec.name) for spec in CATALOGUE])
    steps: dict[str, float] = {}
    for line in log.read_bytes().splitlines():
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        for text, step in LINES.items():
            if text in str(entry.get("message", "")) and step not in steps:
                steps[step] = datetime.fromisoformat(entry["time"]).timestamp() - started_s
    steps[FIRST] = first_s
    steps["CPU time"] = usage.cpu_s if usage is not None else float("nan")
    return steps


async def run(broker: str, server: str | None, rounds: int) -> None:
    """Start workers one after another and print the medians."""
    with tempfile.TemporaryDirectory(prefix="forebay-start-") as name:
        folder = Path(name)
        async with started_broker(broker, server, folder) as (servers, description):
            save_bench_model(folder / "models", backend="onnx")
            base = load_settings(None, {}, {"kafka.bootstrap_servers": servers}).settings
            runs = [await measure(base, folder) for _ in range(rounds)]
    click.echo(f"{description}, {rounds} starts\n\n| step | after, s, median | range |\n|---|---|---|")
    for step in runs[0]:
        values = sorted(times[step] for times in runs)
        click.echo(f"| {step} | {median(values):.2f} | {values[0]:.2f}–{values[-1]:.2f} |")


@click.command()
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="apache", show_default=True)
@click.option("--bootstrap-server", help="A running cluster instead.")
@click.option("--rounds", type=int, default=5, show_default=True)
def main(broker: str, bootstrap_server: str | None, rounds: int) -> None:
    """Print what happens between the start of a worker and its first readable prediction."""
    asyncio.run(run(broker, bootstrap_server, rounds))


if __name__ == "__main__":
    main()

"""Print the CPU time of a worker at rest, as a Markdown table.

    python -m benchmarks.idle_cpu --broker apache --partitions 12 --seconds 60

The worker has the default settings, an ONNX graph, and an input topic without events. Its metrics, status and readiness are
polled every 10 s, as a monitoring system does. A tenth of a core is 10 %.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import urllib.request
import uuid
from pathlib import Path
from typing import Final

import click

from benchmarks.field import started_broker
from forebay.schemas.topics import CATALOGUE, topic_name
from forebay.stream.bench.setup import as_toml, bench_settings, save_bench_model
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import SystemClock
from forebay.stream.embedded.worker_process import WorkerProcess, without_settings
from forebay.stream.kafka.cluster.delete_topics import delete_topics
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.telemetry.process_usage import ProcessMeter

CLOCK: Final = SystemClock()
SETTLE_S: Final = 5.0
POLL_S: Final = 10.0
PATHS: Final = ("metrics", "status", "readyz")


def fetch(url: str) -> None:
    """Read a page."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        answer.read()


async def measure(base: Settings, folder: Path, seconds: float) -> float:
    """Return the CPU seconds per second of an idle worker."""
    settings = bench_settings(
        base, run_id=uuid.uuid4().hex[:8], embedded_servers=None, own_repository=folder / "models"
    )
    config = folder / "forebay.toml"
    config.write_text(as_toml(settings), encoding="utf-8")
    await create_topics(settings)
    worker = WorkerProcess(
        config, folder / "log", environ=without_settings(os.environ), clock=CLOCK, die_with_parent=True
    )
    worker.start()
    try:
        await worker.wait_ready()
        await asyncio.sleep(SETTLE_S)
        meter, page = ProcessMeter(worker.pid), (worker.page or "").rstrip("/")
        before, began_s = meter.usage(), CLOCK.monotonic_s()
        while (left_s := began_s + seconds - CLOCK.monotonic_s()) > 0:
            for path in PATHS:
                await asyncio.to_thread(fetch, f"{page}/{path}")
            await asyncio.sleep(min(POLL_S, left_s))
        after, took_s = meter.usage(), CLOCK.monotonic_s() - began_s
    finally:
        await worker.stop()
        await delete_topics(settings.kafka, [topic_name(settings.topics.prefix, spec.name) for spec in CATALOGUE])
    assert before is not None and after is not None
    return (after.cpu_s - before.cpu_s) / took_s


async def run(broker: str, server: str | None, partitions: int, seconds: float) -> None:
    """Measure once and print the table."""
    with tempfile.TemporaryDirectory(prefix="forebay-idle-") as name:
        folder = Path(name)
        async with started_broker(broker, server, folder) as (servers, description):
            save_bench_model(folder / "models", backend="onnx")
            options = {"kafka.bootstrap_servers": servers, "topics.partitions": partitions}
            share = await measure(load_settings(None, {}, options).settings, folder, seconds)
    click.echo(f"{description}, {seconds:.0f} s\n\n| partitions | share of a core |\n|---|---|")
    click.echo(f"| {partitions} | {share:.2%} |")


@click.command()
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="apache", show_default=True)
@click.option("--bootstrap-server", help="A running cluster instead.")
@click.option("--partitions", type=int, default=12, show_default=True)
@click.option("--seconds", type=float, default=60.0, show_default=True)
def main(broker: str, bootstrap_server: str | None, partitions: int, seconds: float) -> None:
    """Print the CPU time of a worker at rest."""
    asyncio.run(run(broker, bootstrap_server, partitions, seconds))


if __name__ == "__main__":
    main()

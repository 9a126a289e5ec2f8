"""Measure what rollouts cost a running worker: latency while a version loads, and memory after many promotions.

    python -m benchmarks.rollouts
    python -m benchmarks.rollouts --broker apache
    python -m benchmarks.rollouts --promotions 200

Two versions of one MLP are promoted in turn while events arrive at a fixed rate, and `rollouts.keep_previous_s` is 1, so that
each promotion loads its version again. For each load, the p99 latency from the promotion until a second after the worker has
applied it is divided by the p99 of the two seconds before. Memory is what is resident after 20 promotions and at the end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import click
import numpy as np

from benchmarks.field import started_broker
from benchmarks.idle_memory import resident_mib
from forebay.models.artefacts.artefact import read_version
from forebay.schemas.errors import ForebayError
from forebay.schemas.topics import topic_name
from forebay.stream.bench.events import EventGenerator
from forebay.stream.bench.open_loop import publish_and_time
from forebay.stream.bench.reader import PredictionReader
from forebay.stream.bench.setup import MODEL_NAME, save_bench_model
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings
from forebay.stream.control.rollout_store import RolloutStore
from forebay.stream.core.clock import SystemClock
from forebay.stream.embedded.worker_process import WorkerProcess, without_settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.rollouts.changes import Proposal, promote
from forebay.stream.rollouts.revision import initial_revision

CLOCK: Final = SystemClock()
WARM_UP_S: Final = 6.0
BEFORE_S: Final = 2.0
AFTER_S: Final = 1.0
KEPT_S: Final = 2.5
"""Time until the version before is freed, so that the next promotion loads it again."""
FIRST_SWAPS: Final = 20
APPLY_TIMEOUT_S: Final = 30.0
KEEP_PREVIOUS_S: Final = 1


@dataclass(frozen=True, slots=True)
class Swap:
    """One promotion: when it was proposed and when the worker had applied it, monotonic seconds."""

    proposed_s: float
    applied_s: float
    resident_mib: float


class Promoter:
    """Promotes the versions 2 and 1 in turn, and waits until the worker has applied each."""

    def __init__(self, store: RolloutStore, worker: WorkerProcess) -> None:
        self._store = store
        self._worker = worker

    async def swap(self) -> Swap:
        """Promote the version that does not serve."""
        current = self._store.log.current(MODEL_NAME) or initial_revision(MODEL_NAME, 1)
        proposal = Proposal(uuid.uuid4().hex, "benchmark", False, "", created_ms=CLOCK.wall_ms())
        revision = promote(current, 3 - current.stable, proposal)
        proposed_s = time.monotonic()
        await self._store.propose(revision)
        while await asyncio.to_thread(self._applied) < revision.number:
            if time.monotonic() - proposed_s > APPLY_TIMEOUT_S:
                raise click.ClickException(
                    f"the worker did not apply revision {revision.number}: {self._worker.log_tail()}"
                )
            await asyncio.sleep(0.1)
        return Swap(proposed_s, time.monotonic(), resident_mib(self._worker.pid))

    def _applied(self) -> int:
        page = self._worker.page
        assert page is not None
        with urllib.request.urlopen(f"{page.rstrip('/')}/status", timeout=5) as answer:
            rollouts = json.load(answer)["rollouts"]
        return int(rollouts[0]["applied"])


def load_ratios(swaps: Sequence[Swap], latencies_ms: Sequence[float], rate: float, start_s: float) -> list[float]:
    """Return the p99 latency during each load divided by that before it.

    latencies_ms: by event, in the order of sending.
    start_s: when the first event was due, monotonic seconds.
    """
    due_s = start_s + np.arange(len(latencies_ms)) / rate
    latencies_N = np.asarray(latencies_ms)
    ratios: list[float] = []
    for swap in swaps:
        before = latencies_N[(due_s >= swap.proposed_s - BEFORE_S) & (due_s < swap.proposed_s)]
        during = latencies_N[(due_s >= swap.proposed_s) & (due_s < swap.applied_s + AFTER_S)]
        ratios.append(float(np.percentile(during, 99) / np.percentile(before, 99)))
    return ratios


async def swap_often(promoter: Promoter, count: int) -> list[Swap]:
    """Promote that often, each time once the version before has been freed."""
    await asyncio.sleep(WARM_UP_S)
    swaps: list[Swap] = []
    for number in range(count):
        swaps.append(await promoter.swap())
        click.echo(f"\r{number + 1} of {count} promotions", nl=False, err=True)
        await asyncio.sleep(KEPT_S)
    click.echo(err=True)
    return swaps


async def run(settings: Settings, worker: WorkerProcess, *, count: int, rate: float) -> dict[str, object]:
    """Promote while events arrive, and return the figures."""
    options = client_options(settings.kafka)
    partitions = settings.topics.partitions
    reader = PredictionReader(options, topic_name(settings.topics.prefix, "predictions"), partitions)
    store = RolloutStore(settings, clock=CLOCK)
    await reader.start()
    await store.start()
    events = int((WARM_UP_S + count * (KEPT_S + 2.0) + 5) * rate)
    try:
        started_s = time.monotonic()
        timing = asyncio.create_task(
            publish_and_time(
                worker,
                reader,
                options,
                topic_name(settings.topics.prefix, "features"),
                num_partitions=partitions,
                generator=EventGenerator(read_version(settings.model.repository, MODEL_NAME, 1).manifest.signature),
                rate=rate,
                events=events,
                first_number=0,
                clock=CLOCK,
                warm_up_s=0.0,
            )
        )
        swaps = await swap_often(Promoter(store, worker), count)
        loop = await timing
    finally:
        await store.stop()
        await reader.stop()
    first = swaps[min(FIRST_SWAPS, count) - 1].resident_mib
    ratios = load_ratios(swaps, loop.latencies_ms, rate, started_s)
    return {
        "promotions": count,
        "seconds until applied, median": round(median(swap.applied_s - swap.proposed_s for swap in swaps), 2),
        "p99 during a load / before, median": round(median(ratios), 3),
        "p99 during a load / before": [round(ratio, 2) for ratio in ratios],
        "p50 ms": round(loop.latency.p50_ms, 1),
        "p99 ms": round(loop.latency.p99_ms, 1),
        f"resident MiB after {min(FIRST_SWAPS, count)}": round(first, 1),
        f"resident MiB after {count}": round(swaps[-1].resident_mib, 1),
        "growth": round(swaps[-1].resident_mib / first - 1, 4),
    }


async def measure(kind: str, *, count: int, rate: float) -> dict[str, object]:
    """Start a broker and a worker, and return the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(2):
            save_bench_model(folder / "models")
        async with started_broker(kind, None, folder) as (bootstrap, description):
            click.echo(description, err=True)
            config = folder / "forebay.toml"
            config.write_text(
                f'[kafka]\nbootstrap_servers = "{bootstrap}"\n[topics]\nreplication_factor = 1\n'
                f'[model]\nname = "{MODEL_NAME}"\nversion = 1\nrepository = "{folder / "models"}"\n[admin]\nport = 0\n'
                f"[rollouts]\nenabled = true\nkeep_previous_s = {KEEP_PREVIOUS_S}\n"
            )
            settings = load_settings(config, {}).settings
            await create_topics(settings)
            environ = without_settings(os.environ)
            worker = WorkerProcess(config, folder / "log", environ=environ, clock=CLOCK, die_with_parent=False)
            worker.start()
            try:
                await worker.wait_ready()
                return await run(settings, worker, count=count, rate=rate)
            finally:
                await worker.stop()


@click.command()
@click.option("--promotions", "count", default=20, show_default=True, help="How often a version is promoted.")
@click.option("--rate", default=1000.0, show_default=True, help="Events per second.")
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="embedded", show_default=True)
def main(count: int, rate: float, broker: str) -> None:
    """Print what promotions cost a running worker, as JSON."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        click.echo(json.dumps(asyncio.run(measure(broker, count=count, rate=rate)), indent=2))
    except ForebayError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""Measure what promotions cost a running worker: latency while a version loads, and memory after many of them.

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
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import click
import numpy as np

from benchmarks.idle_memory import resident_mib
from benchmarks.rollout_worker import RolloutWorker, rollout_worker
from forebay.schemas.errors import ForebayError
from forebay.stream.bench.setup import save_bench_model
from forebay.stream.rollouts.changes import Proposal, promote
from forebay.stream.rollouts.revision import Revision

WARM_UP_S: Final = 6.0
BEFORE_S: Final = 2.0
AFTER_S: Final = 1.0
KEPT_S: Final = 2.5
"""Time until the version before is freed, so that the next promotion loads it again."""
FIRST_PROMOTIONS: Final = 20


@dataclass(frozen=True, slots=True)
class Promotion:
    """One promotion: when it was proposed and when the worker had applied it, monotonic seconds."""

    proposed_s: float
    applied_s: float
    resident_mib: float


def promote_other(current: Revision, proposal: Proposal) -> Revision:
    """Return the revision that promotes the one of the two versions that does not serve."""
    return promote(current, 3 - current.stable, proposal)


def load_ratios(
    promotions: Sequence[Promotion], latencies_ms: Sequence[float], *, rate: float, start_s: float
) -> list[float]:
    """Return the p99 latency during each load divided by that before it.

    latencies_ms: by event, in the order of sending.
    start_s: when the first event was due, monotonic seconds.
    """
    due_s = start_s + np.arange(len(latencies_ms)) / rate
    latencies_N = np.asarray(latencies_ms)
    ratios: list[float] = []
    for each in promotions:
        before = latencies_N[(due_s >= each.proposed_s - BEFORE_S) & (due_s < each.proposed_s)]
        during = latencies_N[(due_s >= each.proposed_s) & (due_s < each.applied_s + AFTER_S)]
        ratios.append(float(np.percentile(during, 99) / np.percentile(before, 99)))
    return ratios


async def promote_often(worker: RolloutWorker, count: int) -> list[Promotion]:
    """Promote that often, each time once the version before has been freed."""
    await asyncio.sleep(WARM_UP_S)
    promotions: list[Promotion] = []
    for number in range(count):
        proposed_s = time.monotonic()
        await worker.change(promote_other)
        promotions.append(Promotion(proposed_s, time.monotonic(), resident_mib(worker.process.pid)))
        click.echo(f"\r{number + 1} of {count} promotions", nl=False, err=True)
        await asyncio.sleep(KEPT_S)
    click.echo(err=True)
    return promotions


def save_versions(repository: Path) -> None:
    """Save two equal versions of the benchmark's model."""
    for _ in range(2):
        save_bench_model(repository)


async def measure(broker: str, *, count: int, rate: float) -> dict[str, object]:
    """Promote while events arrive, and return the figures."""
    async with rollout_worker(broker, save_versions, "keep_previous_s = 1") as worker:
        events = int((WARM_UP_S + count * (KEPT_S + 2.0) + 5) * rate)
        start_s = time.monotonic()
        timing = asyncio.create_task(worker.time_events(events, rate))
        promotions = await promote_often(worker, count)
        loop = await timing
    first = min(FIRST_PROMOTIONS, count)
    early, late = promotions[first - 1].resident_mib, promotions[-1].resident_mib
    ratios = load_ratios(promotions, loop.latencies_ms, rate=rate, start_s=start_s)
    return {
        "promotions": count,
        "seconds until applied, median": round(median(each.applied_s - each.proposed_s for each in promotions), 2),
        "p99 during a load / before, median": round(median(ratios), 3),
        "p99 during a load / before": [round(ratio, 2) for ratio in ratios],
        "p50 ms": round(loop.latency.p50_ms, 1),
        "p99 ms": round(loop.latency.p99_ms, 1),
        f"resident MiB after {first}": round(early, 1),
        f"resident MiB after {count}": round(late, 1),
        "growth": round(late / early - 1, 4),
    }


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

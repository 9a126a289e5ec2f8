"""Measure what a shadow costs the stream: latency and CPU time of a worker with and without one, in turn.

    python -m benchmarks.shadows
    python -m benchmarks.shadows --rate 5000 --broker apache

Events arrive at a fixed rate. The shadow is an MLP with two layers of 1,024, many times slower than the version
that serves, and has a sample of 1. In odd phases the worker has no shadow, in even ones it has one; each phase with a shadow is
compared with the one before.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks.rollout_worker import RolloutWorker, rollout_worker
from forebay.models.artefacts.artefact import read_version
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.save import save_artefact
from forebay.schemas.errors import ForebayError
from forebay.stream.bench.open_loop import OpenLoop
from forebay.stream.bench.setup import MODEL_NAME, NUM_FEATURES, save_bench_model
from forebay.stream.rollouts.changes import Proposal, abort, start_shadow
from forebay.stream.rollouts.revision import Revision

SHADOW = 2
PHASE_S = 12.0
WARM_UP_S = 3.0


def save_versions(repository: Path) -> None:
    """Save the benchmark's model and a slow version of it."""
    save_bench_model(repository)
    signature = read_version(repository, MODEL_NAME, 1).manifest.signature
    net = build_net("mlp", {"input_dim": NUM_FEATURES, "hidden_dims": [1024, 1024], "output_dim": 2})
    save_artefact(
        repository,
        MODEL_NAME,
        net,
        signature=signature,
        created_at=datetime.now(UTC),
        note="untrained, for benchmarks only",
    )


def begin(current: Revision, proposal: Proposal) -> Revision:
    """Return the revision with the shadow."""
    return start_shadow(current, SHADOW, sample=1.0, proposal=proposal)


def end(current: Revision, proposal: Proposal) -> Revision:
    """Return the revision without it."""
    return abort(current, proposal, SHADOW)


async def phases(worker: RolloutWorker, *, rounds: int, rate: float) -> tuple[list[OpenLoop], list[OpenLoop], Any]:
    """Return the phases without and with the shadow, and what the worker's status says of it at the end."""
    without: list[OpenLoop] = []
    with_shadow: list[OpenLoop] = []
    events = int(PHASE_S * rate)
    shadow: Any = None
    for number in range(2 * rounds):
        has_shadow = number % 2 == 1
        if has_shadow:
            await worker.change(begin)
        loop = await worker.time_events(events, rate, first_number=number * events, warm_up_s=WARM_UP_S)
        (with_shadow if has_shadow else without).append(loop)
        if has_shadow:
            shadow = (await worker.rollout())["shadows"]
            await worker.change(end)
    return without, with_shadow, shadow


async def measure(broker: str, *, rounds: int, rate: float) -> dict[str, object]:
    """Return the figures."""
    async with rollout_worker(broker, save_versions, "keep_previous_s = 600") as worker:
        without, with_shadow, shadow = await phases(worker, rounds=rounds, rate=rate)
    pairs = list(zip(without, with_shadow, strict=True))
    return {
        "events/s": rate,
        "p50 ms": [[round(loop.latency.p50_ms, 1) for loop in pair] for pair in pairs],
        "p99 ms": [[round(loop.latency.p99_ms, 1) for loop in pair] for pair in pairs],
        "p50 with / without, median": round(median(b.latency.p50_ms / a.latency.p50_ms for a, b in pairs), 3),
        "p99 with / without, median": round(median(b.latency.p99_ms / a.latency.p99_ms for a, b in pairs), 3),
        "CPU share without": round(median(loop.cpu_share for loop in without), 3),
        "CPU share with": round(median(loop.cpu_share for loop in with_shadow), 3),
        "the last shadow": shadow,
    }


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Number of pairs of phases of 12 seconds.")
@click.option("--rate", default=1000.0, show_default=True, help="Events per second.")
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="embedded", show_default=True)
def main(rounds: int, rate: float, broker: str) -> None:
    """Print what a shadow costs the stream, as JSON."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        click.echo(json.dumps(asyncio.run(measure(broker, rounds=rounds, rate=rate)), indent=2))
    except ForebayError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""Measure what a shadow that is slower than the stream costs the stream: a worker drains a backlog with and without one.

    python -m benchmarks.shadows
    python -m benchmarks.shadows --events 300000 --rounds 5

The worker runs in this process on the embedded broker. The shadow gets every event and takes 20 ms for each micro-batch, which
is several times as long as the stream. Variants are interleaved:

- `none`: no shadow.
- `default`: while the worker is behind, the shadow's events are dropped (reason `load`).
- `no load limit`: the shadow ignores the load, so that only `rollouts.shadow_max_share` bounds it.
"""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from forebay.models.artefacts.signature import Signature
from forebay.models.backends.protocol import Model, Scores
from forebay.stream.bench.host_info import describe_host
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import FloatMatrix
from forebay.stream.embedded.broker import EmbeddedBroker
from forebay.stream.rollouts.changes import Proposal, start_shadow
from forebay.stream.rollouts.revision import Revision

if TYPE_CHECKING:
    from tests.worker.rollout_workers import RolloutGroup, RunningWorker

VARIANTS: Final = ("none", "default", "no load limit")
CALL_S: Final = 0.02
PIECE: Final = 10_000
BLOCK: Final = bytes(256 << 10)


class SlowModel:
    """A version that computes for 20 ms in each call.

    holds_lock: whether it holds the interpreter lock meanwhile, as Python code does, unlike the operators of a model.
    """

    version = 2

    def __init__(self, name: str, signature: Signature, *, holds_lock: bool) -> None:
        self.name = name
        self.signature = signature
        self._holds_lock = holds_lock
        self.cpu_s = 0.0

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        pass

    def prepare(self, x_BF: FloatMatrix) -> FloatMatrix:
        return x_BF

    def forward(self, x_BG: FloatMatrix) -> Scores:
        began_s = time.thread_time()
        until_s = began_s + CALL_S
        while time.thread_time() < until_s:
            if self._holds_lock:
                sum(range(2_000))
            else:
                hashlib.sha256(BLOCK)
        self.cpu_s += time.thread_time() - began_s
        return Scores(np.zeros((len(x_BG), self.signature.output_dim), np.float32))


class SlowLoader:
    """Returns the slow model for every version."""

    def __init__(self, signature: Signature, *, holds_lock: bool) -> None:
        self._signature = signature
        self._holds_lock = holds_lock
        self.models: list[SlowModel] = []

    async def load(self, ref: ModelRef, digest: str | None) -> Model:
        self.models.append(SlowModel(ref.name, self._signature, holds_lock=self._holds_lock))
        return self.models[-1]


async def _round(group: RolloutGroup, variant: str, *, events: int, holds_lock: bool) -> dict[str, float]:
    from tests.eventually import eventually
    from tests.worker.rollout_workers import NAME

    worker = await group.start("bench", batch={"max_batch_size": 512})
    await worker.ready()
    parts = worker._worker._parts
    shadows = parts.shadows
    assert shadows is not None
    if variant != "none":
        signature = next(iter(parts.lanes)).model.signature
        shadows.lanes._loader = loader = SlowLoader(signature, holds_lock=holds_lock)

        def change(current: Revision, proposal: Proposal) -> Revision:
            return start_shadow(current, 2, sample=1.0, proposal=proposal)

        await group.propose(change)
        await worker.applied(1)
        await eventually(
            lambda: shadows.lanes.comparisons(NAME), "a shadow", until=lambda seen: seen[2]["state"] == "running"
        )
        if variant == "no load limit":
            for lane in shadows.lanes.all_lanes():
                lane._is_load_high = lambda: False
    pipeline = parts.pipeline
    pipeline.paused_by_operator = True
    for _ in range(events // PIECE):
        await group.send(PIECE)
    await parts.lag.poll()
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    pipeline.paused_by_operator = False
    events -= events % PIECE
    while sum(pipeline.totals.outcomes.values()) < events:  # noqa: ASYNC110  # the totals have no event
        await asyncio.sleep(0.005)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    shadow_cpu_s = 0.0
    found = {"events_s": events / took_s, "busy": 0.0, "shadow_cpu": 0.0, "compared": 0.0, "dropped": 0.0}
    if variant != "none":
        shadow_cpu_s = sum(model.cpu_s for model in loader.models)
        seen = shadows.lanes.comparisons(NAME)[2]
        found["shadow_cpu"] = shadow_cpu_s / took_s
        found |= _shadow_figures(worker, seen, took_s)
    found["cpu_us"] = 1e6 * (cpu_s - shadow_cpu_s) / events
    await worker.stop()
    return found


def _shadow_figures(worker: RunningWorker, seen: Any, took_s: float) -> dict[str, float]:
    shadows = worker._worker._parts.shadows
    assert shadows is not None
    busy_s = shadows.lanes._budget.busy_s
    return {"busy": busy_s / took_s, "compared": seen["rows"], "dropped": float(sum(seen["dropped"].values()))}


async def _measure(events: int, rounds: int, *, holds_lock: bool) -> dict[str, list[dict[str, float]]]:
    from tests.worker.rollout_workers import rollout_group

    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    with TemporaryDirectory() as folder:
        broker = EmbeddedBroker()
        await broker.start()
        try:
            for number in range(rounds + 1):
                for variant in VARIANTS:
                    prefix = f"shadows-{number}-{VARIANTS.index(variant)}"
                    async with rollout_group(broker.bootstrap_servers, prefix, Path(folder) / prefix) as group:
                        measured = await _round(group, variant, events=events, holds_lock=holds_lock)
                    if number:  # the first round warms up
                        found[variant].append(measured)
        finally:
            await broker.stop()
    return found


@click.command(help=__doc__)
@click.option("--events", default=200_000, show_default=True, help="Events in the backlog, a multiple of 10,000.")
@click.option("--rounds", default=3, show_default=True, help="Number of rounds; variants are interleaved.")
@click.option("--holds-lock", is_flag=True, help="The shadow holds the interpreter lock, as Python code does.")
def main(events: int, rounds: int, holds_lock: bool) -> None:
    console = Console(width=140)
    found = asyncio.run(_measure(events, rounds, holds_lock=holds_lock))
    table = Table(
        *("variant", "events/s", "of none", "stream CPU µs/event", "shadow busy", "shadow CPU", "compared", "dropped")
    )
    base = statistics.median(one["events_s"] for one in found["none"])
    for variant, measured in found.items():
        middle = {name: statistics.median(one[name] for one in measured) for name in measured[0]}
        table.add_row(
            variant,
            f"{middle['events_s']:,.0f}",
            f"{middle['events_s'] / base:.1%}",
            f"{middle['cpu_us']:.2f}",
            f"{middle['busy']:.1%}",
            f"{middle['shadow_cpu']:.1%}",
            f"{middle['compared']:,.0f}",
            f"{middle['dropped']:,.0f}",
        )
    console.print(describe_host())
    console.print(table)


if __name__ == "__main__":
    main()

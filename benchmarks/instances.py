"""Measure several instances of one model in one process (`model.instances`).

    python -m benchmarks.instances --rounds 5

Each variant runs the same micro-batches of 512 events through the executor of a worker, while the event loop parses as many
events, as a worker does. The models are MLPs of three sizes. Events per second of wall time show what instances gain, and
events per second of CPU time of the process what they cost. More instances than cores gain nothing. On a machine that does
other work, compare CPU times only.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from dataclasses import dataclass
from statistics import median

import click
import numpy as np
import orjson
import torch
from rich.console import Console
from rich.table import Table

from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.runner import TorchRunner
from forebay.models.serving.served_model import ModelDescription, ServedModel
from forebay.stream.bench.host_info import describe_host
from forebay.stream.config.sections import BreakerSection, DeliverySection
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk, Epoch, MicroBatch, TopicPartition
from forebay.stream.worker.lane_assembly import build_executor, circuit_breaker

NUM_FEATURES = 32
BATCH_SIZE = 512
WIDTHS = {"small": (128, 64), "medium": (1024, 1024), "large": (2048, 2048)}


@dataclass(frozen=True, slots=True)
class Run:
    """One variant, once."""

    events_per_s: float
    events_per_cpu_s: float
    call_ms: float
    busy_share: float


def build_model(widths: tuple[int, ...], num_instances: int) -> ServedModel:
    """Return an untrained MLP with a runner for each instance."""
    torch.manual_seed(0)
    nets = [
        build_net("mlp", {"input_dim": NUM_FEATURES, "hidden_dims": list(widths), "output_dim": 2})
        for _ in range(num_instances)
    ]
    features = tuple(Feature(f"f{number}") for number in range(NUM_FEATURES))
    signature = Signature(features, (NUM_FEATURES,), "multiclass", 2)
    description = ModelDescription("bench", 1, signature, Preprocessing())
    first, *others = [TorchRunner(net, torch.device("cpu")) for net in nets]
    model = ServedModel(description, first)
    model.add_instances([ServedModel(description, other) for other in others])
    return model


def micro_batch(seq: int) -> MicroBatch:
    """Return a micro-batch whose records are not looked at."""
    x_BF = np.random.default_rng(seq).standard_normal((BATCH_SIZE, NUM_FEATURES)).astype(np.float32)
    chunk = Chunk(
        TopicPartition("features", 0),
        Epoch(1, "bench", None, 1),
        ModelRef("bench", 1),
        records=[None] * BATCH_SIZE,  # type: ignore[list-item]
        ids=[],
        timestamps=[],
        x_BF=x_BF,
        rejections=(),
        num_records=BATCH_SIZE,
        num_bytes=0,
        next_offset=(seq + 1) * BATCH_SIZE,
    )
    return MicroBatch(seq, (chunk,), "size", 0.0)


async def measure(widths: tuple[int, ...], num_instances: int, num_batches: int) -> Run:
    """Run micro-batches through the executor."""
    model, payload = build_model(widths, num_instances), orjson.dumps(list(range(NUM_FEATURES)))
    executor = build_executor(
        model.instances,
        DeliverySection(),
        breaker=circuit_breaker("model", BreakerSection()),
        clock=SystemClock(),
        on_fatal=_end,
        decision=None,
    )
    await executor.start([1, BATCH_SIZE])
    batches = [micro_batch(seq) for seq in range(8)]
    submitted = done = 0
    calls_s: list[float] = []
    began_s, cpu_began_s = time.perf_counter(), time.process_time()
    while done < num_batches:
        while submitted < num_batches and executor.capacity():
            for _ in range(BATCH_SIZE):
                orjson.loads(payload)
            executor.submit(batches[submitted % len(batches)])
            submitted += 1
            await asyncio.sleep(0)
        for result in executor.collect():
            calls_s.append(getattr(result, "model_s", math.nan))
            done += 1
        if done < num_batches and not executor.capacity():
            await executor.wait(1.0)
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_began_s
    executor.stop()
    events = num_batches * BATCH_SIZE
    return Run(events / took_s, events / cpu_s, median(calls_s) * 1000, sum(calls_s) / took_s / num_instances)


def _end(error: BaseException) -> None:
    raise error


async def run_all(rounds: int, seconds: float, counts: list[int]) -> dict[tuple[str, int], list[Run]]:
    """Return the runs of each variant; variants are interleaved."""
    runs: dict[tuple[str, int], list[Run]] = {}
    for name, widths in WIDTHS.items():
        probe = await measure(widths, 1, 5)
        num_batches = max(10, int(seconds * probe.events_per_s / BATCH_SIZE))
        for _ in range(rounds):
            for count in counts:
                runs.setdefault((name, count), []).append(await measure(widths, count, num_batches))
    return runs


@click.command(context_settings={"show_default": True})
@click.option("--rounds", type=click.IntRange(min=1), default=5)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=2.0, help="Approximate duration of one run.")
@click.option("--instances", "counts", type=click.IntRange(min=1), multiple=True, default=(1, 2))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rounds: int, seconds: float, counts: tuple[int, ...], as_json: bool) -> None:
    torch.set_num_threads(1)
    sys.setswitchinterval(0.0005)  # as in a worker
    console = Console(stderr=True)
    with console.status("measuring"):
        runs = asyncio.run(run_all(rounds, seconds, list(counts)))
    medians = {
        key: Run(*(median(getattr(run, name) for run in of_key) for name in Run.__dataclass_fields__))
        for key, of_key in runs.items()
    }
    if as_json:
        report = {
            f"{name} x {count}": {field: getattr(run, field) for field in Run.__dataclass_fields__}
            for (name, count), run in medians.items()
        }
        click.echo(json.dumps({"runs": report, "machine": describe_host()}, indent=2))
        return
    table = Table(title=f"batches of {BATCH_SIZE} · median of {rounds}", title_justify="left")
    for heading in ("model", "instances", "events/s", "ratio", "events/CPU-s", "ratio", "call ms", "busy share"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for (name, count), run in medians.items():
        first = medians[name, counts[0]]
        table.add_row(
            *(name, str(count), f"{run.events_per_s:,.0f}", f"{run.events_per_s / first.events_per_s:.2f}"),
            *(f"{run.events_per_cpu_s:,.0f}", f"{run.events_per_cpu_s / first.events_per_cpu_s:.2f}"),
            *(f"{run.call_ms:.2f}", f"{run.busy_share:.2f}"),
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()

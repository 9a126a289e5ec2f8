"""Measure models and whole workers on a CUDA device, in less than ten minutes.

    python -m benchmarks.gpu --output gpu.json
    python -m benchmarks.gpu --precision tf32 --skip-workers
    python -m benchmarks.gpu --simulate --seconds 0.01 --events 20000

Rows per second from NumPy arrays to NumPy arrays, in four ways: `served` is a call as on the CPU, `pipelined` are the
overlapping calls of a worker, `floor` replays the captured graph with the rows on the device already, and `cpu` is one CPU
thread. Then events per second of whole workers, and where the bytes and the CPU time of an event go. Without a CUDA device it
exits with status 2; `--simulate` runs all of it on the CPU to test the script, and its figures mean nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.field import RunFailed
from benchmarks.gpu_models import BATCH_SIZES, MODELS, Place, Rate, measure, new_net, ratios
from benchmarks.gpu_workers import Drained, drain, filled
from forebay.models.backends.protocol import Precision
from forebay.stream.bench.host_info import describe_host

NO_DEVICE: Final = 2
WORKER_MODELS: Final = ("cnn", "mlp-large")


def host_copies(model: str, batch_size: int, seconds: float) -> list[tuple[str, int, float]]:
    """Return the copies of an event on the host: what, bytes, and µs of CPU for an event."""
    net = new_net(model)
    parts = [np.random.default_rng(0).standard_normal((batch_size // 4, net.input_dim)).astype(np.float32)] * 4
    pinned = np.zeros((batch_size, net.input_dim), dtype=np.float32)
    packed = np.zeros((batch_size, net.output_dim + 2), dtype=np.float32)
    value = parts[0][0].tobytes()
    values = [value] * batch_size

    def fill() -> None:
        start = 0
        for part in parts:
            pinned[start : start + len(part)] = part
            start += len(part)

    row_bytes, score_bytes = net.input_dim * 4, (net.output_dim + 2) * 4
    steps = (
        ("bytes of the records → columns", row_bytes, lambda: np.frombuffer(b"".join(values), "<f4").copy()),
        ("columns → pinned memory", row_bytes, fill),
        ("pinned memory → scores", score_bytes, packed.copy),
    )
    found = []
    for name, num_bytes, step in steps:
        calls, began_s = 0, time.thread_time()
        while calls < 3 or time.thread_time() - began_s < seconds:
            step()
            calls += 1
        found.append((name, num_bytes, (time.thread_time() - began_s) / calls / batch_size * 1e6))
    return [
        *found[:2],
        ("pinned memory → device (bus)", row_bytes, 0.0),
        ("device → pinned memory (bus)", score_bytes, 0.0),
        found[2],
    ]


def rates_table(rates: Sequence[Rate], sizes: Sequence[int]) -> Table:
    """Return rows/s by model, batch size and way, with the share of the floor."""
    table = Table(title="rows/s", title_justify="left")
    ways = list(dict.fromkeys(rate.way for rate in rates))
    for heading in ("model", "batch", *ways, "pipelined ÷ floor"):
        table.add_column(heading, justify="left" if heading == "model" else "right", no_wrap=True)
    by_key = {(rate.model, rate.batch_size, rate.way): rate for rate in rates}
    shares = ratios(rates)
    for model in dict.fromkeys(rate.model for rate in rates):
        for size in sizes:
            cells = [f"{by_key[model, size, way].rows_per_s:,.0f}" for way in ways]
            table.add_row(model, f"{size:,}", *cells, f"{shares[model][size]:.2f}")
    return table


def workers_table(runs: Sequence[Drained]) -> Table:
    """Return events/s of whole workers, and how busy the device was."""
    table = Table(title="whole workers, raw float32, exactly once, embedded broker", title_justify="left")
    for heading in ("model", "processes", "events/s", "CPU µs/event", "device busy"):
        table.add_column(heading, justify="left" if heading == "model" else "right", no_wrap=True)
    for run in runs:
        busy = "unknown" if run.median_busy is None else f"{run.median_busy:.0%}"
        table.add_row(run.model, str(run.processes), f"{run.events_per_s:,.0f}", f"{run.cpu_us_per_event:.1f}", busy)
    return table


def copies_table(model: str, copies: Sequence[tuple[str, int, float]]) -> Table:
    """Return where the bytes of an event are copied."""
    table = Table(title=f"copies of an event, {model}", title_justify="left")
    for heading in ("copy", "bytes", "CPU µs/event"):
        table.add_column(heading, justify="left" if heading == "copy" else "right", no_wrap=True)
    for name, num_bytes, cpu_us in copies:
        table.add_row(name, f"{num_bytes:,}", f"{cpu_us:.2f}" if cpu_us else "")
    return table


async def run_workers(models: Sequence[str], processes: Sequence[int], *, events: int, device: str) -> list[Drained]:
    """Return the rates of whole workers for each model and number of processes. Prints failures and continues."""
    runs = []
    for model in models:
        async with filled(model, events=events, device=device) as topic:
            for count in processes:
                try:
                    runs.append(await drain(topic, count))
                except RunFailed as error:
                    click.echo(str(error), err=True)
    return runs


@click.command(help=__doc__.partition("\n")[0] if __doc__ else None)
@click.option(
    "--simulate", is_flag=True, help="Run everything on the CPU to test the script. The figures mean nothing."
)
@click.option("--precision", type=click.Choice(["fp32", "tf32", "bf16"]), default="fp32", show_default=True)
@click.option("--model", "models", multiple=True, type=click.Choice([*MODELS]), help="Only this model. [default: all]")
@click.option(
    "--batch-size", "sizes", multiple=True, type=click.IntRange(4, 4096), help="[default: 64, 256, 1024, 4096]"
)
@click.option("--seconds", type=click.FloatRange(min=0.001), default=1.0, show_default=True, help="For each figure.")
@click.option("--events", type=click.IntRange(min=1_000), default=1_000_000, show_default=True, help="In each topic.")
@click.option(
    "--processes", multiple=True, type=click.IntRange(min=1), default=(1, 8), show_default=True, help="Of workers."
)
@click.option("--skip-workers", is_flag=True, help="Measure the models only.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures as JSON.")
def main(
    simulate: bool, precision: str, models: Sequence[str], sizes: Sequence[int], output: Path | None, **options: Any
) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    if not simulate and not torch.cuda.is_available():
        click.echo("There is no CUDA device: torch finds none. --simulate tests the script on the CPU.", err=True)
        sys.exit(NO_DEVICE)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    torch.set_num_threads(1)
    place = Place(None if simulate else torch.device("cuda", 0), cast("Precision", precision))
    names, batch_sizes, seconds = models or tuple(MODELS), sizes or BATCH_SIZES, float(options["seconds"])
    rates: list[Rate] = []
    for name in names:
        rates += measure(name, place, sizes=batch_sizes, seconds=seconds)
    console.print(rates_table(rates, batch_sizes))
    copies = {name: host_copies(name, 1024, min(seconds, 0.3)) for name in names if name in WORKER_MODELS}
    for name, found in copies.items():
        console.print(copies_table(name, found))
    runs: list[Drained] = []
    if not options["skip_workers"]:
        drained = list(names[:1]) if simulate else [name for name in WORKER_MODELS if name in names]
        device = "cpu" if simulate else "cuda:0"
        runs = asyncio.run(run_workers(drained, options["processes"], events=options["events"], device=device))
        console.print(workers_table(runs))
    report = {
        "simulated": simulate,
        "precision": precision,
        "device": "none" if simulate else torch.cuda.get_device_name(0),
        "torch": torch.__version__,
        "machine": describe_host(),
        "rates": [rate._asdict() for rate in rates],
        "share_of_floor": ratios(rates),
        "copies": copies,
        "workers": [
            {
                "model": run.model,
                "processes": run.processes,
                "events_per_s": run.events_per_s,
                "cpu_us_per_event": run.cpu_us_per_event,
                "busy": run.median_busy,
            }
            for run in runs
        ],
    }
    if output is not None:
        output.write_text(json.dumps(report, indent=2, default=str), encoding="utf-8")
    if simulate:
        click.echo("simulated: these figures mean nothing", err=True)


if __name__ == "__main__":
    main()

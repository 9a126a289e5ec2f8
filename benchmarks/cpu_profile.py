"""Sample the CPU time of a whole worker that drains a backlog: a table by stage, and a flame graph.

    pip install py-spy
    python -m benchmarks.cpu_profile --broker apache --flame-graph docs/flame-graph.svg

py-spy takes samples of all threads that are running. Imports and the start of the worker are left out. On a busy machine shares
are still valid, unlike rates.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from benchmarks.contestants.job import Job
from benchmarks.field import ROOT, Field, prepared
from forebay.schemas.topics import FEATURES, PREDICTIONS, topic_name
from forebay.stream.bench.setup import MODEL_NAME

RATE: Final = 250
"""Samples per second and thread."""
STAGES: Final = (
    ("read from sockets", ("_read_ready", "chunked_reads.py")),
    ("write to sockets", ("write (asyncio/selector_events.py", "send (asyncio/selector_events.py")),
    ("records of fetched batches", ("batch_pieces.py", "raw_records.py", "consumer/fetcher.py", "kafka/protocol/")),
    ("decode: read values into the matrix", ("stream/decode/one_model.py",)),
    ("decode: the rest", ("stream/decode/",)),
    ("model, with hand-overs", ("stream/inference/", "pipeline/device_feed.py")),
    ("encode predictions", ("stream/output/encoder.py",)),
    ("emit: keys, headers, counts", ("stream/output/",)),
    ("build record batches", ("column_batch.py", "message_accumulator.py")),
    ("requests of the client", ("aiokafka/",)),
    ("commits and transactions", ("pipeline/committer.py", "producer/transaction.py", "pipeline/recovery.py")),
    ("telemetry", ("stream/telemetry/",)),
)
COLOURS: Final = (
    *("#8ecae6", "#219ebc", "#b5838d", "#e76f51", "#f4a261", "#2a9d8f"),
    *("#e9c46a", "#f6e3a8", "#90be6d", "#adb5bd", "#cdb4db", "#dee2e6"),
)
Stack = tuple[str, ...]


def read_samples(text: str) -> Counter[Stack]:
    """Return the numbers of samples by stack, from the lines of py-spy's raw format, without those of imports and the start."""
    samples: Counter[Stack] = Counter()
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        is_work = "_run_once (asyncio" in frames or "device_thread.py" in frames
        if (
            count.isdigit()
            and is_work
            and "frozen importlib" not in frames
            and "_start (forebay/stream/worker" not in frames
        ):
            # Without the lines within functions, and without the thread and the frames above the event loop.
            names = tuple(f"{frame.rsplit(':', 1)[0]})" if ":" in frame else frame for frame in frames.split(";"))
            top = next((index for index, name in enumerate(names) if name.startswith(("_run_once (", "_run ("))), 0)
            samples[names[top:]] += int(count)
    return samples


def stage_of(stack: Stack) -> str:
    """Return the stage of the innermost frame that belongs to one."""
    for frame in reversed(stack):
        for stage, marks in STAGES:
            if any(mark in frame for mark in marks):
                return stage
    return "event loop and the rest"


class Box(NamedTuple):
    """A frame of the flame graph, with the samples in which it was at this place."""

    depth: int
    start: int
    samples: int
    name: str
    stage: str


def boxes_of(samples: Counter[Stack], least: int) -> list[Box]:
    """Return the boxes with at least `least` samples, those of one caller in the order of their names."""
    boxes: list[Box] = []

    def add(stacks: Sequence[tuple[Stack, int]], depth: int, start: int) -> None:
        parts: dict[str, list[tuple[Stack, int]]] = {}
        for stack, count in stacks:
            if len(stack) > depth:
                parts.setdefault(stack[depth], []).append((stack, count))
        for name, part in sorted(parts.items()):
            total = sum(count for _, count in part)
            if total >= least:
                stage = stage_of(part[0][0][: depth + 1])
                boxes.append(Box(depth, start, samples=total, name=name, stage=stage))
                add(part, depth + 1, start)
            start += total

    add(list(samples.items()), 0, 0)
    return boxes


def flame_graph(samples: Counter[Stack], *, width: int = 1200, row: int = 17) -> str:
    """Return an SVG in which a frame lies on its caller and is as wide as its share of the samples."""
    total = samples.total()
    boxes = boxes_of(samples, max(1, total // 250))
    height = (max(box.depth for box in boxes) + 1) * row + 24
    colour_of = {stage: colour for (stage, _), colour in zip(STAGES, COLOURS, strict=True)}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<text x="4" y="14">CPU samples of a worker: {total:,}. Point at a frame for its share.</text>',
    ]
    for box in boxes:
        x, wide = box.start / total * width, box.samples / total * width
        y = height - (box.depth + 1) * row
        shown = escape(box.name[: max(0, int(wide / 6.2))]) if wide > 30 else ""
        fill = colour_of.get(box.stage, "#f1f3f5")
        rectangle = f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{row - 1}" fill="{fill}"/>'
        title = f"<title>{escape(box.name)}: {box.samples / total:.1%}</title>"
        lines.append(f'<g>{title}{rectangle}<text x="{x + 2:.1f}" y="{y + 12}">{shown}</text></g>')
    return "\n".join([*lines, "</svg>"]) + "\n"


async def take_samples(field: Field, guarantee: str, target: Path) -> None:
    """Run a worker under py-spy until it has drained the topic."""
    prefix = field.settings.topics.prefix
    job = Job(
        bootstrap_servers=field.settings.kafka.bootstrap_servers,
        features=topic_name(prefix, FEATURES.name),
        predictions=topic_name(prefix, PREDICTIONS.name),
        group_id=f"{prefix}profile",
        events=field.events,
        repository=field.settings.model.repository,
        model=MODEL_NAME,
        config=str(field.folder / "forebay.toml"),
        idempotent=False,
        processing_guarantee=guarantee,
    )
    sampler = ["py-spy", "record", "--threads", "--nonblocking", "-r", str(RATE), "-f", "raw", "-o", str(target), "--"]
    worker = [sys.executable, "-m", "benchmarks.contestants.forebay_worker", job.to_argument()]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    # What the worker and py-spy write goes to stderr: stdout has the table.
    await asyncio.to_thread(subprocess.run, [*sampler, *worker], cwd=ROOT, env=environ, stdout=sys.stderr, check=True)


async def profile(broker: str, bootstrap_server: str | None, events: int, guarantee: str) -> Counter[Stack]:
    async with prepared(
        broker=broker,
        bootstrap_server=bootstrap_server,
        events=events,
        partitions=4,
        idempotent=False,
        run_id=uuid.uuid4().hex[:8],
        timestamp_ms=time.time_ns() // 1_000_000,
        progress=lambda _done: None,
        builds={},
    ) as field:
        with tempfile.TemporaryDirectory(prefix="forebay-profile-") as folder:
            target = Path(folder) / "samples.txt"
            await take_samples(field, guarantee, target)
            return read_samples(target.read_text(errors="replace"))


@click.command()
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="embedded", show_default=True)
@click.option("--bootstrap-server", metavar="HOST:PORT", help="Use this running Kafka instead.")
@click.option("--events", type=click.IntRange(min=10_000), default=1_000_000, show_default=True)
@click.option("--at-least-once", is_flag=True, help="Without transactions.")
@click.option("--flame-graph", "graph", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.svg")
def main(broker: str, bootstrap_server: str | None, events: int, at_least_once: bool, graph: Path | None) -> None:
    """Sample a worker: JSON with 32 features, an MLP 32-128-64-2, JSON predictions, exactly once."""
    if shutil.which("py-spy") is None:
        raise click.ClickException("py-spy is needed: pip install py-spy")
    guarantee = "at_least_once" if at_least_once else "exactly_once"
    samples = asyncio.run(profile(broker, bootstrap_server, events, guarantee))
    if not samples:
        raise click.ClickException("py-spy took no samples of the worker")
    shares: Counter[str] = Counter()
    for stack, count in samples.items():
        shares[stage_of(stack)] += count
    table = Table(title=f"CPU samples of a worker: {samples.total():,} · {guarantee}", title_justify="left")
    table.add_column("stage")
    table.add_column("share", justify="right")
    for stage, count in shares.most_common():
        table.add_row(stage, f"{count / samples.total():.1%}")
    Console().print(table)
    if graph is not None:
        graph.write_text(flame_graph(samples), encoding="utf-8")


if __name__ == "__main__":
    main()

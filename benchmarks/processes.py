"""Measure several worker processes under one supervisor, beside single workers.

    python -m benchmarks.processes
    python -m benchmarks.processes --rounds 1 --events 100000 --kills 1      # a short try

- CPU time per event, of all processes together, while a full topic is drained with `--processes 1`, 2 and so on, interleaved.
- Memory and time until ready: two forked processes beside two workers that are started separately.
- Latency of the others when a process is killed at a fifth of the rate at which two drain: p99 of ten seconds before and after.

Requires Linux. Prints Markdown tables.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click
import psutil
from aiokafka import AIOKafkaProducer

from benchmarks.field import started_broker
from forebay.models.artefacts.artefact import read_version
from forebay.schemas.topics import topic_name
from forebay.stream.bench.events import EventGenerator
from forebay.stream.bench.preload import build_batch, preload_topic
from forebay.stream.bench.setup import MODEL_NAME, save_bench_model
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings
from forebay.stream.embedded.process import tied_to_parent
from forebay.stream.embedded.worker_process import without_settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topics import create_topics

START_S = 120.0
TICK_S = 0.02
WINDOW_S = 10.0
LOAD = 0.2
"""The load of the kills, as a share of the rate at which two processes drain."""


class Drained(NamedTuple):
    """A drained topic. cpu_us: CPU time per event, of all processes. rate: events per second."""

    cpu_us: float
    rate: float


class Footprint(NamedTuple):
    """The memory of one process in MiB: with all shared pages, with its share of them, and its own."""

    what: str
    resident: float
    proportional: float
    own: float


class Running:
    """A `forebay run` with its children."""

    def __init__(self, config: Path, log: Path, port: int, *options: str) -> None:
        command = [sys.executable, "-P", "-m", "forebay", "run", "-c", str(config), *options]
        command += ["--set", f"admin.port={port}", "--set", "admin.port_retries=0"]
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        self.started_s = time.monotonic()
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                tied_to_parent(command, os.getpid()),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=without_settings(os.environ),
                start_new_session=True,
            )

    async def ready(self) -> float:
        """Wait until it is ready, and return the seconds since its start."""
        while time.monotonic() - self.started_s < START_S:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(urllib.request.urlopen, f"{self.url}/readyz", timeout=5)
                return time.monotonic() - self.started_s
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.05)
        raise click.ClickException(f"`forebay run` was not ready:\n{self._log.read_text()[-2000:]}")

    async def status(self, path: str = "") -> Any:
        """Return the status, of one process with its path."""

        def get() -> bytes:
            with urllib.request.urlopen(f"{self.url}{path}/status", timeout=5) as response:
                return bytes(response.read())

        return json.loads(await asyncio.to_thread(get))

    def processes(self) -> list[psutil.Process]:
        """Return its processes, the supervisor first."""
        own = psutil.Process(self._process.pid)
        return [own, *own.children(recursive=True)]

    def cpu_s(self) -> float:
        """Return the CPU time of all its running processes."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    async def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self._process.wait, 60)


class Bench:
    """The broker, the topic and the model of a run."""

    def __init__(self, folder: Path, settings: Settings, *, port: int) -> None:
        self.folder = folder
        self.settings = settings
        self._port = port
        self._runs = 0
        signature = read_version(folder / "models", MODEL_NAME).manifest.signature
        self.generator = EventGenerator(signature)

    def start(self, processes: int, *, group: str | None = None, single: bool = False) -> Running:
        """Start a worker, or several. single: without a supervisor even where there are several."""
        self._runs += 1
        group = group or f"bench-{uuid.uuid4().hex[:8]}"
        options = ["--set", f"kafka.group_id={group}", "--processes", "1" if single else str(processes)]
        log = self.folder / f"run-{self._runs}.log"
        return Running(self.folder / "forebay.toml", log, self._port + self._runs, *options)

    async def drain(self, processes: int, events: int) -> Drained:
        """Drain the topic with this number of processes."""
        running = self.start(processes)
        try:
            await running.ready()
            cpu_s, began_s = running.cpu_s(), time.monotonic()
            done = await self._done(running)
            first = done
            while done < events:
                await asyncio.sleep(0.2)
                done = await self._done(running)
            took_s = time.monotonic() - began_s
            return Drained((running.cpu_s() - cpu_s) * 1e6 / (events - first), (events - first) / took_s)
        finally:
            await running.stop()

    async def _done(self, running: Running) -> int:
        return int(sum((await running.status())["totals"]["outcomes"].values()))

    async def footprints(self) -> tuple[list[Footprint], float, list[Footprint], float]:
        """Return memory and seconds until ready: of two forked processes, and of two single workers."""
        forked = self.start(2)
        try:
            forked_s = await forked.ready()
            await asyncio.sleep(5)
            names = ["supervisor", "template", "process 0", "process 1"]
            of_forked = [footprint(process.pid, name) for name, process in zip(names, forked.processes(), strict=True)]
        finally:
            await forked.stop()
        group = f"bench-{uuid.uuid4().hex[:8]}"
        singles = [self.start(1, group=group, single=True) for _ in range(2)]
        try:
            singles_s = max([await single.ready() for single in singles])
            await asyncio.sleep(5)
            of_singles = [footprint(one.processes()[0].pid, f"worker {i}") for i, one in enumerate(singles)]
        finally:
            for single in singles:
                await single.stop()
        return of_forked, forked_s, of_singles, singles_s

    async def kill_latencies(self, rate: float, kills: int) -> list[tuple[float, float]]:
        """Return the p99 in ms of the process that is not killed, in the windows before and after each kill."""
        running = self.start(2)
        results = []
        try:
            await running.ready()
            async with self._load(rate):
                await asyncio.sleep(5)
                for _ in range(kills):
                    await asyncio.sleep(WINDOW_S + 2)
                    status = await running.status()
                    before = await running.status("/processes/1")
                    os.kill(status["processes"][0]["pid"], signal.SIGKILL)
                    await asyncio.sleep(WINDOW_S + 1)
                    after = await running.status("/processes/1")
                    results.append((before["now"]["latency_p99_ms"], after["now"]["latency_p99_ms"]))
        finally:
            await running.stop()
        return results

    @contextlib.asynccontextmanager
    async def _load(self, rate: float) -> AsyncIterator[None]:
        """Publish at this rate, evenly to all partitions."""
        topic = topic_name(self.settings.topics.prefix, "features")
        producer = AIOKafkaProducer(**client_options(self.settings.kafka), acks="all")
        await producer.start()

        async def publish() -> None:
            began_s, number, turn = time.monotonic(), 0, 0
            while True:
                await asyncio.sleep(TICK_S)
                due = int((time.monotonic() - began_s) * rate) - number
                share = max(1, due // self.settings.topics.partitions)
                for _ in range(self.settings.topics.partitions):
                    now_ms = time.time_ns() // 1_000_000
                    batch, count = build_batch(producer, self.generator, first=number, count=share, timestamp_ms=now_ms)
                    partition = turn % self.settings.topics.partitions
                    await producer.send_batch(batch, topic, partition=partition)
                    number, turn = number + count, turn + 1

        publishing = asyncio.create_task(publish())
        try:
            yield
        finally:
            publishing.cancel()
            await asyncio.wait({publishing})
            await producer.stop()


def footprint(pid: int, what: str) -> Footprint:
    """Return the memory of a process."""
    values = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith("kB"):
            values[name] = int(value.split()[0]) / 1024
    return Footprint(what, values["Rss"], values["Pss"], values["Private_Clean"] + values["Private_Dirty"])


@contextlib.asynccontextmanager
async def prepared(
    broker: str, bootstrap_server: str | None, *, events: int, partitions: int, port: int, backend: str
) -> AsyncIterator[tuple[Bench, str]]:
    """Start the broker and fill the topic."""
    with tempfile.TemporaryDirectory(prefix="forebay-processes-") as name:
        folder = Path(name)
        save_bench_model(folder / "models", backend=backend)
        async with started_broker(broker, bootstrap_server, folder) as (servers, description):
            config = folder / "forebay.toml"
            config.write_text(
                f'[kafka]\nbootstrap_servers = "{servers}"\n[topics]\nprefix = "processes-{uuid.uuid4().hex[:8]}-"\n'
                f'partitions = {partitions}\n[model]\nname = "{MODEL_NAME}"\nrepository = "{folder / "models"}"\n',
                encoding="utf-8",
            )
            settings = load_settings(config, {}).settings
            await create_topics(settings)
            bench = Bench(folder, settings, port=port)
            await preload_topic(
                client_options(settings.kafka),
                topic_name(settings.topics.prefix, "features"),
                num_partitions=partitions,
                events=events,
                generator=bench.generator,
                timestamp_ms=time.time_ns() // 1_000_000,
            )
            yield bench, description


def drain_lines(runs: dict[int, list[Drained]]) -> Iterator[str]:
    """Yield the table of the drains, with CPU time as a ratio to one process of the same round."""
    yield "| processes | CPU µs per event, median (range) | ratio to one process | events/s |"
    yield "|---|---|---|---|"
    for count, drained in runs.items():
        cpu = [run.cpu_us for run in drained]
        ratio = median(run.cpu_us / one.cpu_us for run, one in zip(drained, runs[1], strict=True))
        rate = median(run.rate for run in drained)
        yield f"| {count} | {median(cpu):.2f} ({min(cpu):.2f}–{max(cpu):.2f}) | {ratio:.2f} | {rate:,.0f} |"


def memory_lines(title: str, rows: Sequence[Footprint], seconds: float) -> Iterator[str]:
    """Yield the table of memory."""
    yield f"| {title}, ready after {seconds:.1f} s | RSS, MiB | PSS, MiB | private, MiB |"
    yield "|---|---|---|---|"
    for row in rows:
        yield f"| {row.what} | {row.resident:.0f} | {row.proportional:.0f} | {row.own:.0f} |"
    yield f"| sum | | {sum(row.proportional for row in rows):.0f} | {sum(row.own for row in rows):.0f} |"


async def measure(bench: Bench, *, rounds: int, events: int, counts: Sequence[int], kills: int) -> None:
    """Measure everything, and print each table as soon as it is complete."""
    runs: dict[int, list[Drained]] = {count: [] for count in counts}
    for _ in range(rounds):
        for count in counts:
            runs[count].append(await bench.drain(count, events))
    print("\n".join(drain_lines(runs)), end="\n\n", flush=True)
    forked, forked_s, singles, singles_s = await bench.footprints()
    print("\n".join(memory_lines("two processes, forked", forked, forked_s)), end="\n\n", flush=True)
    print("\n".join(memory_lines("two workers, started separately", singles, singles_s)), end="\n\n", flush=True)
    if not kills:
        return
    rate = LOAD * median(run.rate for run in runs[counts[-1]])
    results = await bench.kill_latencies(rate, kills)
    ratios = [after / before for before, after in results]
    print(f"p99 of the other process at {rate:,.0f} events/s, in ms before → after a kill: ", end="")
    print(", ".join(f"{before:.1f} → {after:.1f}" for before, after in results), end="; ")
    print(f"median of the ratios {median(ratios):.2f}", flush=True)


@click.command(help=__doc__.partition("\n")[0] if __doc__ else None)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--events", type=click.IntRange(min=10_000), default=1_000_000, show_default=True)
@click.option("--partitions", type=click.IntRange(min=2), default=8, show_default=True)
@click.option("--processes", "most", type=click.IntRange(min=2), default=2, show_default=True, help="The most.")
@click.option("--kills", type=click.IntRange(min=0), default=5, show_default=True)
@click.option("--backend", type=click.Choice(["torch", "onnx"]), default="torch", show_default=True)
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="apache", show_default=True)
@click.option("--bootstrap-server", metavar="HOST:PORT", help="Use this running Kafka instead.")
@click.option("--port", type=int, default=18_400, show_default=True, help="The ports after it are used.")
def main(
    rounds: int,
    events: int,
    partitions: int,
    most: int,
    kills: int,
    backend: str,
    broker: str,
    bootstrap_server: str | None,
    port: int,
) -> None:
    async def run() -> None:
        async with prepared(
            broker, bootstrap_server, events=events, partitions=partitions, port=port, backend=backend
        ) as (bench, description):
            print(
                f"{description}; {events:,} events, {partitions} partitions, {rounds} rounds, {backend}\n", flush=True
            )
            counts = [count for count in (1, 2, 4, 8, 16, 32) if count <= most]
            await measure(bench, rounds=rounds, events=events, counts=counts, kills=kills)

    asyncio.run(run())


if __name__ == "__main__":
    main()

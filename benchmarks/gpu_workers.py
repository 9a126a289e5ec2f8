"""Rates of whole workers on a CUDA device: topics with raw float32 events, drained by one or several processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.field import ROOT, RunFailed, started_broker
from benchmarks.gpu_models import new_net, signature_of
from forebay.models.backends.torch.save import save_artefact
from forebay.schemas.headers import F32_CONTENT_TYPE
from forebay.schemas.topics import FEATURES, topic_name
from forebay.stream.config.sections import KafkaSection, ModelSection, Settings, TopicsSection
from forebay.stream.config.toml_text import toml_value
from forebay.stream.embedded.worker_process import without_settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topics import create_topics

PARTITIONS: Final = 16
DISTINCT_ROWS: Final = 1_000
TIMEOUT_S: Final = 90.0
WARM_SHARE, LAST_SHARE = 0.1, 0.95
"""The rate is measured between these shares of the topic: the start of the processes and the end are left out."""


@dataclass(frozen=True, slots=True)
class Drained:
    """How fast workers drained a topic. busy: shares of time in which the device was busy, by NVML; empty if unknown."""

    model: str
    processes: int
    events_per_s: float
    cpu_us_per_event: float
    busy: list[float] = field(default_factory=list)

    @property
    def median_busy(self) -> float | None:
        return float(np.median(self.busy)) if self.busy else None


@dataclass(frozen=True, slots=True)
class Filled:
    """A broker with a topic of events for one model."""

    settings: Settings
    folder: Path
    model: str
    events: int
    device: str


@contextlib.asynccontextmanager
async def filled(model: str, *, events: int, device: str) -> AsyncIterator[Filled]:
    """Start an embedded broker, and fill the topic of a model."""
    with tempfile.TemporaryDirectory(prefix="forebay-gpu-") as scratch:
        folder = Path(scratch)
        net = new_net(model)
        now, note = datetime.now(UTC), "untrained, for benchmarks only; its predictions mean nothing"
        save_artefact(folder / "models", model, net, signature=signature_of(net), created_at=now, note=note)
        async with started_broker("embedded", None, folder) as (servers, _):
            settings = Settings(
                kafka=KafkaSection(bootstrap_servers=servers),
                model=ModelSection(repository=str(folder / "models"), name=model),
                topics=TopicsSection(prefix=f"forebay-gpu-{uuid.uuid4().hex[:8]}-", partitions=PARTITIONS),
            )
            await create_topics(settings)
            await _fill(settings, net.input_dim, events)
            yield Filled(settings, folder, model, events=events, device=device)


async def _fill(settings: Settings, width: int, events: int) -> None:
    rows = np.random.default_rng(0).standard_normal((DISTINCT_ROWS, width)).astype("<f4")
    values = [row.tobytes() for row in rows]
    headers = [("content-type", F32_CONTENT_TYPE.encode())]
    producer = AIOKafkaProducer(**client_options(settings.kafka), max_batch_size=900_000)
    await producer.start()
    try:
        topic, number, turn, sent = topic_name(settings.topics.prefix, FEATURES.name), 0, 0, []
        while number < events:
            batch = producer.create_batch()
            while number < events:
                key = b"%d" % number
                if not batch.append(
                    key=key, value=values[number % DISTINCT_ROWS], timestamp=time.time_ns() // 10**6, headers=headers
                ):
                    break
                number += 1
            sent.append(await producer.send_batch(batch, topic, partition=turn % PARTITIONS))
            turn += 1
            if len(sent) > 32:
                await sent.pop(0)
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def drain(topic: Filled, processes: int) -> Drained:
    """Run workers in a new group until they have committed the topic. Raises RunFailed."""
    group = f"gpu-{topic.model}-{processes}-{uuid.uuid4().hex[:6]}"
    config = topic.folder / f"{group}.toml"
    config.write_text(
        "\n".join(
            [
                "[kafka]",
                f"bootstrap_servers = {toml_value(topic.settings.kafka.bootstrap_servers)}",
                f"group_id = {toml_value(group)}",
                "[topics]",
                f"prefix = {toml_value(topic.settings.topics.prefix)}",
                f"partitions = {PARTITIONS}",
                "[model]",
                f"repository = {toml_value(topic.settings.model.repository)}",
                f"name = {toml_value(topic.model)}",
                f"device = {toml_value(topic.device)}",
                "[admin]",
                "port = 0",
                "[worker]",
                f"processes = {processes}",
            ]
        ),
        encoding="utf-8",
    )
    log = topic.folder / f"{group}.log"
    worker = _started(config, log)
    try:
        return await _watch(topic, group, worker, processes=processes)
    except TimeoutError:
        tail = log.read_bytes()[-2000:].decode(errors="replace")
        raise RunFailed(f"{topic.model} with {processes} processes did not finish:\n{tail}") from None
    finally:
        worker.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(20)
        if worker.poll() is None:
            worker.kill()


def _started(config: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "forebay", "run", "-c", str(config)],
            cwd=ROOT,
            env={**without_settings(os.environ), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


async def _watch(topic: Filled, group: str, worker: subprocess.Popen[bytes], *, processes: int) -> Drained:
    admin = AIOKafkaAdminClient(**client_options(topic.settings.kafka))
    await admin.start()
    begun: tuple[float, int, float] | None = None
    before = time.perf_counter(), 0, _cpu_s(worker.pid)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            with sampled_busy() as busy:
                while True:
                    offsets = await admin.list_consumer_group_offsets(group)
                    done = sum(max(0, offset.offset) for offset in offsets.values())
                    now_s, cpu_s = time.perf_counter(), _cpu_s(worker.pid)
                    if begun is None and done >= WARM_SHARE * topic.events:
                        # Few events may all be committed between two looks.
                        begun = before if done >= LAST_SHARE * topic.events else (now_s, done, cpu_s)
                        busy.clear()
                    before = now_s, done, cpu_s
                    if begun is not None and done >= LAST_SHARE * topic.events and done > begun[1]:
                        count, seconds = done - begun[1], now_s - begun[0]
                        return Drained(
                            topic.model,
                            processes,
                            events_per_s=count / seconds,
                            cpu_us_per_event=(cpu_s - begun[2]) / count * 1e6,
                            busy=list(busy),
                        )
                    if worker.poll() is not None:
                        raise TimeoutError
                    await asyncio.sleep(0.05)
    finally:
        await admin.close()


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and its children."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
    return total


@contextlib.contextmanager
def sampled_busy() -> Iterator[list[float]]:
    """Sample the utilization of the first GPU every 200 ms while the block runs. The list stays empty without NVML."""
    samples: list[float] = []
    stop = threading.Event()
    thread = threading.Thread(target=_sample, args=(samples, stop), daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def _sample(samples: list[float], stop: threading.Event) -> None:
    try:
        import pynvml

        pynvml.nvmlInit()
        handle: Any = pynvml.nvmlDeviceGetHandleByIndex(0)
        while not stop.wait(0.2):
            samples.append(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
    except Exception:  # no library, no driver, or a device without this figure, such as a slice of a GPU
        return

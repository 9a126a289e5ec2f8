"""docker-compose.yml without Docker: each service's own command and environment, as processes on a real Kafka.

Only addresses, ports and folders differ: they are those of this machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay.stream.embedded.process import tied_to_parent
from tests.brokers.apache import ApacheKafka
from tests.brokers.clients import consumer, read
from tests.brokers.jars import cache_folder, fetch_jars, find_java
from tests.brokers.ports import free_ports
from tests.eventually import eventually_sync
from tests.packaging.image import compose, environment_of, health_check

# The fixture declares that Apache Kafka is needed; the broker that these tests start uses the same JAR files.
pytestmark = [pytest.mark.usefixtures("kafka_cluster"), pytest.mark.long]

SERVICES = compose()["services"]


class ComposeKafka(ApacheKafka):
    """The service `kafka` of docker-compose.yml: only the settings that the image derives from its environment."""

    def __init__(self, folder: Path) -> None:
        java, _ = find_java(os.environ)
        super().__init__(fetch_jars(cache_folder(os.environ)), folder, java=java)
        (self.internal_port,) = free_ports(1)

    def _write_properties(self, node: Any) -> None:
        here = {"://": "://127.0.0.1", "127.0.0.1kafka": "127.0.0.1", "127.0.0.1localhost": "127.0.0.1"}
        here |= {"@kafka": "@127.0.0.1", ":19092": f":{self.internal_port}", ":9092": f":{node.port}"}
        here |= {":9093": f":{node.controller_port}", "/var/lib/kafka/data": str(node.folder / "data")}
        lines = []
        for name, value in SERVICES["kafka"]["environment"].items():
            # As the image does it. The heap options and the cluster id are not broker properties.
            if name.startswith("KAFKA_") and name != "KAFKA_HEAP_OPTS":
                for ours, this in here.items():
                    value = value.replace(ours, this)
                lines.append(f"{name.removeprefix('KAFKA_').lower().replace('_', '.')}={value}\n")
        (node.folder / "server.properties").write_text("".join(lines))


class Stack:
    """The services, as processes."""

    def __init__(self, folder: Path, kafka: ComposeKafka) -> None:
        self.kafka = kafka
        self._folder = folder
        self.admin_ports = dict(zip(("worker", "aggregator"), free_ports(2), strict=True))
        self._running: list[subprocess.Popen[bytes]] = []

    def environment(self, name: str) -> dict[str, str]:
        here = {"kafka:19092": f"127.0.0.1:{self.kafka.internal_port}", "otel-collector": "127.0.0.1"}
        here |= {"/models": str(self._folder / "models"), "0.0.0.0": "127.0.0.1"}
        settings = environment_of(SERVICES[name]) | {"FOREBAY_ADMIN__PORT": str(self.admin_ports.get(name, 0))}
        for ours, this in here.items():
            settings = {key: value.replace(ours, this) for key, value in settings.items()}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FOREBAY_", "OTEL_"))}
        return {**kept, **settings, "PYTHONDONTWRITEBYTECODE": "1"}

    def start(self, name: str) -> subprocess.Popen[bytes]:
        words = [str(word).replace("/models", str(self._folder / "models")) for word in SERVICES[name]["command"]]
        command = tied_to_parent([sys.executable, "-P", "-m", "forebay", *words], os.getpid())
        with self.log(name).open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment(name), cwd=self._folder)
        self._running.append(process)
        return process

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def finish(self, name: str) -> None:
        """Start a service and wait until it has ended successfully."""
        assert self.start(name).wait(120) == 0, self.log(name).read_text()

    def healthy(self, name: str) -> bool:
        """Return the result of the image's health check."""
        command = [sys.executable, *health_check()[1:]]
        return subprocess.run(command, env=self.environment(name), capture_output=True, timeout=30).returncode == 0

    def until_healthy(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Wait until the health check passes. Fails at once if the process has ended."""

        def healthy() -> bool:
            assert process.poll() is None, self.log(name).read_text()
            return self.healthy(name)

        eventually_sync(healthy, f"{name} healthy", timeout_s=90, every_s=0.2, context=self.log(name).read_text)

    def kill(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    kafka = ComposeKafka(tmp_path / "kafka")
    stack = Stack(tmp_path, kafka)
    try:
        kafka.start()
        yield stack
    finally:
        stack.kill()
        kafka.remove()


async def test_up_shows_predictions_aggregates_and_metrics(stack: Stack) -> None:
    def up() -> dict[str, subprocess.Popen[bytes]]:
        jobs = {name: stack.start(name) for name in ("topics", "model")}
        for name, job in jobs.items():
            assert job.wait(120) == 0, stack.log(name).read_text()
        running = {name: stack.start(name) for name in ("worker", "aggregator")}
        assert not stack.healthy("worker")  # no server is listening yet
        for name, process in running.items():
            stack.until_healthy(name, process)
        return running | {"flights": stack.start("flights")}

    running = await asyncio.to_thread(up)
    async with consumer(stack.kafka.bootstrap, "predictions") as reader:
        said = json.loads((await read(reader, 1, timeout_s=60))[0].value)
        assert said["model"] == "flights-late" and re.match("2013-07-01-", said["id"])
    async with consumer(stack.kafka.bootstrap, "error-aggregates") as reader:
        assert json.loads((await read(reader, 1, timeout_s=60))[0].value)["outcome"] == "predicted"

    def scrape() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{stack.admin_ports['worker']}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    page = await asyncio.to_thread(scrape)
    assert re.search(r'^forebay_events_total\{.*outcome="predicted".*\} [1-9]', page, re.MULTILINE), page[:2000]
    for name in ("flights", "worker", "aggregator"):
        running[name].terminate()
        assert await asyncio.to_thread(running[name].wait, 45) == 0, stack.log(name).read_text()
    # Run again, as after a restart of the machine: existing topics and models are left unchanged.
    await asyncio.to_thread(stack.finish, "topics")
    await asyncio.to_thread(stack.finish, "model")
    assert "from an earlier run" in stack.log("model").read_text()

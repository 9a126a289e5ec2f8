"""The release's pods as processes of this machine, on a real Kafka: a kubelet's work on their specifications.

Init containers run in order, then the container, its probes over HTTP, `helm test`, and SIGTERM with the grace period. Volumes
are folders, and each pod has its own port.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from forebay.stream.embedded.process import tied_to_parent
from tests.brokers.ports import free_ports
from tests.brokers.resolve import Broker
from tests.chart.render import NAMESPACE, Helm, Object, Objects, environment
from tests.conftest import Names
from tests.eventually import eventually_sync

PROBE_TIMEOUT_S = 60
LAG = "forebay_consumer_lag_records{"


class Pod:
    """A pod: its volumes, its port and its processes."""

    def __init__(self, name: str, spec: Object, objects: Objects, folder: Path) -> None:
        self.name = name
        self.spec = spec
        self.objects = objects
        self.folder = folder
        self.log = folder / "log"
        (self.port,) = free_ports(1)
        for place in ("etc/forebay", "models", "tmp"):
            (folder / place).mkdir(parents=True)
        (folder / "etc/forebay/forebay.toml").write_text(self._here(objects.toml()))
        self.process: subprocess.Popen[bytes] | None = None

    def _here(self, text: str) -> str:
        return re.sub(r"/(models|tmp|etc/forebay)\b", rf"{self.folder}/\1", text)

    def _command(self, container: Object) -> list[str]:
        # The image's entry point is `forebay`.
        command = container.get("command") or [sys.executable, "-m", "forebay"]
        command = [sys.executable if part == "python" else part for part in command]
        return [*command[:-1], *map(self._here, [command[-1], *container.get("args", [])])]

    def _environ(self, container: Object) -> dict[str, str]:
        given = {name: self._here(value) for name, value in environment(container, self.objects, self.name).items()}
        path = {"PATH": os.environ["PATH"], "FOREBAY_ADMIN__PORT": str(self.port), "FOREBAY_ADMIN__HOST": "127.0.0.1"}
        return path | given

    def run(self, container: Object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(container),
            env=self._environ(container),
            cwd=self.folder / "tmp",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def start(self) -> None:
        for container in self.spec.get("initContainers", []):
            said = self.run(container)
            assert said.returncode == 0, f"{container['name']}: {said.stdout}{said.stderr}"
        (container,) = self.spec["containers"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                tied_to_parent(self._command(container), os.getpid()),
                env=self._environ(container),
                cwd=self.folder / "tmp",
                stdout=log,
                stderr=log,
            )

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def passes(self, probe: str) -> None:
        """Wait until the probe returns 200. Fails at once if the process has ended."""
        (container,) = self.spec["containers"]
        path = container[probe]["httpGet"]["path"]

        def answer() -> tuple[int, str]:
            assert self.process is not None and self.process.poll() is None, self.log.read_text()
            return self.get(path)

        eventually_sync(
            answer,
            f"200 from the {probe}",
            until=lambda seen: seen[0] == 200,
            timeout_s=PROBE_TIMEOUT_S,
            context=self.log.read_text,
        )

    def stop(self) -> int:
        """Send SIGTERM and return the exit status. The process must end within the grace period."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(self.spec["terminationGracePeriodSeconds"])

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture
def pods(helm: Helm, kafka: Broker, names: Names, tmp_path: Path) -> Iterator[dict[str, Pod]]:
    """The pods of a release, not yet started."""
    config = {
        "topics": {"prefix": names(""), "partitions": 2},
        "kafka": {"session_timeout_ms": 6000, "heartbeat_interval_ms": 1000},
    }
    servers = kafka.bootstrap.replace(",", "\\,")
    objects = helm.objects(
        "minimal", f"kafka.bootstrapServers={servers}", f"kafka.groupId={names('')}", values={"config": config}
    )
    made = {name: Pod(f"{name}-0", spec, objects, tmp_path / name) for name, spec in objects.pod_specs()}
    try:
        yield made
    finally:
        for pod in made.values():
            pod.remove()


@pytest.mark.long
def test_a_release_predicts_and_drains(pods: dict[str, Pod]) -> None:
    worker, aggregator, test = pods["forebay"], pods["forebay-aggregator"], pods["forebay-test"]
    worker.start()
    aggregator.start()
    for pod in (worker, aggregator):
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            pod.passes(probe)

    # helm test
    (container,) = test.spec["containers"]
    said = test.run(container)
    assert said.returncode == 0, said.stdout + said.stderr
    published, answered = said.stdout.splitlines()
    assert published.startswith("published ") and "→  yes" in answered and "example v1" in answered

    # KEDA's query needs this metric. The aggregator can be scraped, too.
    found = eventually_sync(
        lambda: [line for line in worker.get("/metrics")[1].splitlines() if line.startswith(LAG)],
        f"{LAG} among the metrics",
        timeout_s=PROBE_TIMEOUT_S,
    )
    assert all('topic="' in line and 'partition="' in line for line in found)
    assert aggregator.get("/metrics")[0] == 200

    # A restarted pod keeps its name: the new process is the same static member.
    instance = f"{NAMESPACE}.forebay-0"
    assert worker.stop() == 0, worker.log.read_text()
    worker.start()
    worker.passes("readinessProbe")
    assert test.run(container).returncode == 0
    assert worker.get("/status")[0] == 200 and instance in json.dumps(json.loads(worker.get("/status")[1]))
    assert worker.stop() == 0, worker.log.read_text()
    assert aggregator.stop() == 0, aggregator.log.read_text()

"""A real Apache Kafka in KRaft mode, one broker or several, from its jars."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forebay.stream.embedded.process import tied_to_parent
from tests.brokers.jars import KAFKA_VERSION
from tests.brokers.ports import free_ports
from tests.brokers.ready import answers
from tests.brokers.settings import FAST_SETTINGS
from tests.eventually import eventually_sync

_HEAP = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Xshare:auto"]
ARCHIVE: Final = "classes.jsa"
FORMATTED: Final = ("bootstrap.checkpoint", "meta.properties")
"""The files of a storage that is formatted and was not used yet."""
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class _Node:
    id: int
    port: int
    controller_port: int
    folder: Path

    @property
    def log_path(self) -> Path:
        return self.folder / "broker.log"


class ApacheKafka:
    """A cluster of Kafka nodes, each of them broker and controller, on free ports of this machine.

    Ports and data stay the same after `stop`, `kill` and `restart`. The methods block: call them by `asyncio.to_thread` from a
    coroutine.

    folder: for data and logs.
    brokers: the number of nodes.
    settings: override server.properties; `{port}` and `{controller_port}` in the values are replaced by those of the node.
    prepared: the folder with what makes a start faster (see `tests.brokers.prepared`).
    options: for the Java of the nodes.
    """

    def __init__(
        self,
        jars: Path,
        folder: Path,
        *,
        java: Path,
        brokers: int = 1,
        settings: Mapping[str, str] | None = None,
        prepared: Path | None = None,
        options: Sequence[str] = (),
    ) -> None:
        ports = free_ports(2 * brokers)
        self._java = java
        self._jars = jars
        self._folder = folder
        self._settings = dict(settings or {})
        self._prepared = prepared
        self._options = list(options) if prepared is None else [f"-XX:SharedArchiveFile={prepared / ARCHIVE}", *options]
        self._nodes = [_Node(n + 1, ports[2 * n], ports[2 * n + 1], folder / f"node-{n + 1}") for n in range(brokers)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        # A node is killed when the thread that started it ends, so that thread must live as long as this object, unlike the
        # caller's thread, which may belong to an event loop's pool.
        self._spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-spawner")

    @property
    def bootstrap(self) -> str:
        """The address, host:port, of every node, separated by commas."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self._nodes)

    @property
    def version(self) -> str:
        return KAFKA_VERSION

    @property
    def data(self) -> list[Path]:
        """The data folder of each node."""
        return [node.folder / "data" for node in self._nodes]

    @property
    def logs(self) -> list[Path]:
        """The log file of each node."""
        return [node.log_path for node in self._nodes]

    def start(self) -> None:
        """Format the storage, start all nodes and wait until they answer."""
        cluster = _new_id()
        for node in self._nodes:
            node.folder.mkdir(parents=True)
            self._write_properties(node)
        first, *others = self._nodes
        if self._prepared is not None:
            self._copy_format(self._prepared, first, cluster)
        elif self._format(first, cluster).wait(_START_TIMEOUT_S) != 0:
            raise RuntimeError(f"Kafka's storage could not be formatted:\n{_tail(first.log_path)}")
        for node in others:
            self._copy_format(first.folder / "data", node, cluster)
        for node in self._nodes:
            self._spawn(node)
        for node in self._nodes:
            self._wait_ready(node)

    def stop(self, index: int | None = None) -> None:
        """Stop node `index` (or all) as an operator would: SIGTERM, a clean shutdown."""
        self._end(index, signal.SIGTERM)

    def kill(self, index: int | None = None) -> None:
        """Kill node `index` (or all) with SIGKILL."""
        self._end(index, signal.SIGKILL)

    def restart(self, index: int | None = None) -> None:
        """Start node `index` (or all) again on the same port and data, and wait until it answers.

        A running node is stopped first.
        """
        self.stop(index)
        for node in self._selected(index):
            self._spawn(node)
        for node in self._selected(index):
            self._wait_ready(node)

    def pid(self, index: int) -> int:
        """Return the process id of node `index`, which must run."""
        return self._processes[self._nodes[index].id].pid

    def pause(self, index: int | None = None) -> None:
        """Freeze node `index` (or all) by SIGSTOP: connections stay open, and nothing answers."""
        for process in self._running(index):
            process.send_signal(signal.SIGSTOP)

    def resume(self, index: int | None = None) -> None:
        """Resume node `index` (or all) after `pause`."""
        for process in self._running(index):
            process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill all nodes. The folder with logs and data is kept."""
        self.kill()
        self._spawner.shutdown()

    def _selected(self, index: int | None) -> list[_Node]:
        return self._nodes if index is None else [self._nodes[index]]

    def _running(self, index: int | None) -> list[subprocess.Popen[bytes]]:
        return [self._processes[node.id] for node in self._selected(index) if node.id in self._processes]

    def _end(self, index: int | None, how: signal.Signals) -> None:
        processes = self._running(index)
        for node in self._selected(index):
            self._processes.pop(node.id, None)
        for process in processes:
            process.send_signal(how)
        for process in processes:
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()  # a node without a quorum never finishes its clean shutdown
                process.wait()

    def _write_properties(self, node: _Node) -> None:
        replicas = min(3, len(self._nodes))
        properties = {
            "process.roles": "broker,controller",
            "node.id": str(node.id),
            "controller.quorum.voters": ",".join(
                f"{other.id}@127.0.0.1:{other.controller_port}" for other in self._nodes
            ),
            "listeners": f"PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(node.folder / "data"),
            "default.replication.factor": str(replicas),
            "offsets.topic.replication.factor": str(replicas),
            "transaction.state.log.replication.factor": str(replicas),
            "share.coordinator.state.topic.replication.factor": str(replicas),
            "min.insync.replicas": str(min(2, replicas)),
            "transaction.state.log.min.isr": str(min(2, replicas)),
            **FAST_SETTINGS,
            **{
                key: value.replace("{port}", str(node.port)).replace("{controller_port}", str(node.controller_port))
                for key, value in self._settings.items()
            },
        }
        text = "".join(f"{key}={value}\n" for key, value in properties.items())
        (node.folder / "server.properties").write_text(text)

    def _java_command(self, main: str, *arguments: str, options: list[str]) -> list[str]:
        class_path = ["-cp", f"{self._jars}/*"]
        command = [str(self._java), *options, "-Dlog4j2.level=INFO", *class_path, main, *arguments]
        return tied_to_parent(command, os.getpid())

    def _format(self, node: _Node, cluster: str) -> subprocess.Popen[bytes]:
        properties = str(node.folder / "server.properties")
        return self._popen(
            node,
            self._java_command(
                "kafka.tools.StorageTool",
                *("format", "-t", cluster, "-c", properties),
                options=["-XX:TieredStopAtLevel=1", "-Xmx128m"],
            ),
        )

    def _copy_format(self, formatted: Path, node: _Node, cluster: str) -> None:
        """Format the storage of a node like another one, without a Java process: only the ids differ."""
        folder = node.folder / "data"
        folder.mkdir()
        checkpoint, properties = FORMATTED
        shutil.copy(formatted / checkpoint, folder)
        ids = {"node.id": str(node.id), "directory.id": _new_id(), "cluster.id": cluster}
        lines = [line.partition("=") for line in (formatted / properties).read_text().splitlines()]
        (folder / properties).write_text("".join(f"{name}{sep}{ids.get(name, old)}\n" for name, sep, old in lines))

    def _spawn(self, node: _Node) -> None:
        properties = str(node.folder / "server.properties")
        self._processes[node.id] = self._popen(
            node, self._java_command("kafka.Kafka", properties, options=[*_HEAP, *self._options])
        )

    def _popen(self, node: _Node, command: list[str]) -> subprocess.Popen[bytes]:
        def spawn() -> subprocess.Popen[bytes]:
            with node.log_path.open("ab") as log:
                return subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )

        return self._spawner.submit(spawn).result()

    def _wait_ready(self, node: _Node) -> None:
        process = self._processes[node.id]

        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"Kafka node {node.id} ended at its start; its log ends:\n{_tail(node.log_path)}")
            return answers("127.0.0.1", node.port)

        eventually_sync(
            ready, f"Kafka node {node.id} ready", timeout_s=_START_TIMEOUT_S, context=lambda: _tail(node.log_path)
        )


def _new_id() -> str:
    """Return a random UUID in Kafka's form. A leading "-" would be read as an option, so the first character is fixed."""
    return "k" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


def _tail(path: Path, size: int = 3000) -> str:
    return path.read_bytes()[-size:].decode(errors="replace")

"""A real Apache Kafka in a container, where a Docker engine answers."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Mapping

import docker
from docker.errors import DockerException
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from tests.brokers.jars import KAFKA_VERSION, Unavailable
from tests.brokers.ports import free_ports
from tests.brokers.ready import answers
from tests.brokers.settings import FAST_SETTINGS
from tests.eventually import eventually_sync

_IMAGE = f"apache/kafka:{KAFKA_VERSION}"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20


def require_engine() -> None:
    """Raise Unavailable unless a Docker engine answers."""
    if not _engine_answers():
        # The client does not close its socket if it finds no engine. Collected here, the warning about that cannot appear in a
        # test and fail it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        raise Unavailable("no Docker engine answers")


def _engine_answers() -> bool:
    try:
        client = docker.from_env(timeout=5)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except (DockerException, OSError):
        return False


class ContainerKafka:
    """One Kafka node, broker and controller in one, in a container with a fixed port on this machine.

    Port and data stay the same over `stop`, `kill` and `restart`; `remove` ends it. The methods block: call them by
    `asyncio.to_thread` from a coroutine.
    """

    def __init__(self, *, settings: Mapping[str, str] | None = None) -> None:
        (self._port,) = free_ports(1)
        self._host = DockerClient().host()
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": "1@localhost:9093",
            "listeners": f"PLAINTEXT://0.0.0.0:{self._port},CONTROLLER://localhost:9093",
            "advertised.listeners": f"PLAINTEXT://{self._host}:{self._port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            **FAST_SETTINGS,
            **(settings or {}),
        }
        self._container = DockerContainer(_IMAGE).with_bind_ports(self._port, self._port)
        for key, value in properties.items():
            self._container.with_env("KAFKA_" + key.upper().replace(".", "_"), value)

    @property
    def bootstrap(self) -> str:
        return f"{self._host}:{self._port}"

    @property
    def version(self) -> str:
        return KAFKA_VERSION

    def start(self) -> None:
        """Start the broker and wait until it answers. The engine pulls the image the first time."""
        self._container.start()
        self._wait_ready()

    def stop(self) -> None:
        """Stop the broker cleanly and keep its data for `restart`."""
        self._container.get_wrapped_container().stop(timeout=_STOP_TIMEOUT_S)

    def kill(self) -> None:
        """Kill the broker with SIGKILL and keep its data for `restart`."""
        self._container.get_wrapped_container().kill()

    def restart(self) -> None:
        """Start the broker again on the same port and data. A running broker is stopped first."""
        self.stop()
        self._container.get_wrapped_container().start()
        self._wait_ready()

    def pause(self) -> None:
        """Freeze the broker: connections stay open, and nothing answers."""
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        """Resume the broker after `pause`."""
        self._container.get_wrapped_container().unpause()

    def remove(self) -> None:
        """Remove the container and its data."""
        self._container.stop()

    def _wait_ready(self) -> None:
        def log_end() -> str:
            out, err = self._container.get_logs()
            return str((out + err)[-3000:].decode(errors="replace"))

        eventually_sync(
            lambda: answers(self._host, self._port),
            "Kafka ready in its container",
            timeout_s=_START_TIMEOUT_S,
            context=log_end,
        )

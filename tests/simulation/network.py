"""The connection of a process to the cluster, in the place of aiokafka's client: requests take time and may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, RequestTimedOutError

from tests.simulation.cluster import SimulatedCluster, error_response
from tests.simulation.faults import KIND_BY_API_KEY, Effect, Fault, Faults, Kind
from tests.simulation.group import Reply
from tests.simulation.world import Process

REQUEST_TIMEOUT_S: Final = 3.0
JOIN_TIMEOUT_S: Final = 12.0
BROKEN_AFTER_S: Final = 0.05
"""How long it takes until a client finds that a request was lost with its connection."""


class Connection:
    """A process's connection to the cluster.

    cut: whether nothing passes in either direction.
    """

    def __init__(self, process: Process, cluster: SimulatedCluster) -> None:
        self.process = process
        self.cluster = cluster
        self.faults = Faults()
        self.cut = False
        self.sent: dict[Kind, int] = dict.fromkeys(Kind, 0)

    async def call(self, kind: Kind, handle: Callable[[Reply], None], error: Callable[[int], Any] | None = None) -> Any:
        """Send a request and return its answer. Raises KafkaError.

        handle: takes effect in the cluster when the request arrives, and replies.
        error: makes the answer of a coordinator that has an error code only.
        """
        process, world = self.process, self.process.world
        fault = self.faults.take(kind)
        if fault is not None and fault.effect in (Effect.FREEZE, Effect.KILL):
            await self._stop(fault)
            fault = None
        if process.killed:
            raise KafkaConnectionError("the process was killed")
        self.sent[kind] += 1
        answer: asyncio.Future[Any] = process.loop.create_future()
        there_s, back_s = (world.rng.choice((0.0003, 0.0005, 0.001, 0.004)) for _ in range(2))
        effect = None if fault is None else fault.effect
        if fault is not None and effect is Effect.LATE:
            there_s += fault.seconds
        if fault is not None and effect is Effect.ANSWER_LATE:
            back_s += fault.seconds

        def settle(response: Any) -> None:
            if not answer.done() and not process.killed and not self.cut:
                answer.set_result(response)

        def reply(response: Any) -> None:
            if effect is Effect.ANSWER_LOST or self.cut:
                world.after(BROKEN_AFTER_S, break_connection)
            else:
                world.after(back_s, lambda: settle(response))

        def arrive() -> None:
            if self.cut or effect is Effect.LOST:
                world.after(BROKEN_AFTER_S, break_connection)
            elif fault is not None and effect is Effect.ERROR and error is not None:
                reply(error(fault.code))
            else:
                handle(reply)

        def break_connection() -> None:
            fail(KafkaConnectionError("the connection broke"))

        def fail(failure: Exception) -> None:
            if not answer.done() and not process.killed:
                answer.set_exception(failure)

        world.after(there_s, arrive)
        timeout_s = JOIN_TIMEOUT_S if kind in (Kind.JOIN, Kind.SYNC) else REQUEST_TIMEOUT_S
        timer = process.loop.call_later(timeout_s, fail, RequestTimedOutError("no answer"))
        try:
            return await answer
        finally:
            timer.cancel()

    async def _stop(self, fault: Fault) -> None:
        """Stop the process before a request is sent."""
        if fault.effect is Effect.FREEZE:
            self.process.freeze(fault.seconds)
        else:
            self.process.world.after(0, self.process.kill)
            self.process.freeze(1.0)
        await asyncio.sleep(0)  # the rest of this task is run after the thaw


class _Metadata:
    """The cluster as the client knows it. It does not change in the simulation."""

    def __init__(self, partitions: dict[str, int]) -> None:
        self._partitions = partitions

    def add_listener(self, listener: Callable[[Any], Any]) -> None:
        pass

    def brokers(self) -> list[Any]:
        return [SimpleNamespace(nodeId=0, host="simulated", port=9092)]

    def topics(self, exclude_internal_topics: bool = True) -> set[str]:
        return set(self._partitions)

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self._partitions[topic]))


class SimulatedClient:
    """Stands for `aiokafka.client.AIOKafkaClient`."""

    _client_id = "simulated"
    _md_update_fut = None

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.cluster = _Metadata(connection.cluster.partitions)
        self._closed = False

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        """Send one of the client's request objects. Raises KafkaError."""
        if self._closed:
            raise NodeNotReadyError("the client is closed")
        kind = KIND_BY_API_KEY[request.API_KEY]
        fields = request.build(type(request)._CLASSES[-1])
        handler = self.connection.cluster.handlers[kind]
        return await self.connection.call(
            kind,
            lambda reply: handler(fields, reply),
            lambda code: error_response(kind, fields, code),
        )

    async def coordinator_lookup(self, kind: object, key: str) -> int:
        await asyncio.sleep(0.001)
        if self.connection.cut or self.connection.process.killed:
            await asyncio.sleep(0.1)
            raise NodeNotReadyError("no connection")
        return 0

    async def ready(self, node_id: int, **options: Any) -> bool:
        return not self.connection.cut and not self.connection.process.killed

    async def force_metadata_update(self) -> bool:
        await asyncio.sleep(0.01)
        return True

    async def fetch_all_metadata(self) -> _Metadata:
        if self.connection.cut:
            raise KafkaConnectionError("no connection")
        return self.cluster

    def get_random_node(self) -> int:
        return 0

    def set_topics(self, topics: object) -> None:
        pass

    async def _maybe_wait_metadata(self) -> None:
        pass

    async def close(self) -> None:
        self._closed = True

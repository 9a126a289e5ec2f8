"""Networks and brokers that fail during a commit: the worker recovers by itself, and no event is lost or duplicated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from forebay.stream.telemetry.log_setup import CLIENT_LINES_EVERY_S
from tests.brokers.ports import free_ports
from tests.brokers.proxy import ApiKey, Proxy, proxied_listeners
from tests.brokers.resolve import RealKafka
from tests.conftest import Names
from tests.exactness.checker import until_stable
from tests.worker.harness import WorkerGroup, WorkerProcess, total
from tests.worker.structured_log import check_client_lines, repetitions

PATIENCE_S = 90.0
MINUTE_S = 60.0
MOST_OF_A_KIND = 8
"""The most log lines of one kind from a worker in that minute."""

QUICK: dict[str, dict[str, Any]] = {
    "kafka": {"request_timeout_ms": 3000},
    "delivery": {"commit_timeout_ms": 2000, "transaction_timeout_ms": 5000},
}
"""Settings of a worker with a short time-out for responses."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A broker, a proxy in front of its second listener, and topics. Tests read and write without the proxy."""

    server: RealKafka
    proxy: Proxy
    group: WorkerGroup

    def start(self, **sections: dict[str, Any]) -> WorkerProcess:
        """Start a worker that makes all connections through the proxy."""
        settings = {name: {**QUICK.get(name, {}), **sections.get(name, {})} for name in {*QUICK, *sections}}
        settings["kafka"]["bootstrap_servers"] = self.proxy.bootstrap
        return self.group.start(**settings)

    async def flowing(self, **sections: dict[str, Any]) -> WorkerProcess:
        """Start a worker and wait until it has committed 400 events."""
        worker = self.start(**sections)
        await worker.ready()
        await self.group.publish(400)
        await self.group.settled()
        return worker

    async def check(self, *workers: WorkerProcess) -> None:
        """Check that each input event has exactly one outcome, according to the predictions and to the sum of the deltas."""
        await self.group.settled(90)
        for worker in workers:
            assert await worker.stop() == 0, worker.log
            assert "Traceback" not in worker.log, worker.log
        await until_stable(self.group)
        self.group.check_predictions(await self.group.outputs("predictions"), exactly_once=True)
        count = sum(map(len, self.group.published))
        assert total(await self.group.outputs("outcome-deltas"), outcome="predicted") == count


class Line(NamedTuple):
    """A broker with a second listener at port `direct`, advertised as port `proxied`."""

    server: RealKafka
    direct: int
    proxied: int


@pytest.fixture(scope="module")
def line(module_kafka: Callable[[Mapping[str, str]], RealKafka]) -> Line:
    direct, proxied = free_ports(2)
    return Line(module_kafka(proxied_listeners(direct, proxied)), direct, proxied)


@pytest_asyncio.fixture
async def scene(line: Line, names: Names, tmp_path: Path) -> AsyncIterator[Scene]:
    with WorkerGroup(line.server.bootstrap, names.prefix, tmp_path) as group:
        await group.create()
        async with Proxy(line.proxied, line.direct).listening() as proxy:
            yield Scene(line.server, proxy, group)


async def within(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await event.wait()


@pytest.mark.parametrize(
    "closes",
    [pytest.param(True, id="with its connection", marks=pytest.mark.exactness), pytest.param(False, id="alone")],
)
async def test_the_answer_to_the_end_of_a_transaction_is_lost(scene: Scene, closes: bool) -> None:
    """The transaction was committed, but the worker cannot know: only the committed offsets show it."""
    worker = await scene.flowing()
    loss = scene.proxy.lose_response(ApiKey.END_TXN, closes=closes)
    await scene.group.publish(200)
    await within(loss.done)
    await scene.group.publish(200)
    await scene.check(worker)
    assert ("commit failed" in worker.log) is not closes, worker.log


@pytest.mark.exactness
async def test_the_answer_to_the_offsets_is_lost(scene: Scene) -> None:
    worker = await scene.flowing()
    loss = scene.proxy.lose_response(ApiKey.TXN_OFFSET_COMMIT, closes=False)
    await scene.group.publish(200)
    await within(loss.done)
    await scene.group.publish(200)
    await scene.check(worker)
    assert "commit failed" in worker.log


@pytest.mark.parametrize(
    "request_key", [pytest.param(ApiKey.END_TXN, marks=pytest.mark.exactness), ApiKey.TXN_OFFSET_COMMIT]
)
async def test_a_request_that_arrives_after_it_was_given_up(scene: Scene, request_key: ApiKey) -> None:
    """A delayed request must not commit records that have been read again in the meantime."""
    worker = await scene.flowing()
    hold = scene.proxy.hold_request(request_key)
    await scene.group.publish(200)
    await within(hold.reached)
    await worker.says("commit failed")
    await scene.group.publish(200)
    await scene.group.settled()
    hold.release()
    await scene.group.publish(200)
    await scene.check(worker)


@pytest.mark.exactness
async def test_connections_that_are_open_and_carry_nothing(scene: Scene) -> None:
    worker = await scene.flowing()
    assert scene.proxy.half_open() > 1
    await scene.group.publish(200)
    await scene.check(worker)


@pytest.mark.exactness
async def test_a_broker_that_is_unreachable_for_a_minute_during_a_commit(scene: Scene) -> None:
    worker = await scene.flowing(log={"format": "json"})
    hold = scene.proxy.hold_request(ApiKey.END_TXN)
    await scene.group.publish(200)
    await within(hold.reached)
    await asyncio.to_thread(scene.server.kill)
    hold.release()
    await asyncio.sleep(MINUTE_S)
    assert worker.process.poll() is None, worker.log
    await asyncio.to_thread(scene.server.restart)
    await scene.group.publish(200)
    await scene.check(worker)
    lines = worker.log_lines()
    check_client_lines(lines, every_s=CLIENT_LINES_EVERY_S)
    counts = repetitions(lines)
    assert max(counts.values()) <= MOST_OF_A_KIND, f"an unreachable broker fills the log: {counts}"

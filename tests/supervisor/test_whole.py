"""`forebay run` with several processes, as real ones with real brokers."""

from __future__ import annotations

import os
import signal
from typing import Any

import aiohttp
import pytest

from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.eventually import eventually
from tests.worker.harness import WorkerGroup, WorkerProcess

OTHER_ASSIGNED = "process=1: partitions assigned"


async def process_ids(worker: WorkerProcess) -> list[int | None]:
    return [process["pid"] for process in (await worker.status())["processes"]]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def text_of(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.text()


async def all_ready(worker: WorkerProcess, count: int) -> None:
    """Wait until each process has been ready."""
    for number in range(count):
        await worker.says(f"process {number} is ready")


@pytest.mark.slow
async def test_a_killed_process_continues_exactly_once_and_the_others_do_not_stop(
    kafka: Broker, names: Names, tmp_path: Any
) -> None:
    with WorkerGroup(kafka.bootstrap, names.prefix, tmp_path) as group:
        await group.create()
        await group.publish(2000)
        worker = group.start(worker={"processes": 2})
        await all_ready(worker, 2)
        first, second = await process_ids(worker)
        assert first is not None and second is not None
        await group.publish(2000)
        assigned = worker.log.count(OTHER_ASSIGNED)
        os.kill(first, signal.SIGKILL)
        await group.publish(2000)
        await worker.says("process 0 ended: killed by SIGKILL")
        await group.settled()
        group.check_predictions(await group.outputs("predictions"), exactly_once=True)

        after = await process_ids(worker)
        assert after[1] == second
        assert after[0] != first
        lines = (await text_of(f"{worker.url}/metrics")).splitlines()
        assert 'forebay_supervisor_restarts_total{process="0"} 1.0' in lines

        async def partitions() -> list[int]:
            return [partition["partition"] for partition in (await worker.status())["partitions"]]

        await eventually(partitions, "all partitions", until=lambda seen: seen == [0, 1, 2, 3])
        assert worker.log.count(OTHER_ASSIGNED) == assigned, "the other process was part of a rebalance"
        assert await worker.stop() == 0, worker.log
        assert "Traceback" not in worker.log


@pytest.mark.embedded
async def test_no_process_outlives_a_killed_supervisor(embedded_broker: Broker, names: Names, tmp_path: Any) -> None:
    with WorkerGroup(embedded_broker.bootstrap, names.prefix, tmp_path) as group:
        await group.create()
        worker = group.start(worker={"processes": 2})
        await all_ready(worker, 2)
        await group.publish(500)
        await group.settled()
        page = await text_of(f"{worker.url}/metrics")
        assert 'forebay_events_total{model="echo",outcome="predicted",version="1"} 500.0' in page.splitlines()
        pids = [pid for pid in await process_ids(worker) if pid is not None]
        assert len(pids) == 2
        worker.kill()
        await eventually(lambda: [pid for pid in pids if is_running(pid)], "no process", until=lambda left: not left)
        assert worker.log.count("stopping: draining") == 2

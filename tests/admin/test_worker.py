"""Two real workers on a real Kafka, asked over HTTP and by `forebay status`."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest_asyncio

from forebay.stream.config.names import environment_name
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.worker.echo import feature_hash
from tests.worker.harness import Stage, WorkerProcess, total

TOKEN = "of-the-tests"
PATIENCE_S = 30.0


@pytest_asyncio.fixture
async def stage(kafka: Broker, names: Names, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(kafka.bootstrap, names.prefix, tmp_path)
    try:
        yield stage
    finally:
        stage.kill_all()


class Http:
    """A worker's admin HTTP, with the token."""

    def __init__(self, worker: WorkerProcess, session: aiohttp.ClientSession) -> None:
        found = re.search(r"admin page at (\S+)", worker.log)
        assert found is not None, worker.log
        self.url, self._session = found[1], session

    async def get(self, path: str) -> tuple[int, Any]:
        async with self._session.get(self.url + path) as response:
            is_json = response.content_type == "application/json"
            return response.status, await response.json() if is_json else await response.text()

    async def post(self, path: str, document: object = None) -> tuple[int, Any]:
        async with self._session.post(self.url + path, json=document) as response:
            return response.status, await response.json()

    async def status(self) -> Any:
        status, document = await self.get("/status?history=0")
        assert status == 200
        return document


MALFORMED = (
    (b"Content-Type: \xff\xfe", b"{}"),
    (b"Content-Type: application/x-forebay-f32\r\nforebay-id: \xff", b"\0" * 4),
    (b"forebay-id: \xff", b"{}"),
    (b"Origin: \xff", b"{}"),
    (b"Origin: http://[", b"{}"),
    (b"Content-Encoding: gzip", b"no gzip"),
    (b"Content-Encoding: \xff", b"{}"),
    (b"X: y", b"[" * 3000),
    (b"Transfer-Encoding: nothing", b""),
)


async def raw_post(url: str, headers: bytes, body: bytes) -> bytes:
    """What `/predict` answers to these bytes."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n"
    writer.write(head.encode() + headers + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    return answer


async def group_status(stage: Stage) -> tuple[int, Any]:
    """What `forebay status --json` says, and its exit status."""
    environ = {
        environment_name("kafka.bootstrap_servers"): stage.bootstrap,
        environment_name("kafka.group_id"): stage.prefix,
        environment_name("topics.prefix"): f"{stage.prefix}-",
        environment_name("admin.token"): TOKEN,
    }
    command = [sys.executable, "-m", "forebay", "status", "--json"]
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, complaint = await process.communicate()
    assert not complaint, complaint.decode()
    assert process.returncode is not None
    return process.returncode, json.loads(said)


async def until(http: Http, what: Callable[[Any], object], wanted: object) -> None:
    """Until the worker's status says so."""
    deadline = time.monotonic() + PATIENCE_S
    while (seen := what(await http.status())) != wanted:
        assert time.monotonic() < deadline, seen
        await asyncio.sleep(0.1)


async def test_a_group_of_two_is_seen_paused_asked_and_missed(stage: Stage) -> None:
    await stage.create()
    # A session that outlasts the time in which they are frozen below.
    settings = {"admin": {"port": 0, "token": TOKEN}, "kafka": {"session_timeout_ms": 45_000}}
    first, second = stage.start(**settings), stage.start(**settings)
    await asyncio.gather(first.ready(), second.ready())
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        https = [Http(first, session), Http(second, session)]
        one = https[0]

        # The group is settled, and both are well.
        deadline = time.monotonic() + PATIENCE_S
        while True:
            status, group = await group_status(stage)
            if [len(worker["partitions"]) for worker in group["workers"]] == [2, 2]:
                break
            assert time.monotonic() < deadline, group
        assert status == 0
        assert (group["state"], group["healthy"]) == ("Stable", True)
        assert {worker["health"] for worker in group["workers"]} == {"ready"}, group
        assert {worker["url"] for worker in group["workers"]} == {http.url for http in https}
        assert len(group["partitions"]) == 4 and all(partition["worker"] for partition in group["partitions"])
        for path in ("/healthz", "/readyz", "/startupz"):
            assert (await one.get(path))[0] == 200
        assert "forebay_events_total" in (await one.get("/metrics"))[1]
        (served,) = (await one.get("/models"))[1]["models"]
        assert (served["name"], served["version"]) == ("echo", 1)

        # Events flow; a prediction on request is the same, and none of them.
        await stage.publish(2000)
        await stage.send([[b"no event"]])
        stage.published[0].append(("", "", ()))  # its place
        await stage.settled()
        features = stage.published[1][0][2]
        asked = await one.post("/predict", {"features": list(features)})
        assert asked[0] == 200 and asked[1]["prediction"] == [feature_hash(np.array(features, dtype=np.float32))]
        assert (await one.post("/predict", {"features": [1.0]}))[1]["error"]["kind"] == "wrong_length"
        for headers, body in MALFORMED:
            answer = await raw_post(one.url, headers, body)
            assert answer.split()[1].startswith(b"4") and b"Content-Security-Policy" in answer, (headers, answer)
        assert "Traceback" not in first.log
        known = [await http.status() for http in https]
        assert sum(one["totals"]["outcomes"].get("predicted", 0) for one in known) == 2000
        assert sum(one["totals"]["outcomes"].get("rejected", 0) for one in known) == 1
        assert sum(sum(one["history"]["predicted"]) for one in known) <= 2000  # the running second is left out
        (error,) = [error for one in known for error in one["errors"]]
        assert (error["kind"], error["count"]) == ("not_json", 1)
        assert error["samples"] == [f"{stage.topic('features')}-0@500"]

        # Paused by hand: the partitions are kept, nothing is read.
        for http in https:
            assert await http.post("/pause") == (200, {"paused": True, "worker": (await http.status())["worker"]})
            assert (await http.get("/readyz"))[1]["conditions"]["paused"] is True
        for http in https:
            await until(http, lambda status: status["in_flight"]["reading"], "paused")
        await stage.publish(80)
        for http in https:
            await until(http, lambda status: status["lag"], 40)
        status, group = await group_status(stage)
        assert (status, group["lag"], {worker["health"] for worker in group["workers"]}) == (0, 80, {"paused"})
        for http in https:
            assert (await http.post("/resume"))[0] == 200
        await stage.settled()

    # One that hangs is missed, with what it owns; none that answers is exit status 1.
    second.process.send_signal(signal.SIGSTOP)
    status, group = await group_status(stage)
    assert status == 0
    assert sorted(worker["health"] for worker in group["workers"]) == ["ready", "unreachable"]
    first.process.send_signal(signal.SIGSTOP)
    status, group = await group_status(stage)
    assert (status, group["healthy"], len(group["workers"])) == (1, False, 2)
    for worker in (first, second):
        worker.resume()
    for worker in (first, second):
        assert await worker.stop() == 0, worker.log
    assert (await group_status(stage))[1]["workers"] == []

    predictions = await stage.outputs("predictions")
    assert len(predictions) == 2080
    assert total(await stage.outputs("outcome-deltas")) == 2081

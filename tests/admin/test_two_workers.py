"""Two real workers on a real Kafka, queried over HTTP and by `forebay status`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from typing import Any

import aiohttp
import numpy as np

from forebay.stream.config.names import environment_name
from tests.eventually import eventually
from tests.worker.echo import feature_hash
from tests.worker.harness import WorkerGroup, WorkerProcess, total

TOKEN = "of-the-tests"


class Http:
    """A client of a worker's admin API, with the token."""

    def __init__(self, worker: WorkerProcess, session: aiohttp.ClientSession) -> None:
        self.url, self._session = worker.url, session

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
    """Return the response of `/predict` to these bytes."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n"
    writer.write(head.encode() + headers + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer


async def group_status(worker_group: WorkerGroup) -> tuple[int, Any]:
    """Return the exit status and the output of `forebay status --json`."""
    environ = {
        environment_name("kafka.bootstrap_servers"): worker_group.bootstrap,
        environment_name("kafka.group_id"): worker_group.prefix,
        environment_name("topics.prefix"): f"{worker_group.prefix}-",
        environment_name("admin.token"): TOKEN,
    }
    command = [sys.executable, "-m", "forebay", "status", "--json"]
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert not errors, errors.decode()
    assert process.returncode is not None
    return process.returncode, json.loads(output)


async def status_is(http: Http, field: Callable[[Any], object], expected: object) -> None:
    """Wait until `field` of the worker's status is `expected`."""

    async def current() -> object:
        return field(await http.status())

    await eventually(current, f"{expected!r} in the status of {http.url}", until=lambda value: value == expected)


async def check_that_both_are_healthy(worker_group: WorkerGroup, https: list[Http]) -> None:
    http = https[0]
    status, group = await eventually(
        lambda: group_status(worker_group),
        "two workers with two partitions each",
        until=lambda seen: [len(worker["partitions"]) for worker in seen[1]["workers"]] == [2, 2],
    )
    assert status == 0
    assert (group["state"], group["healthy"]) == ("Stable", True)
    assert {worker["health"] for worker in group["workers"]} == {"ready"}, group
    assert {worker["url"] for worker in group["workers"]} == {http.url for http in https}
    assert len(group["partitions"]) == 4 and all(partition["worker"] for partition in group["partitions"])
    for path in ("/healthz", "/readyz", "/startupz"):
        assert (await http.get(path))[0] == 200
    assert "forebay_events_total" in (await http.get("/metrics"))[1]
    (served,) = (await http.get("/models"))[1]["models"]
    assert (served["name"], served["version"]) == ("echo", 1)


async def check_events_and_predictions_on_request(worker_group: WorkerGroup, https: list[Http]) -> None:
    """Events are predicted; a prediction on request is the same, and is not counted as one of the stream's."""
    http = https[0]
    await worker_group.publish(2000)
    await worker_group.send([[b"no event"]])
    worker_group.published[0].append(("", "", ()))  # its place
    await worker_group.settled()
    features = worker_group.published[1][0][2]
    response = await http.post("/predict", {"features": list(features)})
    assert response[0] == 200 and response[1]["prediction"] == [feature_hash(np.array(features, dtype=np.float32))]
    assert (await http.post("/predict", {"features": [1.0]}))[1]["error"]["kind"] == "wrong_length"
    for headers, body in MALFORMED:
        answer = await raw_post(http.url, headers, body)
        assert answer.split()[1].startswith(b"4") and b"Content-Security-Policy" in answer, (headers, answer)
    statuses = [await http.status() for http in https]
    assert sum(status["totals"]["outcomes"].get("predicted", 0) for status in statuses) == 2000
    assert sum(status["totals"]["outcomes"].get("rejected", 0) for status in statuses) == 1
    assert sum(sum(status["history"]["predicted"]) for status in statuses) <= 2000  # the current second is left out
    (error,) = [error for status in statuses for error in status["errors"]]
    assert (error["kind"], error["count"]) == ("not_json", 1)
    assert error["samples"] == [f"{worker_group.topic('features')}-0@500"]


async def check_that_a_paused_group_keeps_its_partitions_and_reads_nothing(
    worker_group: WorkerGroup, https: list[Http]
) -> None:
    for http in https:
        assert await http.post("/pause") == (200, {"paused": True, "worker": (await http.status())["worker"]})
        assert (await http.get("/readyz"))[1]["conditions"]["paused"] is True
    for http in https:
        await status_is(http, lambda status: status["in_flight"]["reading"], "paused")
    await worker_group.publish(80)
    for http in https:
        await status_is(http, lambda status: status["lag"], 40)
    status, group = await group_status(worker_group)
    assert (status, group["lag"], {worker["health"] for worker in group["workers"]}) == (0, 80, {"paused"})
    for http in https:
        assert (await http.post("/resume"))[0] == 200
    await worker_group.settled()


async def check_that_hanging_workers_are_unreachable(
    worker_group: WorkerGroup, first: WorkerProcess, second: WorkerProcess
) -> None:
    """A worker that hangs is unreachable, with what it owns; if none answers, the exit status is 1."""
    second.process.send_signal(signal.SIGSTOP)
    status, group = await group_status(worker_group)
    assert status == 0
    assert sorted(worker["health"] for worker in group["workers"]) == ["ready", "unreachable"]
    first.process.send_signal(signal.SIGSTOP)
    status, group = await group_status(worker_group)
    assert (status, group["healthy"], len(group["workers"])) == (1, False, 2)
    for worker in (first, second):
        worker.resume()


async def test_the_status_of_a_group_of_two_workers(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    # A session that is longer than the time for which they are frozen below.
    settings = {"admin": {"port": 0, "token": TOKEN}, "kafka": {"session_timeout_ms": 45_000}}
    first, second = worker_group.start(**settings), worker_group.start(**settings)
    await asyncio.gather(first.ready(), second.ready())
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        https = [Http(first, session), Http(second, session)]
        await check_that_both_are_healthy(worker_group, https)
        await check_events_and_predictions_on_request(worker_group, https)
        assert "Traceback" not in first.log
        await check_that_a_paused_group_keeps_its_partitions_and_reads_nothing(worker_group, https)
    await check_that_hanging_workers_are_unreachable(worker_group, first, second)
    for worker in (first, second):
        assert await worker.stop() == 0, worker.log
    assert (await group_status(worker_group))[1]["workers"] == []

    predictions = await worker_group.outputs("predictions")
    assert len(predictions) == 2080
    assert total(await worker_group.outputs("outcome-deltas")) == 2081

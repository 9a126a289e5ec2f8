"""Delivery of alerts to a webhook: retries, limits, order, and no blocking."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from forebay.schemas.aggregates import AlertStatus
from forebay.stream.aggregate.aggregate_reader import Measurement
from forebay.stream.aggregate.alerts import Alert
from forebay.stream.aggregate.webhook import FIRST_WAIT_S, MAX_WAIT_S, Webhook, webhook_post
from forebay.stream.core.backoff import Backoff
from tests.aggregate.build import at
from tests.aggregate.test_alerts import COUNT


def alert(alert_id: str) -> Alert:
    return Alert(
        alert_id=alert_id,
        status=AlertStatus.FIRING,
        rule=COUNT,
        measurement=Measurement(20, 100),
        value=20,
        since=at(0),
        at=at(1),
    )


class Receiver:
    """Returns the given responses in turn, and the last one from then on."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.got: list[str] = []
        self.waits: list[float] = []

    async def post(self, document: dict[str, Any]) -> int:
        self.got.append(document["alert_id"])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def send(self, *ids: str, attempts: int = 5) -> None:
        backoff = Backoff(FIRST_WAIT_S, MAX_WAIT_S, random.Random(1).random)
        webhook = Webhook(self.post, attempts=attempts, sleep=self.sleep, backoff=backoff)
        webhook.start()
        for one in ids:
            webhook.notify(alert(one))
        await webhook.stop(timeout_s=10)


async def test_alerts_are_delivered_once_and_in_order() -> None:
    receiver = Receiver(204)
    await receiver.send("a", "b", "c")
    assert receiver.got == ["a", "b", "c"] and receiver.waits == []


@pytest.mark.parametrize("problem", [500, 429, TimeoutError(), OSError("away"), aiohttp.ServerDisconnectedError()])
async def test_a_temporary_failure_is_retried_after_a_wait(problem: int | Exception) -> None:
    receiver = Receiver(problem, problem, 200)
    await receiver.send("a", "b")
    assert receiver.got == ["a", "a", "a", "b"]
    assert len(receiver.waits) == 2 and receiver.waits[0] < receiver.waits[1]


async def test_a_refused_alert_is_not_retried(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(404)
    await receiver.send("a")
    assert receiver.got == ["a"] and "not delivered (status 404)" in caplog.text


async def test_an_alert_is_dropped_with_a_log_line_after_the_last_attempt(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(503)
    await receiver.send("a", attempts=3)
    assert receiver.got == ["a"] * 3 and "not delivered (status 503): many: count 20" in caplog.text


async def test_stopping_waits_at_most_for_its_timeout(caplog: pytest.LogCaptureFixture) -> None:
    async def hang(document: dict[str, Any]) -> int:
        await asyncio.Event().wait()
        return 200

    webhook = Webhook(hang, attempts=1)
    webhook.start()
    webhook.notify(alert("a"))
    await webhook.stop(timeout_s=0.01)
    assert "1 alerts were not delivered before the shutdown" in caplog.text


async def test_waits_grow_up_to_a_limit_and_are_randomised() -> None:
    receiver = Receiver(503)
    await receiver.send("a", attempts=12)
    longest = [min(MAX_WAIT_S, FIRST_WAIT_S * 2**failures) for failures in range(11)]
    assert longest[-1] == MAX_WAIT_S
    assert all(most / 2 <= wait <= most for wait, most in zip(receiver.waits, longest, strict=True)), receiver.waits


async def test_an_alert_is_posted_as_json(unused_tcp_port_factory: Callable[[], int]) -> None:
    got: list[Any] = []

    async def receive(request: web.Request) -> web.Response:
        got.append(await request.json())
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/alerts", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    port = unused_tcp_port_factory()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with aiohttp.ClientSession() as session:
            post = webhook_post(session, f"http://127.0.0.1:{port}/alerts", timeout_s=5)
            assert await post(alert("a").to_dict()) == 202
    finally:
        await runner.cleanup()
    assert got == [alert("a").to_dict()]

"""Alerts to a webhook: JSON by POST, tried again with longer and longer waits. Never holds up the aggregator."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiohttp

from forebay.stream.aggregate.alerts import Alert
from forebay.stream.cancellation import cancel_until_done

log = logging.getLogger("forebay.aggregate.alerts")

FIRST_WAIT_S: Final = 0.5
MAX_WAIT_S: Final = 30.0
MAX_WAITING: Final = 1000

Post = Callable[[dict[str, Any]], Awaitable[int]]
"""Sends one document and gives the HTTP status. Raises OSError, TimeoutError or aiohttp.ClientError where there is none."""


def wait_s(attempt: int, draw: float) -> float:
    """Before the attempt after this one (from 1): doubled each time, and between half of that and all (draw: 0 to 1)."""
    longest = min(MAX_WAIT_S, FIRST_WAIT_S * 2.0 ** (attempt - 1))
    return longest * (0.5 + draw / 2)


class Webhook:
    """One alert after the other, in their order. What cannot be delivered is given up after `attempts`, with a log line."""

    def __init__(
        self,
        post: Post,
        *,
        attempts: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._post = post
        self._attempts = attempts
        self._sleep = sleep
        self._random = rng or random.Random()
        self._waiting: asyncio.Queue[Alert] = asyncio.Queue(MAX_WAITING)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="webhook")

    def notify(self, alert: Alert) -> None:
        """Send it when its turn comes."""
        try:
            self._waiting.put_nowait(alert)
        except asyncio.QueueFull:
            log.error("webhook: %d alerts wait already; not sent: %s", MAX_WAITING, alert.to_dict()["message"])

    async def stop(self, *, timeout_s: float) -> None:
        """Send what waits, for so long."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._waiting.join()
        except TimeoutError:
            log.error("webhook: %d alerts were not sent", self._waiting.qsize() + 1)
        await cancel_until_done(self._task)

    async def _run(self) -> None:
        while True:
            alert = await self._waiting.get()
            try:
                await self._deliver(alert)
            finally:
                self._waiting.task_done()

    async def _deliver(self, alert: Alert) -> None:
        document = alert.to_dict()
        for attempt in range(1, self._attempts + 1):
            try:
                status = await self._post(document)
                if status < 300:
                    return
                problem = f"status {status}"
                # It was understood and refused; the same again would be, too.
                if 400 <= status < 500 and status not in (408, 425, 429):
                    break
            except (OSError, TimeoutError, aiohttp.ClientError) as error:
                # These tell the URL, whose path is a password.
                told = "" if isinstance(error, aiohttp.InvalidURL) else str(error)
                problem = told or type(error).__name__
            if attempt < self._attempts:
                await self._sleep(wait_s(attempt, self._random.random()))
        log.error("webhook: not delivered (%s): %s", problem, document["message"])


def poster(session: aiohttp.ClientSession, url: str, *, timeout_s: float) -> Post:
    """Posts to `url`."""
    timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def post(document: dict[str, Any]) -> int:
        async with session.post(url, json=document, timeout=timeout, allow_redirects=False) as answer:
            return answer.status

    return post

"""Delivery of alerts to a webhook: JSON by POST, retried with growing waits. It never blocks the aggregator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import aiohttp

from forebay.stream.core.backoff import Backoff
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.retry import Sleep, retry

log = logging.getLogger("forebay.aggregate.alerts")

FIRST_WAIT_S: Final = 0.5
MAX_WAIT_S: Final = 30.0
MAX_WAITING: Final = 1000

Post = Callable[[dict[str, Any]], Awaitable[int]]
"""Posts a document and returns the HTTP status. Raises OSError, TimeoutError or aiohttp.ClientError without a response."""


class Notification(Protocol):
    """An alert, whether from a rule or about a rollout."""

    def to_dict(self) -> dict[str, Any]: ...


class _Undelivered(Exception):
    """The failure of an attempt. is_final: the receiver refused the alert and would refuse it again."""

    def __init__(self, problem: str, *, is_final: bool) -> None:
        super().__init__(problem)
        self.is_final = is_final


class Webhook:
    """Delivers alerts one at a time, in order. After `attempts` failures it drops an alert and logs an error."""

    def __init__(
        self,
        post: Post,
        *,
        attempts: int,
        sleep: Sleep = asyncio.sleep,
        backoff: Backoff = Backoff(FIRST_WAIT_S, MAX_WAIT_S),  # noqa: B008  # immutable
    ) -> None:
        self._post = post
        self._attempts = attempts
        self._sleep = sleep
        self._backoff = backoff
        self._waiting: asyncio.Queue[Notification] = asyncio.Queue(MAX_WAITING)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start delivering in the background."""
        self._task = asyncio.create_task(self._run(), name="webhook")

    def notify(self, alert: Notification) -> None:
        """Queue an alert. If the queue is full, the alert is dropped and logged."""
        try:
            self._waiting.put_nowait(alert)
        except asyncio.QueueFull:
            log.error(
                "webhook: %d alerts are waiting already; not delivered: %s", MAX_WAITING, alert.to_dict()["message"]
            )

    async def stop(self, *, timeout_s: float) -> None:
        """Deliver the waiting alerts for at most `timeout_s` seconds, then stop."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._waiting.join()
        except TimeoutError:
            log.error("webhook: %d alerts were not delivered before the shutdown", self._waiting.qsize() + 1)
        await cancel_until_done(self._task)

    async def _run(self) -> None:
        while True:
            alert = await self._waiting.get()
            try:
                await self._deliver(alert)
            finally:
                self._waiting.task_done()

    async def _deliver(self, alert: Notification) -> None:
        document = alert.to_dict()

        def should_retry(error: Exception, failures: int) -> bool:
            return isinstance(error, _Undelivered) and not error.is_final and failures < self._attempts

        try:
            await retry(
                lambda: self._attempt(document),
                should_retry=should_retry,
                wait_s=self._backoff.wait_s,
                sleep=self._sleep,
            )
        except _Undelivered as error:
            log.error("webhook: not delivered (%s): %s", error, document["message"])

    async def _attempt(self, document: dict[str, Any]) -> None:
        """Post once. Raises _Undelivered."""
        try:
            status = await self._post(document)
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            # The message of an InvalidURL contains the URL, whose path can be a secret.
            message = "" if isinstance(error, aiohttp.InvalidURL) else str(error)
            raise _Undelivered(message or type(error).__name__, is_final=False) from error
        if status >= 300:
            final = 400 <= status < 500 and status not in (408, 425, 429)
            raise _Undelivered(f"status {status}", is_final=final)


def webhook_post(session: aiohttp.ClientSession, url: str, *, timeout_s: float) -> Post:
    """Return a function that posts to `url`."""
    timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def post(document: dict[str, Any]) -> int:
        async with session.post(url, json=document, timeout=timeout, allow_redirects=False) as response:
            return response.status

    return post

"""Fetch pacing: for brokers that answer a fetch at once even if they have no records, and while a commit is in progress."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

IDLE_WAIT_S = 0.005
# After this many empty responses in a row, a quarter of a second, the topic is idle and the wait may be longer: fetches every
# 5 ms cost a tenth of a core.
_LONG_IDLE_AFTER = 50
_LONG_IDLE_FACTOR = 6


MAX_HOLD_S: Final = 0.01
MAX_HELD_BYTES: Final = 256 << 10
"""A fetch that returned more is followed by the next one at once: there is a backlog."""


class FetchHold:
    """Holds the next fetch after one that returned few records, until `release` is called, at most for `max_hold_s`.

    Records that arrive during a commit wait for the next one. To fetch them a few at a time meanwhile only delays the commit,
    whose responses wait for the event loop. `release` is called shortly before the commit ends, so that all of them arrive for
    the next one.
    """

    def __init__(self, max_hold_s: float = MAX_HOLD_S) -> None:
        self._max_hold_s = max_hold_s
        self._released: dict[int, asyncio.Event] = {}
        self._until_s: dict[int, float] = {}

    def begin(self, node_id: int, now_s: float) -> None:
        """Hold the next fetch from a broker. now_s: monotonic seconds."""
        self._released.setdefault(node_id, asyncio.Event()).clear()
        self._until_s[node_id] = now_s + self._max_hold_s

    def release(self) -> None:
        """Let all fetches go."""
        for released in self._released.values():
            released.set()

    async def wait(self, node_id: int, now_s: float) -> None:
        """Wait until a fetch from a broker may be sent."""
        released, wait_s = self._released.get(node_id), self._until_s.get(node_id, 0.0) - now_s
        if released is not None and wait_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await released.wait()


def pace_fetches(
    consumer: AIOKafkaConsumer,
    idle_wait_s: float = IDLE_WAIT_S,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    hold: FetchHold | None = None,
    sizes: Mapping[int, int] = MappingProxyType({}),
) -> None:
    """Make a started consumer wait after each fetch that returned empty too early.

    Kafka holds a fetch until it has records or `fetch_max_wait_ms` has passed. A broker without long polling answers at once,
    and an idle aiokafka consumer then sends fetches without a pause and uses a full core. The wait is `idle_wait_s`, and six
    times that after fifty empty responses in a row; the first record resets it.

    It can be applied on every broker: a fetch that returned records is never delayed by this wait, nor is one that the broker
    held for at least half of `fetch_max_wait_ms`, as Kafka does.

    hold: delays a fetch after one that returned few records; None to delay none.
    sizes: size of the last response of each broker, by node id (see `raw_records.PollBudget`).

    Patches this consumer only, not the class. Apply it once per consumer.
    """
    fetcher: Any = consumer._fetcher
    if fetcher is None:
        raise RuntimeError("pace_fetches needs a started consumer")
    proc_fetch_request = fetcher._proc_fetch_request
    long_poll_s = fetcher._fetch_max_wait_ms / 2000
    empty_in_a_row = 0

    async def fetch(assignment: Any, node_id: int, request: Any) -> bool:
        nonlocal empty_in_a_row
        if hold is not None:
            try:
                await hold.wait(node_id, monotonic())
            except asyncio.CancelledError:
                return False  # as below
        sent_s = monotonic()
        brought_data: bool = await proc_fetch_request(assignment, node_id, request)
        if brought_data and hold is not None and sizes.get(node_id, 0) <= MAX_HELD_BYTES:
            hold.begin(node_id, monotonic())
        if brought_data or monotonic() - sent_s >= long_poll_s:
            empty_in_a_row = 0
        elif assignment.active:
            empty_in_a_row += 1
            try:
                await asyncio.sleep(idle_wait_s * (_LONG_IDLE_FACTOR if empty_in_a_row > _LONG_IDLE_AFTER else 1))
            except asyncio.CancelledError:
                # The fetcher cancels this when partitions are revoked or it closes, and does not catch the error.
                return False
        return brought_data

    fetcher._proc_fetch_request = fetch

"""Fetch pacing for consumers of brokers that answer a fetch at once even if they have no records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer

IDLE_WAIT_S = 0.005
# After this many empty responses in a row, a quarter of a second, the topic is idle and the wait may be longer: fetches every
# 5 ms cost a tenth of a core.
_LONG_IDLE_AFTER = 50
_LONG_IDLE_FACTOR = 6


def pace_fetches(
    consumer: AIOKafkaConsumer,
    idle_wait_s: float = IDLE_WAIT_S,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Make a started consumer wait after each fetch that returned empty too early.

    Kafka holds a fetch until it has records or `fetch_max_wait_ms` has passed. A broker without long polling answers at once,
    and an idle aiokafka consumer then sends fetches without a pause and uses a full core. The wait is `idle_wait_s`, and six
    times that after fifty empty responses in a row; the first record resets it.

    It can be applied on every broker: a fetch that returned records is never delayed, nor is one that the broker held for at
    least half of `fetch_max_wait_ms`, as Kafka does.

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
        sent_s = monotonic()
        brought_data: bool = await proc_fetch_request(assignment, node_id, request)
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

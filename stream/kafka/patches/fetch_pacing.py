"""A pace for consumers on brokers that answer a fetch at once although there is nothing to give."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer

IDLE_WAIT_S = 0.005
# After this many empty answers in a row, a quarter of a second, nobody is publishing and the wait may be
# longer: 5 ms for ever would cost a tenth of a core.
_PATIENCE = 50
_LONG_IDLE_FACTOR = 6


def pace_fetches(
    consumer: AIOKafkaConsumer,
    idle_wait_s: float = IDLE_WAIT_S,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Makes `consumer`, already started, wait after each fetch that came back empty too early.

    Kafka holds a fetch until there is data or `fetch_max_wait_ms` has passed. A broker without that long poll
    answers at once, and an idle aiokafka consumer then asks without pause and burns a core. The wait is
    `idle_wait_s` seconds, six times that after fifty empty answers in a row, and the first record ends it.

    Told by behaviour, so it may be applied on every broker: a fetch that brought records is never delayed,
    and neither is one that the broker held for half of `fetch_max_wait_ms` or longer, as Kafka does.

    Patches this consumer alone, not the class. Apply it once per consumer.
    """
    fetcher: Any = consumer._fetcher
    if fetcher is None:
        raise RuntimeError("pace_fetches needs a started consumer")
    proc_fetch_request = fetcher._proc_fetch_request
    held_s = fetcher._fetch_max_wait_ms / 2000
    empty_in_a_row = 0

    async def paced(assignment: Any, node_id: int, request: Any) -> bool:
        nonlocal empty_in_a_row
        sent_s = monotonic()
        brought_data: bool = await proc_fetch_request(assignment, node_id, request)
        if brought_data or monotonic() - sent_s >= held_s:
            empty_in_a_row = 0
        elif assignment.active:
            empty_in_a_row += 1
            try:
                await asyncio.sleep(idle_wait_s * (_LONG_IDLE_FACTOR if empty_in_a_row > _PATIENCE else 1))
            except asyncio.CancelledError:
                # The fetcher cancels this when partitions go or it closes, and awaits it without a guard.
                return False
        return brought_data

    fetcher._proc_fetch_request = paced

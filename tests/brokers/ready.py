"""Waiting for a broker from code that is not asynchronous."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from forebay.stream.embedded.probe import answers_kafka


def answers(host: str, port: int) -> bool:
    """Whether a Kafka broker answers there within a second."""
    return asyncio.run(answers_kafka(host, port, timeout_s=1.0))


def wait_until(condition: Callable[[], bool], *, timeout_s: float, every_s: float = 0.05) -> bool:
    """Whether `condition` came true within `timeout_s` seconds, looked at every `every_s` seconds."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(every_s)
    return True

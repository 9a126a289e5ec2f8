"""Failpoints: places in a worker where a test can kill, stop or delay it. They run in the worker process, for tests only.

    {"after_deliveries": {"do": "stop", "at": 3}, "in_revoke": {"do": "delay", "seconds": 2, "chance": 0.1, "seed": 7}}

do: kill (SIGKILL), stop (SIGSTOP: the process and its heartbeats stop until SIGCONT) or delay (heartbeats continue).
at: number of the pass that triggers it, by default the first. chance: probability that a pass triggers it, instead of `at`.
Each trigger is reported on standard error.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.protocol.transaction import EndTxnRequest

from forebay.stream.kafka.consumer import restoration
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.kafka.producer.producer import OutputProducer
from forebay.stream.kafka.producer.transaction import Transaction

NAMES = (
    "before_begin",
    "after_deliveries",
    "after_txn_offset_commit",
    "after_end_txn_sent",
    "in_revoke",
    "in_assign",
    "before_seek",
)


class Failpoint:
    """One failpoint and its action."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._name = name
        self._do = options["do"]
        self._at = options.get("at", 1)
        self._chance = options.get("chance")
        self._random = random.Random(options.get("seed", 0))
        self._seconds = options.get("seconds", 1.0)
        self._passes = 0

    async def passed(self) -> None:
        self._passes += 1
        if self._passes == self._at if self._chance is None else self._random.random() < self._chance:
            print(f"failpoint {self._name}: {self._do}", file=sys.stderr, flush=True)
            if self._do == "delay":
                await asyncio.sleep(self._seconds)
            else:
                os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[self._do])


def install(failpoints: Mapping[str, Mapping[str, Any]]) -> None:
    """Install the failpoints in this process."""
    unknown = failpoints.keys() - set(NAMES)
    assert not unknown, f"no such failpoint: {unknown}"
    points = {name: Failpoint(name, options) for name, options in failpoints.items()}
    for name, owner, method, first in (
        ("before_begin", Transaction, "begin", True),
        ("after_deliveries", OutputProducer, "send", False),
        ("after_txn_offset_commit", Transaction, "commit_positions", False),
        ("in_revoke", Source, "on_partitions_revoked", True),
        ("in_assign", Source, "on_partitions_assigned", False),
        ("before_seek", restoration, "start_positions", False),
    ):
        if name in points:
            setattr(owner, method, _around(getattr(owner, method), points[name], first=first))
    if "after_end_txn_sent" in points:
        setattr(AIOKafkaClient, "send", _after_end_txn(AIOKafkaClient.send, points["after_end_txn_sent"]))  # noqa: B010


def _around(original: Callable[..., Any], point: Failpoint, *, first: bool) -> Callable[..., Any]:
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        if first:
            await point.passed()
        result = await original(*args, **kwargs)
        if not first:
            await point.passed()
        return result

    return wrapped


def _after_end_txn(original: Callable[..., Any], point: Failpoint) -> Callable[..., Any]:
    async def send(client: Any, node_id: int, request: Any, *, group: Any = ConnectionGroup.DEFAULT) -> Any:
        if not isinstance(request, EndTxnRequest):
            return await original(client, node_id, request, group=group)
        answering = asyncio.ensure_future(original(client, node_id, request, group=group))
        for _ in range(10):  # until it is on its way, and not until it is answered
            await asyncio.sleep(0)
        await point.passed()
        return await answering

    return send

"""A fault while workers process a feed, and then the count: no event is lost or duplicated, and the order is kept."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

from tests.brokers.clients import create_topic
from tests.exactness.checker import check, topics_of, until_stable
from tests.exactness.feed import Feed
from tests.exactness.proof import tell
from tests.exactness.watcher import watched_offsets
from tests.worker.harness import WorkerGroup, WorkerProcess
from tests.worker.structured_log import repetitions

RATE: Final = 1000
LEAD_S: Final = 3.0
TAIL_S: Final = 5.0
SETTLE_TIMEOUT_S: Final = 120.0
MAX_GROWTH_MIB: Final = 64.0
MAX_LOG_LINES: Final = 40
"""The limit for log lines of one kind in one worker. One more is allowed per worker that joins or leaves, for the rebalance."""
_MIB: Final = 1 << 20


@dataclass(slots=True)
class FaultScene:
    """The workers and topics of a fault test.

    replication: the replication factor of the topics.
    settings: settings of every worker, which override the defaults for tests.
    membership_changes: how often a worker has joined or left.
    """

    group: WorkerGroup
    replication: int = 1
    settings: dict[str, Any] = field(default_factory=dict)
    workers: list[WorkerProcess] = field(default_factory=list)
    membership_changes: int = 0

    def hire(self) -> WorkerProcess:
        """Start another worker."""
        worker = self.group.start(**{"log": {"format": "json"}, **self.settings})
        self.workers.append(worker)
        self.membership_changes += 1
        return worker

    async def dismiss(self, worker: WorkerProcess) -> None:
        """Stop a worker, which drains first."""
        self.workers.remove(worker)
        self.membership_changes += 1
        assert await worker.stop() == 0, worker.log

    async def survives(self, name: str, fault: Callable[[], Awaitable[None]], *, size: int = 2) -> None:
        """Check that workers survive `fault` while events flow in before, during and after it.

        The report contains the longest time without a commit, including the duration of the fault itself.
        """
        worker_group = self.group
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs pages about unreachable brokers
        for topic in topics_of(worker_group):
            await create_topic(
                worker_group.bootstrap, worker_group.topic(topic), worker_group.partitions, replication=self.replication
            )
        for _ in range(size):
            self.hire()
        for worker in self.workers:
            await worker.ready()
        feed = Feed(worker_group, random.Random(name), rate=RATE, seconds=600)
        try:
            async with watched_offsets(worker_group) as watcher:
                feeding = asyncio.create_task(feed.run())
                await asyncio.sleep(LEAD_S)
                before = {worker: _own_mib(worker) for worker in self.workers}
                started_s = time.monotonic()
                await fault()
                fault_s = time.monotonic() - started_s
                await asyncio.sleep(TAIL_S)
                feed.stop()
                await feeding
                await until_stable(worker_group)
                await worker_group.settled(SETTLE_TIMEOUT_S)
                await until_stable(worker_group)
            growth_mib = max((_own_mib(one) - mib for one, mib in before.items() if one in self.workers), default=0.0)
            lines = max(max(repetitions(worker.log_lines()).values()) for worker in worker_group.workers)
            max_lines = MAX_LOG_LINES + self.membership_changes
            for worker in list(self.workers):
                await self.dismiss(worker)
            counts = await check(worker_group, feed)
        finally:
            worker_group.kill_all()
            gc.collect()  # else the client's leftover connections to killed brokers would warn in another test
        tell(
            {
                "fault": name,
                "fault_s": round(fault_s, 1),
                "still_s": round(watcher.longest_still_s, 1),
                "events": counts.events,
                "lost": 0,
                "doubled": 0,
                "aborted_output": counts.aborted_output,
                "growth_mib": round(growth_mib, 1),
                "log_lines_of_a_kind": lines,
            }
        )
        watcher.check()
        for worker in worker_group.workers:
            assert "Traceback" not in worker.log and "stopped:" not in worker.log, worker.log
        assert growth_mib < MAX_GROWTH_MIB, f"a worker's memory grew by {growth_mib:.0f} MiB"
        assert lines < max_lines, f"a worker logged {lines} lines of one kind"


def _own_mib(worker: WorkerProcess) -> float:
    memory = psutil.Process(worker.process.pid).memory_info()
    return float((memory.rss - memory.shared) / _MIB)

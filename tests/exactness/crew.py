"""The workers of a proof: killing, freezing, stopping and replacing them, and searching their logs."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import psutil

from tests.worker.harness import WorkerGroup, WorkerProcess

SHORT_S: Final = (0.5, 4.0)
LONG_S: Final = (8.0, 14.0)
"""How long a worker is frozen: below and above the session time-out of 6 s, in part above the transaction time-out of 10 s."""

CALM_TIMEOUT_S: Final = 90.0
REUSED_INSTANCES: Final = 0.5
"""The share of workers that get the instance id of one that ended, and so end the transaction that it left open."""

HASTY: Final = {"commit_timeout_ms": 2000}
"""Makes commits time out after a delay of three seconds, so that the worker cannot know whether they succeeded."""

SELDOM: Final = (0.01, 0.03, 0.1)
OFTEN: Final = 0.3
"""SELDOM: the chances to draw from for failpoints that each commit passes. OFTEN: the chance for those of rebalances."""

Point = tuple[str, dict[str, Any], dict[str, Any]]
"""The name of a failpoint, its action, and the `delivery` settings that go with it."""

IN_COMMIT: Final[tuple[Point, ...]] = (
    ("before_begin", {"do": "stop"}, {}),
    ("after_deliveries", {"do": "kill"}, {}),
    ("after_deliveries", {"do": "stop"}, {}),
    ("after_deliveries", {"do": "delay", "seconds": 3}, HASTY),
    ("after_txn_offset_commit", {"do": "kill"}, {}),
    ("after_txn_offset_commit", {"do": "stop"}, {}),
    ("after_txn_offset_commit", {"do": "delay", "seconds": 3}, HASTY),
    ("after_end_txn_sent", {"do": "kill"}, {}),
    ("after_end_txn_sent", {"do": "stop"}, {}),
    ("after_end_txn_sent", {"do": "delay", "seconds": 3}, HASTY),
)
IN_REBALANCE: Final[tuple[Point, ...]] = (
    ("in_revoke", {"do": "delay", "seconds": 2, "chance": OFTEN}, {}),
    ("in_revoke", {"do": "stop", "chance": OFTEN}, {}),
    ("in_assign", {"do": "delay", "seconds": 2, "chance": OFTEN}, {}),
    ("in_assign", {"do": "stop", "chance": OFTEN}, {}),
    ("before_seek", {"do": "delay", "seconds": 2, "chance": OFTEN}, {}),
    ("before_seek", {"do": "kill", "chance": OFTEN}, {}),
    ("before_seek", {"do": "stop", "chance": OFTEN}, {}),
)
DAWDLING: Final = 0.9
DAWDLE_S: Final = 0.1
DAWDLE: Final = {"do": "delay", "seconds": DAWDLE_S, "chance": 1.0}
"""The share of workers that delay each transaction and log it, so that a fault can hit them while one is open."""

CAUGHT: Final = 0.8
CATCH_S: Final = 1.0
"""The share of kills and freezes that wait for an open transaction, and for how long. The others happen at any time."""

RESTART_AFTER_S: Final = 2.0
"""The delay before a worker that ended by itself, for instance because it found no broker, is replaced."""

REWOUND: Final = "commit failed, reading again"


@dataclass(slots=True)
class Hand:
    """One worker of the crew.

    resume_at_s: when a frozen worker resumes.
    dismissed: SIGTERM was sent.
    doomed: it kills itself within a transaction. Nothing else is done to it before that.
    """

    worker: WorkerProcess
    instance: str
    has_failpoint: bool
    resume_at_s: float | None = None
    dismissed: bool = False
    killed: bool = False
    doomed: bool = False

    @property
    def free(self) -> bool:
        """Whether nothing is being done to it."""
        return self.resume_at_s is None and not self.dismissed and not self.killed and not self.doomed


class Crew:
    """Keeps `size` workers running.

    options: of each worker (see `WorkerGroup.start`).
    tally: how often each action was taken.
    ended: how often workers ended by themselves, by reason.
    """

    def __init__(
        self,
        worker_group: WorkerGroup,
        rng: random.Random,
        *,
        size: int,
        failpoint_share: float,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._group = worker_group
        self._random = rng
        self._size = size
        self._failpoint_share = failpoint_share
        self._options = options
        self._hands: list[Hand] = []
        self._vacant: list[str] = []
        self._hire_at_s = 0.0
        self._num_doomed = 0
        self.tally: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.faults: list[str] = []

    # ---- what is done to them

    async def muster(self, *, doomed: int = 0) -> None:
        """Start the first workers. The very first one does not end before it is ready.

        doomed: how many of the others are killed within a transaction. A doomed worker that ends otherwise, for instance
        because it found no broker, is replaced by another doomed one.
        """
        self.hire(failpoint=False)
        await self._hands[0].worker.ready()
        self._num_doomed = doomed
        for _ in range(self._size - 1):
            self._replace()

    @property
    def has_its_dead(self) -> bool:
        """Whether all doomed workers have been killed within a transaction."""
        return self._num_doomed == 0

    def _replace(self) -> None:
        """Start another worker: a doomed one if more of them are due than are running, else as `hire` does."""
        if sum(hand.doomed for hand in self._hands) < self._num_doomed:
            self._doom()
        else:
            self.hire()

    def _doom(self) -> None:
        """Start another worker, which is killed in one of its early transactions."""
        place = self._random.choice(("after_deliveries", "after_txn_offset_commit"))
        failpoints = {place: {"do": "kill", "at": self._random.randrange(10, 30)}}
        self._start(f"w{len(self._group.workers)}", failpoints, {})
        self._hands[-1].doomed = True

    def hire(self, *, failpoint: bool | None = None) -> None:
        """Start another worker. failpoint: with failpoints that inject faults, without them, or (None) as drawn."""
        rng = self._random
        if self._vacant and rng.random() < REUSED_INSTANCES:
            instance = self._vacant.pop(rng.randrange(len(self._vacant)))
        else:
            instance = f"w{len(self._group.workers)}"
        failpoints: dict[str, dict[str, Any]] = {}
        delivery: dict[str, Any] = {}
        if rng.random() < self._failpoint_share if failpoint is None else failpoint:
            for name, options, settings in (*rng.sample(IN_COMMIT, 2), *rng.sample(IN_REBALANCE, rng.randrange(2))):
                drawn = {"chance": rng.choice(SELDOM), "seed": rng.randrange(1 << 16)}
                failpoints[name] = drawn | options
                delivery |= settings
        if self._failpoint_share and rng.random() < DAWDLING:
            failpoints.setdefault(rng.choice(("after_deliveries", "after_txn_offset_commit")), DAWDLE)
        self._start(instance, failpoints, delivery)

    def _start(self, instance: str, failpoints: dict[str, dict[str, Any]], delivery: dict[str, Any]) -> None:
        delivery = delivery | {"instance_id": instance}
        worker = self._group.start(failpoints=failpoints, delivery=delivery, **self._options)
        self._hands.append(Hand(worker, instance, bool(failpoints)))
        self.tally["started"] += 1

    async def kill(self) -> None:
        if (hand := self._pick()) and await self._caught(hand):
            hand.killed = True
            hand.worker.process.kill()

    async def freeze(self, seconds: float) -> None:
        """Send SIGSTOP, and SIGCONT after `seconds`."""
        if (hand := self._pick()) and await self._caught(hand):
            hand.worker.process.send_signal(signal.SIGSTOP)
            hand.resume_at_s = time.monotonic() + seconds
            self.tally["stops"] += 1

    def dismiss(self, *, failpoint: bool | None = None) -> None:
        """Send SIGTERM to a worker and start its replacement at once, as `hire` does."""
        if hand := self._pick():
            self._dismiss(hand)
            self.hire(failpoint=failpoint)

    def tend(self) -> None:
        """Resume workers that were frozen for long enough, remove those that ended, and start replacements."""
        now_s = time.monotonic()
        for hand in list(self._hands):
            process = hand.worker.process
            if process.poll() is not None:
                self._bury(hand)
            elif hand.resume_at_s is None:
                if _stands_still(hand):  # at a failpoint
                    bounds = SHORT_S if self._random.random() < 0.4 else LONG_S
                    hand.resume_at_s = now_s + self._random.uniform(*bounds)
                    self.tally["stops"] += 1
            elif now_s >= hand.resume_at_s:
                hand.resume_at_s = None
                hand.worker.resume()
        if now_s >= self._hire_at_s:
            for _ in range(-self.over_size):
                self._replace()

    async def calm(self) -> None:
        """End the chaos: wait until only workers without failpoints are left, at least `size` of them, all running."""
        self._failpoint_share = 0.0
        self._num_doomed = 0
        deadline_s = time.monotonic() + CALM_TIMEOUT_S
        while self.over_size < 0 or any(
            hand.has_failpoint or hand.dismissed or hand.resume_at_s is not None for hand in self._hands
        ):
            for hand in self._hands:
                if hand.resume_at_s is not None:
                    hand.resume_at_s = 0.0
                if hand.has_failpoint and not hand.dismissed:
                    self._dismiss(hand)
                if time.monotonic() > deadline_s and hand.dismissed and not hand.killed:
                    hand.killed = True
                    hand.worker.kill()
                    self.faults.append(f"{hand.worker.log_path.name} did not end {CALM_TIMEOUT_S:g} s after SIGTERM")
            self.tend()
            await asyncio.sleep(0.1)

    async def go_home(self) -> None:
        """Send SIGTERM to the remaining workers, one after the other."""
        for hand in list(self._hands):
            self._dismiss(hand)
            await hand.worker.ended()
            self._bury(hand)

    # ---- what became of them

    @property
    def over_size(self) -> int:
        """The number of workers beyond `size`."""
        return sum(not hand.dismissed for hand in self._hands) - self._size

    @property
    def some_transactional_id(self) -> str:
        """The transactional id of a random worker."""
        return f"forebay-{self._group.prefix}-{self._random.choice(self._hands).instance}"

    def said(self, words: str) -> int:
        """Return how often these words occur in the logs of all workers."""
        return sum(worker.log.count(words) for worker in self._group.workers)

    def check(self) -> None:
        """Check that no worker ended in a way that an operator could not understand."""
        for worker in self._group.workers:
            if "Traceback" in worker.log:
                self.faults.append(f"{worker.log_path.name} has a traceback")
        assert not self.faults, "; ".join(self.faults[:5])

    def _bury(self, hand: Hand) -> None:
        self._hands.remove(hand)
        self._vacant.append(hand.instance)
        code, name = hand.worker.process.returncode, hand.worker.log_path.name
        if code == -signal.SIGKILL:
            self.tally["kills"] += 1
            if hand.doomed:
                self._num_doomed = max(0, self._num_doomed - 1)
        elif code == 0 or (code == -signal.SIGTERM and hand.dismissed and "is warm" not in hand.worker.log):
            self.tally["clean_ends"] += 1
            if not hand.dismissed:
                self.faults.append(f"{name} ended with 0 unasked")
        else:
            reason = re.findall(r"^stopped: (\w+)", hand.worker.log, re.MULTILINE)
            self.ended[reason[-1] if reason else f"status {code}"] += 1
            self._hire_at_s = time.monotonic() + RESTART_AFTER_S
            if not reason:
                self.faults.append(f"{name} ended with {code} and no reason")

    def _dismiss(self, hand: Hand) -> None:
        hand.dismissed = True
        hand.worker.process.send_signal(signal.SIGTERM)

    def _pick(self) -> Hand | None:
        """Return a free worker, if any: preferably one that has been assigned partitions."""
        free = [hand for hand in self._hands if hand.free and hand.worker.process.poll() is None]
        busy = [hand for hand in free if "partitions assigned" in hand.worker.log]
        return self._random.choice(busy or free) if free else None

    async def _caught(self, hand: Hand) -> bool:
        """In most cases, wait until the worker delays a transaction. Return whether it is still running and free."""
        deadline_s = time.monotonic() + (CATCH_S if self._random.random() < CAUGHT else 0.0)
        while time.monotonic() < deadline_s and not _dawdles(hand):
            await asyncio.sleep(0.005)
        return hand.free and hand.worker.process.poll() is None


def _dawdles(hand: Hand) -> bool:
    """Return whether the worker has just logged that it is delaying its transaction."""
    path = hand.worker.log_path
    return time.time() - path.stat().st_mtime < DAWDLE_S / 2 and hand.worker.log.endswith(": delay\n")


def _stands_still(hand: Hand) -> bool:
    try:
        return bool(psutil.Process(hand.worker.process.pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False

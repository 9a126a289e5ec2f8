"""Proofs with rollouts: cycles of canary, promotion and rollback with killed workers, and storms with random changes."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import statistics
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from forebay.stream.config.sections import KafkaSection, RolloutsSection, Settings, TopicsSection
from tests.brokers.clients import consumer, create_topic
from tests.exactness.checker import Counts, until_stable
from tests.exactness.crew import REWOUND, Crew
from tests.exactness.feed import ABORT_EVERY, Author, Feed
from tests.exactness.linear_versions import MODEL, publish_versions
from tests.exactness.proof import PARTITIONS, SETTLE_TIMEOUT_S, tell
from tests.exactness.rollout_checker import CONFIGURED, RolloutCounts, check_rollouts
from tests.exactness.rollout_driver import RolloutDriver, Switched
from tests.exactness.rollout_feed import RolloutAuthor
from tests.exactness.watcher import watched_offsets
from tests.worker.harness import OUTPUTS, WorkerGroup

CYCLES_VARIABLE: Final = "FOREBAY_ROLLOUT_CYCLES"
RATE_VARIABLE: Final = "FOREBAY_ROLLOUT_RATE"
MINUTES_VARIABLE: Final = "FOREBAY_ROLLOUT_MINUTES"
RATE: Final = 5000
VERSIONS: Final = 4
NUM_DRIVERS: Final = 2
MAX_SECONDS: Final = 3600.0
KILL_WITHIN_S: Final = 4.0
KEPT_FOREVER: Final = {"cleanup.policy": "delete", "retention.ms": "-1"}


def settings_of(worker_group: WorkerGroup) -> Settings:
    """Return the settings with which revisions are read and written."""
    return Settings(
        kafka=KafkaSection(bootstrap_servers=worker_group.bootstrap),
        topics=TopicsSection(prefix=worker_group.topic("")),
        rollouts=RolloutsSection(enabled=True),
    )


class RolloutWorkload:
    """One model whose versions change at random, proposed by drivers that compete (see `proof.Workload`).

    repository: a folder for the versions, which is created.
    """

    inputs: tuple[str, ...] = ("features",)
    outputs: tuple[str, ...] = OUTPUTS

    def __init__(self, repository: Path) -> None:
        self._digests = publish_versions(repository, VERSIONS)
        self.options: Mapping[str, Any] = {
            "mode": "stored",
            "model": {"repository": str(repository), "name": MODEL, "version": CONFIGURED},
            "rollouts": {"enabled": True, "keep_previous_s": 5},
        }
        self.tally: Counter[str] = Counter()
        self.rollouts: RolloutCounts

    def author(self, rng: random.Random, partitions: int) -> Author:
        return RolloutAuthor(rng, partitions)

    async def prepare(self, worker_group: WorkerGroup, *, replication: int) -> None:
        """Create the topics of rollouts."""
        for name in ("rollouts", "rollout-switches"):
            await create_topic(
                worker_group.bootstrap, worker_group.topic(name), replication=replication, configs=KEPT_FOREVER
            )
        await create_topic(
            worker_group.bootstrap, worker_group.topic("shadow-predictions"), PARTITIONS, replication=replication
        )

    def driver(self, worker_group: WorkerGroup, rng: random.Random, author: str) -> RolloutDriver:
        return RolloutDriver(settings_of(worker_group), rng, self._digests, author=author)

    async def disturb(self, worker_group: WorkerGroup, rng: random.Random) -> None:
        """Change the rollout at random until cancelled."""
        async with AsyncExitStack() as stack:
            drivers = [
                await stack.enter_async_context(self.driver(worker_group, rng, f"driver-{number}"))
                for number in range(NUM_DRIVERS)
            ]
            try:
                await asyncio.gather(*(driver.disturb() for driver in drivers))
            finally:
                for driver in drivers:
                    self.tally += driver.tally

    async def complete(self, worker_group: WorkerGroup) -> None:
        """Return at once: a commit of all input is a commit of all outputs."""

    async def check(self, worker_group: WorkerGroup, feed: Feed) -> Counts:
        counts, self.rollouts = await check_rollouts(worker_group, feed)
        print(f"rollouts: {asdict(self.rollouts)}, proposals: {dict(self.tally)}")
        assert self.rollouts.divided > 0, "no revision divided the keys: nothing was proved"
        return counts


@dataclass(frozen=True, slots=True)
class Cycles:
    """The plan of a run in cycles.

    rate: committed events per second.
    minutes: no cycle begins later than this.
    """

    cycles: int
    seed: int
    rate: int = RATE
    workers: int = 2
    minutes: float = MAX_SECONDS / 60


class CyclesProof:
    """Repeats canary, larger canary, promotion and rollback, and kills a random worker in each cycle."""

    def __init__(self, plan: Cycles, bootstrap: str, prefix: str, folder: Path) -> None:
        self.plan = plan
        self.num_cycles = 0
        self.workload = RolloutWorkload(folder / "repository")
        self.group = WorkerGroup(bootstrap, prefix, folder, partitions=PARTITIONS)
        self.crew = Crew(
            self.group, self._rng("crew"), size=plan.workers, failpoint_share=0.0, options=self.workload.options
        )

    def _rng(self, what: str) -> random.Random:
        return random.Random(f"{self.plan.seed}/{what}")

    async def run(self) -> Mapping[str, Any]:
        """Run the plan and return the report. Raises AssertionError with seed and logs."""
        print(f"{self.plan.cycles} cycles: seed {self.plan.seed}, logs in {self.group.folder}")
        try:
            return await self._run()
        except BaseException as error:
            error.add_note(f"seed {self.plan.seed}, worker logs in {self.group.folder}")
            raise
        finally:
            self.group.kill_all()
            gc.collect()

    async def _run(self) -> Mapping[str, Any]:
        plan, worker_group, crew = self.plan, self.group, self.crew
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        for name in (*self.workload.inputs, *self.workload.outputs):
            await create_topic(worker_group.bootstrap, worker_group.topic(name), PARTITIONS)
        await self.workload.prepare(worker_group, replication=1)
        await crew.muster()
        author = self.workload.author(self._rng("author"), PARTITIONS)
        written = round(plan.rate * ABORT_EVERY / (ABORT_EVERY - 1))
        feed = Feed(worker_group, self._rng("feed"), rate=written, seconds=MAX_SECONDS, author=author)
        driver = self.workload.driver(worker_group, self._rng("driver"), "driver")
        start_s = time.monotonic()
        async with watched_offsets(worker_group) as watcher:
            feeding, tending = asyncio.create_task(feed.run()), asyncio.create_task(self._tend())
            try:
                await self._cycles(driver)
            finally:
                feed.stop()
                tending.cancel()
                await feeding
            took_s = time.monotonic() - start_s
            await crew.calm()
            await until_stable(worker_group)
            await worker_group.settled(SETTLE_TIMEOUT_S)
        await crew.go_home()
        counts, rollouts = await check_rollouts(worker_group, feed)
        waits = sorted(driver.applied_s)
        report = {
            "name": f"{self.num_cycles} cycles of canary, promotion and rollback",
            "seed": plan.seed,
            "cycles": self.num_cycles,
            "took_s": round(took_s, 1),
            "events_per_s": round(counts.events / took_s),
            "applied_s": {
                "median": round(statistics.median(waits), 1),
                "longest": round(waits[-1], 1),
            },
            "rewinds": crew.said(REWOUND),
            "done": dict(sorted(crew.tally.items())),
            "ended": dict(crew.ended),
            "proposals": dict(driver.tally),
            "offset_samples": watcher.samples,
            "rollouts": asdict(rollouts),
            "counts": asdict(counts),
        }
        tell(report)
        watcher.check()
        crew.check()
        assert crew.tally["kills"] >= self.num_cycles > 0, f"only {crew.tally['kills']} workers were killed"
        assert rollouts.divided >= self.num_cycles, f"only {rollouts.divided} revisions divided the keys"
        return report

    async def _tend(self) -> None:
        while True:
            self.crew.tend()
            await asyncio.sleep(0.1)

    async def _cycles(self, driver: RolloutDriver) -> None:
        rng, worker_group = self._rng("cycles"), self.group
        async with driver, consumer(worker_group.bootstrap, worker_group.topic("rollout-switches")) as client:
            switched = Switched(client, PARTITIONS)
            start_s = time.monotonic()
            while (
                self.num_cycles < self.plan.cycles and (began_s := time.monotonic()) - start_s < self.plan.minutes * 60
            ):
                killing = asyncio.create_task(self._kill(rng.uniform(0, KILL_WITHIN_S)))
                await driver.cycle(switched)
                await killing
                self.num_cycles += 1
                print(f"cycle {self.num_cycles}: {time.monotonic() - began_s:.1f} s", flush=True)

    async def _kill(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self.crew.kill()

"""One run of the proof: a feed, a crew of workers, chaos, and then the count."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import math
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

from forebay.stream.core.cancellation import cancel_until_done
from tests.brokers.clients import create_topic
from tests.exactness.chaos import Outage, draw, rage
from tests.exactness.checker import Counts, check, topics_of, until_stable
from tests.exactness.crew import REWOUND, Crew
from tests.exactness.feed import Author, Feed, OneModelAuthor
from tests.exactness.trusted import Trusted
from tests.exactness.watcher import watched_offsets
from tests.worker.harness import OUTPUTS, WorkerGroup

PARTITIONS: Final = 8
SETTLE_TIMEOUT_S: Final = 120.0
SEED_VARIABLE: Final = "FOREBAY_EXACTNESS_SEED"
SECONDS_VARIABLE: Final = "FOREBAY_EXACTNESS_SECONDS"
REPORT_VARIABLE: Final = "FOREBAY_EXACTNESS_REPORT"
TRUST_VARIABLE: Final = "FOREBAY_EXACTNESS_TRUST"
"""If it is set, the runs with one model have access rules, encryption and the audit (see `trusted`)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one run.

    min_aborted: how many transactions of workers have to be aborted at least, or the run has proved nothing.
    gap_s: the range of the time between two actions on workers.
    failpoint_share: the share of workers with a failpoint among those that join or replace others.
    doomed: how many of the first workers are certain to be killed within a transaction.
    """

    name: str
    seed: int
    seconds: float
    min_aborted: int
    rate: int = 2000
    workers: int = 3
    gap_s: tuple[float, float] = (0.5, 2.5)
    failpoint_share: float = 0.6
    doomed: int = 2
    replication: int = 1

    @classmethod
    def of_environment(
        cls, name: str, *, seconds: float, min_aborted: int, rate: int = 2000, replication: int = 1
    ) -> Plan:
        """Create a plan with seed and duration from the environment. The default seed is random."""
        chosen = float(os.environ.get(SECONDS_VARIABLE) or seconds)
        seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(1 << 32))
        least = max(1, math.floor(min_aborted * chosen / seconds))
        return cls(name, seed, chosen, least, rate=rate, replication=replication)


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run.

    ended: the number of workers that ended by themselves, by reason.
    settle_s: the time from the end of the feed until everything was committed.
    """

    name: str
    seed: int
    seconds: float
    events: int
    predictions: int
    dead_letters: Mapping[str, int]
    aborted_input: int
    aborted_output: int
    aborted_output_records: int
    windows: int
    late: int
    min_aborted: int
    done: Mapping[str, int]
    ended: Mapping[str, int]
    rewinds: int
    offset_samples: int
    settle_s: float


def tell(report: Mapping[str, object]) -> None:
    """Print the report as a line of JSON, and append it to the file named in the environment."""
    line = json.dumps(report)
    print(line)
    if path := os.environ.get(REPORT_VARIABLE):
        with Path(path).open("a") as file:
            file.write(line + "\n")


class Workload(Protocol):
    """What the workers of a proof serve, the events for it, and the check of what became of them.

    inputs, outputs: the topics.
    options: of each worker (see `WorkerGroup.start`).
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, Any]

    def author(self, rng: random.Random, partitions: int) -> Author: ...

    async def prepare(self, worker_group: WorkerGroup, *, replication: int) -> None:
        """Create what the workers need besides the topics."""

    async def disturb(self, worker_group: WorkerGroup, rng: random.Random) -> None:
        """Do something beside the feed until cancelled, or return at once."""

    async def complete(self, worker_group: WorkerGroup) -> None:
        """Wait for the outputs that are missing when all of the input is committed."""

    async def check(self, worker_group: WorkerGroup, feed: Feed) -> Counts: ...


class OneModel:
    """One model, which fails on no row."""

    inputs: tuple[str, ...] = ("features",)
    outputs = OUTPUTS
    options: Mapping[str, Any] = MappingProxyType({})

    def author(self, rng: random.Random, partitions: int) -> Author:
        return OneModelAuthor(rng, partitions)

    async def prepare(self, worker_group: WorkerGroup, *, replication: int) -> None:
        """Return at once: the model is built by the workers."""

    async def disturb(self, worker_group: WorkerGroup, rng: random.Random) -> None:
        """Return at once."""

    async def complete(self, worker_group: WorkerGroup) -> None:
        """Return at once: a commit of all input is a commit of all outputs."""

    async def check(self, worker_group: WorkerGroup, feed: Feed) -> Counts:
        return await check(worker_group, feed)


class Proof:
    """A run on an existing broker."""

    def __init__(
        self, plan: Plan, bootstrap: str, prefix: str, folder: Path, *, workload: Workload | None = None
    ) -> None:
        self.plan = plan
        trusted = os.environ.get(TRUST_VARIABLE) and workload is None
        self.workload = Trusted(prefix, folder) if trusted else workload or OneModel()
        self.group = WorkerGroup(bootstrap, prefix, folder, partitions=PARTITIONS)
        self.group.inputs, self.group.output_topics = self.workload.inputs, self.workload.outputs
        self.crew = Crew(
            self.group,
            self._rng("crew"),
            size=plan.workers,
            failpoint_share=plan.failpoint_share,
            options=self.workload.options,
        )

    def _rng(self, what: str) -> random.Random:
        return random.Random(f"{self.plan.seed}/{what}")

    async def run(self, outages: Sequence[tuple[float, Outage]] = ()) -> Report:
        """Run the plan. outages: (time as a share of the duration, outage). Raises AssertionError with seed and logs."""
        print(f"{self.plan.name}: seed {self.plan.seed}, {self.plan.seconds:g} s, logs in {self.group.folder}")
        try:
            return await self._run(outages)
        except BaseException as error:
            error.add_note(f"{SEED_VARIABLE}={self.plan.seed}, worker logs in {self.group.folder}")
            raise
        finally:
            self.group.kill_all()
            for _, outage in outages:
                outage.close()  # an outage whose time was not reached
            gc.collect()  # else the client's leftover connections to killed brokers would warn in another test

    async def _run(self, outages: Sequence[tuple[float, Outage]]) -> Report:
        plan, worker_group, crew = self.plan, self.group, self.crew
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs pages about unreachable brokers
        for name in topics_of(worker_group):
            await create_topic(
                worker_group.bootstrap, worker_group.topic(name), PARTITIONS, replication=plan.replication
            )
        await self.workload.prepare(worker_group, replication=plan.replication)
        await crew.muster(doomed=plan.doomed)
        feed = Feed(
            worker_group,
            self._rng("feed"),
            rate=plan.rate,
            seconds=plan.seconds,
            enough=lambda: crew.has_its_dead,
            author=self.workload.author(self._rng("author"), PARTITIONS),
        )
        steps = draw(self._rng("steps"), count=round(plan.seconds), gap_s=plan.gap_s)
        times = [(share * plan.seconds, outage) for share, outage in outages]
        async with watched_offsets(worker_group) as watcher:
            feeding = asyncio.create_task(feed.run())
            disturbing = asyncio.create_task(self.workload.disturb(worker_group, self._rng("disturbances")))
            try:
                await rage(crew, steps, times, flows=watcher.flows, feeding=feeding)
                if disturbing.done():
                    disturbing.result()
            finally:
                feeding.cancel()
                await cancel_until_done(disturbing)
            ended_s = time.monotonic()
            await crew.calm()
            await until_stable(worker_group)
            await worker_group.settled(SETTLE_TIMEOUT_S)
            await until_stable(worker_group)
            settle_s = time.monotonic() - ended_s
            await self.workload.complete(worker_group)
        await crew.go_home()
        counts = await self.workload.check(worker_group, feed)
        report = Report(
            name=plan.name,
            seed=plan.seed,
            seconds=plan.seconds,
            **asdict(counts),
            min_aborted=plan.min_aborted,
            done=dict(sorted(crew.tally.items())),
            ended=dict(crew.ended),
            rewinds=crew.said(REWOUND),
            offset_samples=watcher.samples,
            settle_s=round(settle_s, 1),
        )
        tell(asdict(report))
        watcher.check()
        crew.check()
        assert counts.aborted_output >= plan.min_aborted, (
            f"only {counts.aborted_output} transactions of workers were aborted: too few to prove anything"
        )
        return report

"""Evaluators as processes, killed at random, and the comparison of what they wrote with a recount."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from forebay.stream.embedded.process import tied_to_parent
from tests.brokers.clients import create_topic, read_committed
from tests.eventually import eventually
from tests.exactness.evaluation_feed import EARLY_S, HORIZON_S, WINDOW_S, items, write
from tests.exactness.evaluation_recount import Cell, Key, add_up, differences, recount

QUALITY_PARTITIONS: Final = 4
DAY_MS: Final = 86_400_000


class EvaluatorProcess:
    """One `forebay evaluate`. number: its slot, whose transactional id it takes over from its predecessor."""

    def __init__(self, proof: EvaluationProof, number: int) -> None:
        self.log_path = proof.folder / f"evaluator-{number}-{len(list(proof.folder.iterdir()))}.log"
        settings = {
            "KAFKA__BOOTSTRAP_SERVERS": proof.bootstrap,
            "KAFKA__GROUP_ID": f"{proof.prefix}group",
            "KAFKA__SESSION_TIMEOUT_MS": "6000",
            "KAFKA__HEARTBEAT_INTERVAL_MS": "500",
            "TOPICS__PREFIX": proof.prefix,
            "EVALUATE__ENABLED": "true",
            "EVALUATE__HORIZON_S": str(HORIZON_S),
            "EVALUATE__EARLY_S": str(EARLY_S),
            "EVALUATE__WINDOW_S": str(WINDOW_S),
            "EVALUATE__COMMIT_INTERVAL_MS": str(proof.plan.commit_interval_ms),
            "MODEL__REPOSITORY": str(proof.folder),
            "DELIVERY__INSTANCE_ID": f"slot-{number}",
            "ADMIN__ENABLED": "false",
            "LOG__FORMAT": "text",
        }
        if len(proof.plan.topics) > 1:
            settings["DECISION__MIN_CONFIDENCE"] = "0.6"  # for review
            routes = [{"topic": name, "label": 1} for name in proof.plan.topics[2:]]
            settings["DECISION__ROUTES"] = json.dumps(routes)
        if proof.plan.static:
            settings["KAFKA__GROUP_INSTANCE_ID"] = f"slot-{number}"
        environment = {**os.environ, **{f"FOREBAY_{name}": value for name, value in settings.items()}}
        command = tied_to_parent([sys.executable, "-m", "forebay", "evaluate"], os.getpid())
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=proof.folder)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log
        return "evaluator ready" in self.log

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a proof does.

    count: number of predictions.
    feed_s: how long they are written.
    kill_every_s: longest time between two kills.
    static: whether members are static, so that a successor has the partitions at once.
    topics: of predictions: `predictions`, and possibly `review` and topics of routes.
    """

    seed: int
    count: int
    evaluators: int
    kills: int
    partitions: int = 4
    feed_s: float = 0.0
    batches: int = 20
    kill_every_s: float = 5.0
    step_ms: int = 500
    commit_interval_ms: int = 500
    static: bool = False
    topics: tuple[str, ...] = ("predictions",)


@dataclass(frozen=True, slots=True)
class Report:
    """What a proof found. continued: how often an evaluator did not read partitions again after a rebalance."""

    predictions: int
    labels: int
    refused: int
    cells: int
    matched: int
    records: int
    kills: int
    continued: int
    took_s: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class EvaluationProof:
    """Writes predictions and labels while evaluators are killed; the sums on `quality` must equal the recount.

    prefix: of the topics.
    """

    def __init__(self, plan: Plan, bootstrap: str, prefix: str, folder: Path) -> None:
        self.plan = plan
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.folder = folder
        self._rng = random.Random(plan.seed)
        self._evaluators: list[EvaluatorProcess] = []

    async def run(self) -> Report:
        """Run the plan. Raises AssertionError with the seed."""
        began_s = time.monotonic()
        try:
            for name in (*self.plan.topics, "labels"):
                await create_topic(self.bootstrap, self.prefix + name, self.plan.partitions)
            await create_topic(self.bootstrap, f"{self.prefix}quality", QUALITY_PARTITIONS)
            # Old enough that no record is ahead of its Kafka timestamp, and records of any time are accepted.
            start_ms = int(time.time() * 1000) - 2 * DAY_MS - self.plan.count * self.plan.step_ms
            feed = items(
                self._rng,
                count=self.plan.count,
                partitions=self.plan.partitions,
                start_ms=start_ms,
                step_ms=self.plan.step_ms,
                topics=self.plan.topics,
            )
            self._evaluators = [EvaluatorProcess(self, number) for number in range(self.plan.evaluators)]
            writing = asyncio.create_task(
                write(self.bootstrap, self.prefix, feed, over_s=self.plan.feed_s, batches=self.plan.batches)
            )
            await self._kill_at_random()
            written = await writing
            records = await self._until_counted(sum(map(written.__getitem__, self.plan.topics)), written["labels"])
            for evaluator in self._evaluators:
                await self._ready(evaluator)
                status = await asyncio.to_thread(evaluator.stop)
                assert status == 0, evaluator.log
            return await self._compare(records, took_s=time.monotonic() - began_s)
        except BaseException as error:
            error.add_note(f"seed {self.plan.seed}, logs in {self.folder}")
            raise
        finally:
            for evaluator in self._evaluators:
                evaluator.kill()

    async def _kill_at_random(self) -> None:
        for _ in range(self.plan.kills):
            number = self._rng.randrange(len(self._evaluators))
            evaluator = self._evaluators[number]
            await self._ready(evaluator)
            await asyncio.sleep(self._rng.uniform(0.2, 1.0) * self.plan.kill_every_s)
            evaluator.kill()
            self._evaluators[number] = EvaluatorProcess(self, number)

    async def _ready(self, evaluator: EvaluatorProcess) -> None:
        await eventually(lambda: evaluator.is_ready, "the evaluator is ready", timeout_s=90)

    async def _until_counted(self, predictions: int, labels: int) -> Sequence[Any]:
        """Wait until all predictions and labels are counted; return the records of the topic."""

        async def counted() -> tuple[int, int, Sequence[Any]]:
            assert all(evaluator.process.poll() is None for evaluator in self._evaluators)
            records = await read_committed(self.bootstrap, f"{self.prefix}quality", QUALITY_PARTITIONS)
            cells, tally = add_up(records)
            return sum(cell.predictions for cell in cells.values()), tally["labels"], records

        _, _, records = await eventually(
            counted,
            f"{predictions} predictions and {labels} labels are counted",
            until=lambda seen: seen[0] >= predictions and seen[1] >= labels,
            timeout_s=180,
            every_s=0.5,
            context=lambda: "\n".join(evaluator.log for evaluator in self._evaluators),
        )
        return records

    async def _compare(self, records: Sequence[Any], *, took_s: float) -> Report:
        predictions = [record for name in self.plan.topics for record in await self._read(name)]
        labels = await self._read("labels")
        expected, num_good, num_bad = recount(
            predictions, labels, horizon_ms=HORIZON_S * 1000, early_ms=EARLY_S * 1000, window_ms=WINDOW_S * 1000
        )
        found, tally = add_up(records)
        problems = differences(expected, found)
        assert not problems, "\n".join(problems[:20])
        assert (tally["labels"], tally["refused"]) == (num_good + num_bad, num_bad)
        return self._report(expected, tally["labels"], num_bad, records=len(records), took_s=took_s)

    async def _read(self, name: str) -> Sequence[Any]:
        return await read_committed(self.bootstrap, self.prefix + name, self.plan.partitions)

    def _report(self, cells: dict[Key, Cell], labels: int, refused: int, *, records: int, took_s: float) -> Report:
        return Report(
            predictions=sum(cell.predictions for cell in cells.values()),
            labels=labels,
            refused=refused,
            cells=len(cells),
            matched=sum(cell.matched for cell in cells.values()),
            records=records,
            kills=self.plan.kills,
            continued=sum(path.read_text().count("are not read again") for path in self.folder.glob("*.log")),
            took_s=round(took_s, 1),
        )


def as_json(report: Report) -> str:
    """Return the report as a line of JSON."""
    return json.dumps(report.as_dict())

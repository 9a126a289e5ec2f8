"""Aggregators in processes of their own, workers that are only their deltas, and what came of both."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import murmur2

from forebay.schemas.failures import FAILURES, FailureKind, Outcome, Stage
from forebay.stream.outcomes import DELTA_WINDOW_MS, Delta, DeltaKey, encode_delta
from tests.brokers.clients import consumer, create_topic, read_committed

PARTITIONS: Final = 4
READY_TIMEOUT_S: Final = 60.0
KINDS: Final = (FailureKind.NOT_JSON, FailureKind.MODEL_ERROR, FailureKind.MISSING_FIELD)


class Counted(NamedTuple):
    """What is added up. model stands for all versions of it here."""

    window_start: int
    outcome: str
    kind: str
    model: str


class AggregatorProcess:
    """`forebay aggregate`."""

    def __init__(self, config: Path, log: Path) -> None:
        self.log_path = log
        with log.open("wb") as file:
            command = [sys.executable, "-m", "forebay", "aggregate", "-c", str(config)]
            self.process = subprocess.Popen(command, stdout=file, stderr=file)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    async def says(self, words: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        deadline_s = time.monotonic() + timeout_s
        while words not in self.log:
            assert self.process.poll() is None, f"the aggregator ended:\n{self.log}"
            assert time.monotonic() < deadline_s, f"the aggregator does not say {words!r}:\n{self.log}"
            await asyncio.sleep(0.05)

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 40)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


class DeltaFeed:
    """A worker's deltas, in transactions; some of them are aborted. committed: what counts."""

    def __init__(self, stage: AggregateStage, name: str, rng: random.Random) -> None:
        self._stage = stage
        self._name = name
        self._random = rng
        self.committed: Counter[Counted] = Counter()
        self.num_committed = self.num_aborted = 0

    async def run(self, seconds: float, *, per_s: float = 20.0) -> None:
        """A transaction every so often; one in five is aborted."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._stage.bootstrap, transactional_id=f"{self._stage.prefix}-{self._name}"
        )
        await producer.start()
        try:
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                await self._transaction(producer, abort=self._random.random() < 0.2)
                await asyncio.sleep(1 / per_s)
        finally:
            await producer.stop()

    async def _transaction(self, producer: AIOKafkaProducer, *, abort: bool) -> None:
        rng, counts = self._random, Counter[Counted]()
        await producer.begin_transaction()
        sent = []
        for model in ("late", "price"):
            now_ms = time.time_ns() // 1_000_000
            window = (now_ms - rng.choice((0, 0, 0, 60_000, 120_000))) // DELTA_WINDOW_MS * DELTA_WINDOW_MS
            for kind in (None, rng.choice(KINDS)):
                key = (
                    DeltaKey(window, Outcome.PREDICTED, Stage.EMIT, "predicted", model, 1)
                    if kind is None
                    else DeltaKey(window, FAILURES[kind].outcome, FAILURES[kind].stage, kind.value, model, 1)
                )
                delta = Delta()
                delta.add(rng.randrange(1, 50), window, window + 10)
                record_key, value = encode_delta(key, delta, worker=self._name)
                place = (murmur2(record_key) & 0x7FFFFFFF) % PARTITIONS
                sent.append(
                    await producer.send(self._stage.topic("outcome-deltas"), value, record_key, partition=place)
                )
                counts[Counted(window, key.outcome.value, key.kind, model)] += delta.count
        await asyncio.gather(*sent)
        if abort:
            await producer.abort_transaction()
            self.num_aborted += 1
        else:
            await producer.commit_transaction()
            self.num_committed += 1
            self.committed += counts


class AggregateStage:
    """Topics of a test's own, aggregators on them."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.folder = folder
        self.aggregators: list[AggregatorProcess] = []

    def topic(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    async def create(self, *, replication: int = 1) -> None:
        await create_topic(self.bootstrap, self.topic("outcome-deltas"), PARTITIONS, replication=replication)

    def config(self, *, bootstrap: str | None = None, **aggregate: Any) -> Path:
        path = self.folder / f"forebay-{len(self.aggregators)}.toml"
        rules = aggregate.pop("alerts", [])
        lines = [
            "[kafka]",
            f'bootstrap_servers = "{bootstrap or self.bootstrap}"',
            f'group_id = "{self.prefix}"',
            "session_timeout_ms = 6000",
            "heartbeat_interval_ms = 1000",
            "[topics]",
            f'prefix = "{self.prefix}-"',
            "[log]",
            'format = "text"',
            "[aggregate]",
            *(f"{key} = {json.dumps(value)}" for key, value in ({"emit_interval_ms": 300} | aggregate).items()),
        ]
        for rule in rules:
            lines += ["[[aggregate.alerts]]", *(f"{key} = {json.dumps(value)}" for key, value in rule.items())]
        path.write_text("\n".join(lines) + "\n")
        return path

    def start(self, **aggregate: Any) -> AggregatorProcess:
        log = self.folder / f"aggregator-{len(self.aggregators)}.log"
        process = AggregatorProcess(self.config(**aggregate), log)
        self.aggregators.append(process)
        return process

    def kill_all(self) -> None:
        for process in self.aggregators:
            process.kill()

    async def read(self, name: str, partitions: int) -> list[ConsumerRecord]:
        """All of a topic that is committed."""
        return await read_committed(self.bootstrap, self.topic(name), partitions)

    async def committed_offsets(self) -> dict[int, int | None]:
        """Of the aggregators' group."""
        places = [TopicPartition(self.topic("outcome-deltas"), number) for number in range(PARTITIONS)]
        async with consumer(self.bootstrap, group_id=f"{self.prefix}-aggregate") as client:
            return {place.partition: await client.committed(place) for place in places}

    async def totals(self) -> Counter[Counted]:
        """What error-aggregates says: of each key the highest revision."""
        held: dict[bytes, dict[str, Any]] = {}
        for record in await self.read("error-aggregates", PARTITIONS):
            said = orjson.loads(record.value)
            there = held.get(record.key)
            if there is None or said["revision"] > there["revision"]:
                held[record.key] = said
            elif said["revision"] == there["revision"]:
                assert said == there, "one revision, two contents"
        totals: Counter[Counted] = Counter()
        for said in held.values():
            totals[Counted(said["window_start"], said["outcome"], said["kind"], said["model"])] += said["count"]
        return totals

    async def until_totals_are(
        self, expected: Counter[Counted], timeout_s: float, *, only: Callable[[Counted], Counted] = lambda key: key
    ) -> Counter[Counted]:
        """only: what of the keys is compared. Gives what was found, whole."""

        def chosen(counts: Counter[Counted]) -> Counter[Counted]:
            sums: Counter[Counted] = Counter()
            for key, count in counts.items():
                sums[only(key)] += count
            return sums

        deadline_s, expected = time.monotonic() + timeout_s, chosen(expected)
        while (found := chosen(whole := await self.totals())) != expected:
            if time.monotonic() > deadline_s:
                logs = "\n".join(f"--- {one.log_path.name}\n{one.log[-3000:]}" for one in self.aggregators[-4:])
                wrong = {key: (found[key], expected[key]) for key in found | expected if found[key] != expected[key]}
                raise AssertionError(f"(found, committed) of {len(wrong)}: {dict(list(wrong.items())[:5])}\n{logs}")
            await asyncio.sleep(0.5)
        return whole

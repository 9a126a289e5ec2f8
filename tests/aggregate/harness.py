"""Aggregator processes, simulated workers that only publish deltas, and the resulting totals."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import murmur2

from forebay.schemas.failures import FAILURES, FailureKind, Outcome, Stage
from forebay.stream.output.ledger import DELTA_BUCKET_MS, Delta, DeltaKey, encode_delta
from tests.brokers.clients import consumer, create_topic, read_committed
from tests.eventually import eventually
from tests.fork_server import start_module

PARTITIONS: Final = 4
READY_TIMEOUT_S: Final = 60.0
IMPORTS: Final = {
    "aggregate": ("tests.aggregate.preloaded",),
    "evaluate": ("forebay.stream.cli.evaluate", "forebay.stream.evaluate.service"),
}
"""The modules of commands, which take most of the time of a start."""
KINDS: Final = (FailureKind.NOT_JSON, FailureKind.MODEL_ERROR, FailureKind.MISSING_FIELD)


class Counted(NamedTuple):
    """The key of a total. model: name, for all of its versions."""

    window_start: int
    outcome: str
    kind: str
    model: str


class ForebayProcess:
    """A process that runs a command of `forebay`. arguments: the command and its arguments. log: takes its output."""

    def __init__(self, config: Path, log: Path, *arguments: str) -> None:
        self.log_path = log
        self._name = arguments[0]
        with log.open("wb") as file:
            self.process = start_module(
                "forebay.stream.cli",
                [*arguments, "-c", str(config)],
                file.fileno(),
                imports=["forebay.stream.cli.group", *IMPORTS.get(arguments[0], ())],
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    async def says(self, words: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until the log contains `words`. Fails at once if the process has ended without them."""

        def logged() -> bool:
            running = self.process.poll() is None  # before the log is read: its last lines count
            found = words in self.log
            assert found or running, f"{self._name} ended without {words!r}:\n{self.log}"
            return found

        what = f"{words!r} in the log of {self._name}"
        await eventually(logged, what, timeout_s=timeout_s, context=lambda: self.log)

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 40)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


class AggregatorProcess(ForebayProcess):
    """A process that runs `forebay aggregate`."""

    def __init__(self, config: Path, log: Path) -> None:
        super().__init__(config, log, "aggregate")


class DeltaFeed:
    """Publishes a worker's deltas in transactions and aborts some of them. committed: the expected totals."""

    def __init__(self, aggregator_group: AggregatorGroup, name: str, rng: random.Random) -> None:
        self._group = aggregator_group
        self._name = name
        self._random = rng
        self.committed: Counter[Counted] = Counter()
        self.num_committed = self.num_aborted = 0

    async def run(self, seconds: float, *, per_s: float = 20.0) -> None:
        """Run `per_s` transactions per second; one in five is aborted."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._group.bootstrap, transactional_id=f"{self._group.prefix}-{self._name}"
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
            window = (now_ms - rng.choice((0, 0, 0, 60_000, 120_000))) // DELTA_BUCKET_MS * DELTA_BUCKET_MS
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
                    await producer.send(self._group.topic("outcome-deltas"), value, record_key, partition=place)
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


class AggregatorGroup:
    """A group of aggregator processes with its own topics. Leaving its context kills the processes that still run."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.folder = folder
        self.aggregators: list[AggregatorProcess] = []

    def __enter__(self) -> AggregatorGroup:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()

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
        """Read all committed records of a topic."""
        return await read_committed(self.bootstrap, self.topic(name), partitions)

    async def committed_offsets(self) -> dict[int, int | None]:
        """Return the committed offsets of the aggregators' group, by partition."""
        places = [TopicPartition(self.topic("outcome-deltas"), number) for number in range(PARTITIONS)]
        async with consumer(self.bootstrap, group_id=f"{self.prefix}-aggregate") as client:
            return {place.partition: await client.committed(place) for place in places}

    async def totals(self) -> Counter[Counted]:
        """Return the totals of error-aggregates, from the highest revision of each key."""
        held: dict[bytes, dict[str, Any]] = {}
        for record in await self.read("error-aggregates", PARTITIONS):
            aggregate = orjson.loads(record.value)
            known = held.get(record.key)
            if known is None or aggregate["revision"] > known["revision"]:
                held[record.key] = aggregate
            elif aggregate["revision"] == known["revision"]:
                assert aggregate == known, "one revision, two contents"
        totals: Counter[Counted] = Counter()
        for aggregate in held.values():
            totals[Counted(aggregate["window_start"], aggregate["outcome"], aggregate["kind"], aggregate["model"])] += (
                aggregate["count"]
            )
        return totals

    async def until_totals_are(
        self, expected: Counter[Counted], timeout_s: float, *, only: Callable[[Counted], Counted] = lambda key: key
    ) -> Counter[Counted]:
        """Wait until the totals are those of `expected`, and return them.

        only: the part of a key that is compared.
        """

        def chosen(counts: Counter[Counted]) -> Counter[Counted]:
            sums: Counter[Counted] = Counter()
            for key, count in counts.items():
                sums[only(key)] += count
            return sums

        whole: Counter[Counted] = Counter()

        async def wrong() -> dict[Counted, tuple[int, int]]:
            nonlocal whole
            whole = await self.totals()
            found, wanted = chosen(whole), chosen(expected)
            return {key: (found[key], wanted[key]) for key in found | wanted if found[key] != wanted[key]}

        def logs() -> str:
            return "\n".join(f"--- {one.log_path.name}\n{one.log[-3000:]}" for one in self.aggregators[-4:])

        await eventually(
            wrong,
            "no key whose total differs, as (found, committed)",
            until=lambda differing: not differing,
            timeout_s=timeout_s,
            every_s=0.5,
            context=logs,
        )
        return whole

"""Worker processes for tests, to start, kill and inspect, and their topics."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import orjson
from aiokafka import ConsumerRecord, TopicPartition

from forebay.schemas import headers as names
from forebay.stream.core.outputs import Headers
from tests.brokers.clients import consumer, create_topic, producer, read_committed, send_batch
from tests.eventually import eventually
from tests.fork_server import start_module
from tests.worker.echo import NUM_FEATURES, feature_hash
from tests.worker.structured_log import LogLine, read_log

READY_TIMEOUT_S = 90.0
"""The limit of waits, which end as soon as possible. It is long, for busy machines."""
OUTPUTS = ("predictions", "dead-letters", "outcome-deltas")
OF_THE_MODEL = ("mode", "flag", "width", "features")
"""What describes a model for tests (see `echo`) and is not a setting."""


class WorkerProcess:
    """One worker process."""

    def __init__(self, folder: Path, number: int, arguments: dict[str, Any]) -> None:
        self.log_path = folder / f"worker-{number}.log"
        with self.log_path.open("wb") as log:
            self.process = start_module("tests.worker.echo", [json.dumps(arguments)], log.fileno())

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    async def ready(self) -> None:
        """Wait until the worker reports that it is ready. Fails at once if it has ended before."""
        await self.says("worker ready")

    async def ended(self, timeout_s: float = 60.0) -> int:
        return await asyncio.to_thread(self.process.wait, timeout_s)

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def says(self, words: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until the log contains `words`. Fails at once if the worker has ended before."""

        def logged() -> bool:
            running = self.process.poll() is None  # before the log is read: its last lines count
            found = words in self.log
            assert found or running, f"the worker ended without {words!r}:\n{self.log}"
            return found

        await eventually(logged, f"{words!r} in the worker's log", timeout_s=timeout_s, context=lambda: self.log)

    @property
    def url(self) -> str:
        """The address of the admin API. The worker must be ready."""
        found = re.search(r"admin page at ([^\s\"]+)", self.log)
        assert found is not None, self.log
        return found[1]

    async def status(self) -> Any:
        """Return the status from the admin API."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/status?history=0") as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def has_in_flight(self, count: int = 1) -> None:
        """Wait until at least `count` events are in flight."""

        async def in_flight() -> int:
            return int((await self.status())["in_flight"]["events"])

        await eventually(in_flight, f"{count} events in flight", until=lambda n: n >= count, context=lambda: self.log)

    def log_lines(self) -> list[LogLine]:
        """Return the log lines of a worker that was started with `log={"format": "json"}`."""
        return read_log(self.log)

    def pause(self) -> None:
        """Send SIGSTOP: the process does nothing until `resume`. A signal sent meanwhile is the first thing that it handles."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT after `pause`, or after a failpoint has stopped the process."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


class WorkerGroup:
    """A consumer group of worker processes with its own topics. As a context manager, it kills remaining processes at its end.

    inputs, output_topics: the topics, without the prefix.
    published: the events written by `publish`, by partition: id, key and features.
    """

    def __init__(self, bootstrap: str, prefix: str, folder: Path, *, partitions: int = 4) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.folder = folder
        self.partitions = partitions
        self.inputs: tuple[str, ...] = ("features",)
        self.output_topics: tuple[str, ...] = OUTPUTS
        self.workers: list[WorkerProcess] = []
        self.published: list[list[tuple[str, str, tuple[float, ...]]]] = [[] for _ in range(partitions)]

    def __enter__(self) -> WorkerGroup:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()

    async def create(
        self,
        features: Mapping[str, str] | None = None,
        *,
        partitions: int | None = None,
        inputs: Sequence[str] = ("features",),
    ) -> None:
        """Create the topics.

        features: settings of the input topics.
        partitions: the number in each topic, if it differs from the group's.
        inputs: the input topics.
        """
        self.inputs = tuple(inputs)
        if partitions is not None:
            self.partitions = partitions
            self.published = [[] for _ in range(partitions)]
        for name in inputs:
            await create_topic(self.bootstrap, self.topic(name), self.partitions, configs=features)
        for name in OUTPUTS:
            await create_topic(self.bootstrap, self.topic(name), self.partitions)

    async def create_for_windows(self, *, partitions: int | None = None, inputs: Sequence[str] = ("features",)) -> None:
        """Create the topics of workers whose model takes windows; events of any time are kept in the input."""
        await self.create({"retention.ms": "-1"}, partitions=partitions, inputs=inputs)
        await create_topic(self.bootstrap, self.topic("late-events"), self.partitions)

    def topic(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def start(
        self,
        *,
        mode: str = "echo",
        flag: Path | None = None,
        models: Sequence[Mapping[str, Any]] | None = None,
        failpoints: dict[str, dict[str, Any]] | None = None,
        clock: dict[str, Any] | None = None,
        **sections: dict[str, Any],
    ) -> WorkerProcess:
        """Start a worker.

        mode, flag: of the only model (see `echo`).
        models: several models instead: the entry of each in [[models]], with its mode, flag, width and features for `echo`.
        clock: how its wall time jumps (see `echo`).
        The other arguments are settings that override those of tests.
        """
        settings: dict[str, Any] = {
            "kafka": {
                "bootstrap_servers": self.bootstrap,
                "group_id": self.prefix,
                "session_timeout_ms": 6000,
                "heartbeat_interval_ms": 1000,
            },
            "topics": {"prefix": f"{self.prefix}-"},
            "batch": {"max_batch_size": 64},
            "admin": {"port": 0},
            "log": {"format": "text"},
        }
        for section, values in sections.items():
            settings[section] = settings.get(section, {}) | values
        built: list[dict[str, Any]] = [{"mode": mode} if flag is None else {"mode": mode, "flag": str(flag)}]
        if models is not None:
            built = [
                {"mode": "echo"} | {name: one[name] for name in ("name", *OF_THE_MODEL) if name in one}
                for one in models
            ]
            settings["models"] = [
                {name: value for name, value in one.items() if name not in OF_THE_MODEL} for one in models
            ]
        arguments = {"models": built, "settings": settings, "failpoints": failpoints or {}}
        if clock is not None:
            arguments["clock"] = clock
        worker = WorkerProcess(self.folder, len(self.workers), arguments)
        self.workers.append(worker)
        return worker

    def kill_all(self) -> None:
        for worker in self.workers:
            worker.kill()

    async def publish(
        self, count: int, *, keys: int = 20, first_feature: float | None = None, prefix: bytes = b""
    ) -> None:
        """Publish `count` valid events with unique ids. A key always has the same partition; ids contain a number per key.

        prefix: precedes each value, such as the id of a schema.
        """
        rng = np.random.default_rng(len(self.published[0]))
        values: list[list[bytes]] = [[] for _ in range(self.partitions)]
        record_keys: list[list[bytes]] = [[] for _ in range(self.partitions)]
        for number in range(count):
            key = number % keys
            place = key % self.partitions
            features = rng.normal(size=NUM_FEATURES).astype(np.float32)
            if first_feature is not None:
                features[0] = first_feature
            serial = len(self.published[place])
            event_id = f"{place}/{serial:06d}"
            self.published[place].append((event_id, f"key-{key}", tuple(features.tolist())))
            document = {"id": event_id, "timestamp": 1_372_636_800_000 + number, "features": features.tolist()}
            values[place].append(prefix + orjson.dumps(document))
            record_keys[place].append(b"key-%d" % key)
        await self.send(values, record_keys)

    async def send(
        self,
        values: Sequence[Sequence[bytes]],
        keys: Sequence[Sequence[bytes | None]] | None = None,
        *,
        topic: str = "features",
        headers: Sequence[Sequence[Headers]] | None = None,
    ) -> None:
        """Send records by partition."""
        # All replicas: of three brokers, the leader may have records that are lost if all are stopped right afterwards.
        async with producer(self.bootstrap, acks="all", max_request_size=20 << 20, max_batch_size=20 << 20) as client:
            for place, part in enumerate(values):
                if part:
                    where = TopicPartition(self.topic(topic), place)
                    own_headers = headers[place] if headers else None
                    await send_batch(client, where, part, keys=keys[place] if keys else None, headers=own_headers)

    async def outputs(self, name: str) -> list[ConsumerRecord]:
        """Return all records of a topic, by partition and offset."""
        records = await read_committed(self.bootstrap, self.topic(name), self.partitions)
        return sorted(records, key=lambda record: (record.partition, record.offset))

    async def committed(self, topic: str = "features") -> dict[int, int | None]:
        places = [TopicPartition(self.topic(topic), number) for number in range(self.partitions)]
        async with consumer(self.bootstrap, group_id=self.prefix) as client:
            return {place.partition: await client.committed(place) for place in places}

    async def ends(self, name: str = "features") -> dict[int, int]:
        places = [TopicPartition(self.topic(name), number) for number in range(self.partitions)]
        async with consumer(self.bootstrap) as client:
            return {place.partition: offset for place, offset in (await client.end_offsets(places)).items()}

    async def settled(self, timeout_s: float = 90.0) -> None:
        """Wait until the group has committed all of the input."""
        for topic in self.inputs:
            await self.topic_settled(topic, timeout_s=timeout_s)

    async def topic_settled(self, topic: str, *, timeout_s: float = 90.0) -> None:
        """Wait until the group has committed all of this input topic."""

        async def offsets() -> tuple[dict[int, int], dict[int, int]]:
            committed = await self.committed(topic)
            return {place: offset or 0 for place, offset in committed.items()}, await self.ends(topic)

        await eventually(
            offsets,
            f"committed offsets that equal the ends of {topic}",
            until=lambda seen: seen[0] == seen[1],
            timeout_s=timeout_s,
            every_s=0.3,
            context=lambda: "\n".join(worker.log[-3000:] for worker in self.workers),
        )

    async def settled_by(self, worker: WorkerProcess) -> None:
        """Wait until everything is committed, then stop this worker."""
        await self.settled()
        assert await worker.stop() == 0, worker.log

    def check_predictions(self, records: Sequence[ConsumerRecord], *, exactly_once: bool) -> None:
        """Check that nothing is lost, each prediction belongs to its event, and first deliveries are in order per key."""
        expected = {
            event_id: (place, offset, key, features)
            for place, part in enumerate(self.published)
            for offset, (event_id, key, features) in enumerate(part)
        }
        seen: dict[str, int] = defaultdict(int)
        first_of_key: dict[str, list[str]] = defaultdict(list)
        for record in records:
            said = orjson.loads(record.value)
            place, _, key, features = expected[said["id"]]
            assert record.partition == said["source"]["partition"] == place
            assert record.key == key.encode()
            assert said["prediction"] == [feature_hash(np.array(features, dtype=np.float32))]
            seen[said["id"]] += 1
            if seen[said["id"]] == 1:
                first_of_key[key].append(said["id"])
        assert seen.keys() == expected.keys(), f"lost: {sorted(expected.keys() - seen.keys())[:5]}"
        for ids in first_of_key.values():
            assert ids == sorted(ids)
        if exactly_once:
            assert all(count == 1 for count in seen.values())


def kinds(records: Sequence[ConsumerRecord]) -> dict[str, int]:
    """Return the number of dead letters by kind."""
    counts: dict[str, int] = defaultdict(int)
    for record in records:
        counts[dict(record.headers)[names.ERROR_KIND].decode()] += 1
    return dict(counts)


def total(deltas: Sequence[ConsumerRecord], **where: str) -> int:
    """Return the sum of the counts of deltas with these field values."""
    documents = [orjson.loads(record.value) for record in deltas]
    return sum(d["count"] for d in documents if all(d[name] == value for name, value in where.items()))

"""Back-fills of real workers: killed twice, and still the same predictions as those of the live worker."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import ConsumerRecord, TopicPartition

from tests.brokers.clients import producer, read_committed, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.eventually import eventually
from tests.exactness.linear_versions import MODEL, publish_versions
from tests.fork_server import start_module
from tests.worker.harness import WorkerGroup

NUM_EVENTS = 20_000
MANY_EVENTS = int(os.environ.get("FOREBAY_BACKFILL_EVENTS", "1000000"))
"""The number of events on a real Kafka, in make test-long."""
GOOD = {"timestamp": 1, "features": [1.0, 2.0, 3.0, 4.0]}
PARTITIONS = 3


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices for what the command does; the long test has a real one."""
    return embedded_broker


class Commands:
    """Runs commands with the configuration of a group, in processes of their own."""

    def __init__(
        self, group: WorkerGroup, folder: Path, repository: Path, *, model: str = MODEL, more: str = ""
    ) -> None:
        self._folder = folder
        self._config = folder / "forebay.toml"
        self._started = 0
        self._config.write_text(
            f'[kafka]\nbootstrap_servers = "{group.bootstrap}"\ngroup_id = "{group.prefix}"\n'
            f'[topics]\nprefix = "{group.prefix}-"\n[model]\nrepository = "{repository}"\nname = "{model}"\n'
            '[batch]\nmax_batch_size = 256\n[admin]\nport = 0\n[log]\nlevel = "info"\n' + more
        )

    def start(self, *arguments: str) -> Command:
        """Start a command."""
        self._started += 1
        output = self._folder / f"command-{self._started}.log"
        with output.open("wb") as file:
            process = start_module("tests.backfill.commands", [*arguments, "-c", str(self._config)], file.fileno())
        return Command(process, output)


class Command:
    """A running command. Its output has the log and the lines of JSON."""

    def __init__(self, process: Any, output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text()

    def steps(self, step: str) -> list[dict[str, Any]]:
        """Return the documents of this kind that it has written so far."""
        lines = [line for line in self.output.splitlines() if line.startswith('{"step"')]
        return [document for line in lines if (document := json.loads(line))["step"] == step]

    async def kill_in_progress(self) -> int:
        """Kill it once it has committed something; return how many offsets were committed then, at least."""

        def progress() -> tuple[int, int]:
            assert self.process.poll() is None, self.output
            done = [int(document["done"]) for document in self.steps("progress")] or [0]
            return done[0], done[-1]

        _, known = await eventually(progress, "progress", until=lambda seen: seen[0] < seen[1], every_s=0.02)
        self.process.kill()
        self.process.wait(10)
        return known

    async def end(self) -> int:
        return await asyncio.to_thread(self.process.wait, 600.0)


def outcomes(records: Sequence[ConsumerRecord]) -> Counter[bytes]:
    """Return the multiset of predictions, with their partitions and keys, without what differs between two runs."""
    documents = [orjson.loads(record.value) for record in records]
    for document in documents:
        for field in ("predicted_at", "worker"):
            document.pop(field, None)
    return Counter(
        orjson.dumps([record.partition, record.key.decode() if record.key else None, document])
        for record, document in zip(records, documents, strict=True)
    )


async def publish_history(group: WorkerGroup, num_events: int) -> None:
    """Publish events, some that are invalid, and an aborted transaction at the end of each partition."""
    for _ in range(num_events // 5_000):
        await group.publish(5_000)  # in batches that the broker accepts
    await group.send([[b"no event"] * 5] * group.partitions)
    async with producer(group.bootstrap, transactional_id=group.topic("writer")) as writer:
        for commits in (True, False):
            await writer.begin_transaction()
            for place in range(group.partitions):
                values = [orjson.dumps(GOOD | {"id": f"{place}/{commits}/{row}"}) for row in range(5)]
                await send_batch(writer, TopicPartition(group.topic("features"), place), values)
            await (writer.commit_transaction() if commits else writer.abort_transaction())


async def test_a_backfill_that_is_killed_twice_equals_the_live_run(worker_group: WorkerGroup, tmp_path: Path) -> None:
    await check_killed_twice(worker_group, tmp_path, NUM_EVENTS, max_rate=5_000)


@pytest.mark.long
async def test_a_long_backfill_on_a_real_kafka_equals_the_live_run(kafka: Broker, names: Names, tmp_path: Path) -> None:
    with WorkerGroup(kafka.bootstrap, names.prefix, tmp_path) as group:
        await check_killed_twice(group, tmp_path, MANY_EVENTS, max_rate=MANY_EVENTS / 20)


async def check_killed_twice(group: WorkerGroup, tmp_path: Path, num_events: int, *, max_rate: float) -> None:
    """Predict a history live and by a back-fill that is killed twice, and compare both.

    max_rate: of the processes that are killed, in records per second.
    """
    publish_versions(tmp_path / "models", 2)
    commands = Commands(group, tmp_path, tmp_path / "models")
    await group.create(partitions=PARTITIONS)
    live = commands.start("run")
    await publish_history(group, num_events)
    await group.settled(600.0)
    live.process.terminate()
    assert await live.end() == 0, live.output
    live_offsets = await group.committed()
    predictions = await group.outputs("predictions")
    assert len(predictions) == num_events + 5 * PARTITIONS

    slow = ("backfill", "--run-id", "again", "--json", "--max-rate", str(max_rate))
    first = commands.start(*slow)
    known = await first.kill_in_progress()
    ends = [part["end"] for part in first.steps("plan")[0]["partitions"]]
    assert 0 < known < sum(ends)
    # Events after the start, and another version, which a new run would load: neither changes this one.
    await group.publish(300)
    publish_versions(tmp_path / "models", 1)
    second = commands.start(*slow)
    assert known < await second.kill_in_progress() < sum(ends)
    plan = second.steps("plan")[0]
    assert not plan["is_new"] and [part["end"] for part in plan["partitions"]] == ends
    third = commands.start("backfill", "--run-id", "again", "--json")
    assert await third.end() == 0, third.output

    prefix = f"{group.prefix}-backfill-again."
    again = await read_committed(group.bootstrap, f"{prefix}predictions", PARTITIONS)
    assert outcomes(again) == outcomes(predictions)
    letters = await read_committed(group.bootstrap, f"{prefix}dead-letters", PARTITIONS)
    assert len(letters) == 5 * PARTITIONS
    assert await group.committed() == live_offsets, "the live group has not moved"
    complete = third.steps("complete")[0]
    assert complete["events"] == num_events + 10 * PARTITIONS, "over all three processes"
    assert complete["outcomes"] == {"predicted": num_events + 5 * PARTITIONS, "rejected": 5 * PARTITIONS}
    assert complete["failures"] == {"not_json": 5 * PARTITIONS}
    fourth = commands.start("backfill", "--run-id", "again", "--json")
    assert await fourth.end() == 0, fourth.output
    finished = fourth.steps("complete")[0]
    assert finished["was_complete"] and finished["events"] == complete["events"]


async def test_several_processes_wait_for_the_live_group_and_end_together(
    worker_group: WorkerGroup, tmp_path: Path
) -> None:
    publish_versions(tmp_path / "models", 1)
    group, commands = worker_group, Commands(worker_group, tmp_path, tmp_path / "models")
    await group.create(partitions=PARTITIONS)
    live = commands.start("run")
    await group.publish(3_000)
    await group.settled()
    live.process.terminate()
    assert await live.end() == 0, live.output
    await group.publish(600)  # which are not predicted yet

    run = (
        "backfill",
        "--run-id",
        "both",
        "--json",
        "--processes",
        "2",
        "--max-lag-of",
        group.prefix,
        "--max-lag",
        "500",
    )
    waiting = commands.start(*run)
    await eventually(lambda: len(waiting.steps("progress")) >= 3, "progress", context=lambda: waiting.output)
    assert waiting.steps("progress")[-1]["done"] == 0, "the lag of 600 is above the limit"
    live = commands.start("run")
    await group.settled()
    assert await waiting.end() == 0, waiting.output
    live.process.terminate()
    assert await live.end() == 0, live.output
    complete = waiting.steps("complete")[0]
    assert complete["outcomes"] == {"predicted": 3_600}
    again = await read_committed(group.bootstrap, f"{group.prefix}-backfill-both.predictions", PARTITIONS)
    assert outcomes(again) == outcomes(await group.outputs("predictions"))

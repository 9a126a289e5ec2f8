"""Totals in error-aggregates equal the committed deltas exactly, whatever happens to the aggregators. On a real Kafka.

FOREBAY_EXACTNESS_SEED and FOREBAY_EXACTNESS_SECONDS choose the long run.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson
import pytest

from forebay.schemas.aggregates import LATE
from tests.aggregate.harness import PARTITIONS, AggregatorGroup, AggregatorProcess, Counted, DeltaFeed
from tests.brokers.apache import ApacheKafka
from tests.conftest import Names
from tests.exactness.proof import SECONDS_VARIABLE, SEED_VARIABLE, tell

SETTLE_S = 90.0
FROZEN_S = (1.0, 9.0)
"""Below and above the session timeout of 6 s: after the longer ones, it still writes as a member that was presumed dead."""


async def test_counts_are_exact_when_an_aggregator_is_killed_and_another_joins(
    aggregator_group: AggregatorGroup,
) -> None:
    await aggregator_group.create()
    rng = random.Random(7)
    feed = DeltaFeed(aggregator_group, "w0", rng)
    first = aggregator_group.start()
    await first.says("aggregator ready")
    feeding = asyncio.create_task(feed.run(9.0))
    await asyncio.sleep(2.0)
    first.kill()
    second, third = aggregator_group.start(), aggregator_group.start()
    await second.says("aggregator ready")
    await third.says("aggregator ready")
    await feeding
    assert feed.num_aborted > 5 and feed.num_committed > 20
    await aggregator_group.until_totals_are(feed.committed, SETTLE_S)
    assert await second.stop() == 0 and await third.stop() == 0, second.log + third.log
    assert "Traceback" not in second.log + third.log


@pytest.mark.exactness
async def test_closed_buckets_are_removed_and_later_deltas_count_as_late(
    aggregator_group: AggregatorGroup,
) -> None:
    await aggregator_group.create()
    feed = DeltaFeed(aggregator_group, "w0", random.Random(11))
    # Of the feed's windows those of two minutes ago are over at once, and there are always more deltas of them.
    options = {"closed_after_ms": 60_000, "final_after_ms": 0}
    for _ in range(2):
        process = aggregator_group.start(**options)
        await process.says("aggregator ready")
        await feed.run(1.5)
        process.kill()
    last = aggregator_group.start(**options)
    await last.says("aggregator ready")
    await feed.run(1.0)
    found = await aggregator_group.until_totals_are(
        feed.committed, SETTLE_S, only=lambda key: key._replace(window_start=0, outcome="")
    )
    assert await last.stop() == 0, last.log
    late = sum(count for key, count in found.items() if key.outcome == LATE)
    assert 0 < late < sum(found.values())
    changelog = await aggregator_group.read("aggregator-changelog", PARTITIONS)
    assert any(record.value is None for record in changelog)
    # The mark comes before the tombstones of its partition.
    for record in changelog:
        if record.value is None:
            window_end = int(record.key.split(b"|")[1]) + 60_000
            marks = [
                orjson.loads(other.value)["closed_before"]
                for other in changelog
                if other.partition == record.partition and other.offset < record.offset and b"|position" in other.key
            ]
            assert max(marks) >= window_end


class Crowd:
    """Up to three aggregators that are killed, frozen and joined by others."""

    def __init__(self, aggregator_group: AggregatorGroup, rng: random.Random) -> None:
        self._group = aggregator_group
        self._random = rng
        self._members: list[AggregatorProcess] = []
        self._frozen: dict[AggregatorProcess, float] = {}
        self.tally: Counter[str] = Counter()

    def keep_up(self) -> None:
        """Replace those that ended, and wake those that were frozen for long enough."""
        now_s = time.monotonic()
        for member in list(self._members):
            if member.process.poll() is not None:
                self._members.remove(member)
                self._frozen.pop(member, None)
                if member.process.returncode not in (0, -signal.SIGKILL):
                    self.tally["ended by themselves"] += 1
            elif member in self._frozen and now_s >= self._frozen[member]:
                del self._frozen[member]
                member.process.send_signal(signal.SIGCONT)
        while len(self._members) < 2:
            self._members.append(self._group.start())
            self.tally["started"] += 1

    def disturb(self) -> None:
        free = [member for member in self._members if member not in self._frozen]
        if not free:
            return
        member, action = self._random.choice(free), self._random.choice(("kill", "kill", "freeze", "dismiss", "join"))
        self.tally[action] += 1
        if action == "kill":
            member.process.kill()
        elif action == "freeze":
            member.process.send_signal(signal.SIGSTOP)
            self._frozen[member] = time.monotonic() + self._random.choice(FROZEN_S)
        elif action == "dismiss":
            member.process.send_signal(signal.SIGTERM)
        elif len(self._members) < 3:
            self._members.append(self._group.start())

    def calm(self) -> None:
        for member in self._frozen:
            member.process.send_signal(signal.SIGCONT)
        self._frozen.clear()


async def storm(
    aggregator_group: AggregatorGroup, rng: random.Random, seconds: float, *, gap_s: tuple[float, float]
) -> dict[str, object]:
    """Run the feeds of two workers and disturb the aggregators every few seconds; then compare the totals."""
    crowd = Crowd(aggregator_group, rng)
    feeds = [DeltaFeed(aggregator_group, f"w{number}", rng) for number in range(2)]
    feeding = [asyncio.create_task(feed.run(seconds, per_s=15.0)) for feed in feeds]
    next_s = time.monotonic() + 8.0
    while not all(task.done() for task in feeding):
        crowd.keep_up()
        if time.monotonic() >= next_s:
            crowd.disturb()
            next_s = time.monotonic() + rng.uniform(*gap_s)
        await asyncio.sleep(0.1)
    await asyncio.gather(*feeding)
    crowd.calm()
    crowd.keep_up()
    committed: Counter[Counted] = feeds[0].committed + feeds[1].committed
    await aggregator_group.until_totals_are(committed, SETTLE_S)
    logs = "".join(process.log for process in aggregator_group.aggregators)
    return {
        "seconds": seconds,
        "deltas": sum(feed.num_committed for feed in feeds) * 4,
        "aborted_transactions": sum(feed.num_aborted for feed in feeds),
        "events": sum(committed.values()),
        "keys": len(committed),
        "done": dict(crowd.tally),
        "gaps": logs.count("records were lost between fetch and processing"),
        "tracebacks": logs.count("Traceback"),
    }


@pytest.mark.exactness
@pytest.mark.timeout(900)
async def test_counts_are_exact_after_many_kills_freezes_and_rebalances(
    private_kafka: Callable[[Mapping[str, str]], ApacheKafka], names: Names, tmp_path: Path
) -> None:
    server = await asyncio.to_thread(private_kafka, {"group.min.session.timeout.ms": "1000"})
    with AggregatorGroup(server.bootstrap, names.prefix, tmp_path) as aggregator_group:
        await aggregator_group.create()
        seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(1 << 32))
        seconds = float(os.environ.get(SECONDS_VARIABLE) or 90)
        try:
            report = await storm(aggregator_group, random.Random(seed), seconds, gap_s=(2.0, 7.0))
            tell({"name": "aggregators in a storm", "seed": seed, **report})
        except BaseException as error:
            error.add_note(f"{SEED_VARIABLE}={seed}, logs in {tmp_path}")
            raise


@pytest.mark.exactness
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [3.0, 40.0], ids=["short", "longer than a write may take"])
async def test_counts_are_exact_after_a_broker_was_unreachable(
    private_kafka: Callable[[Mapping[str, str]], ApacheKafka], names: Names, tmp_path: Path, seconds: float
) -> None:
    """The aggregator continues by itself, or ends with a reason and continues after a restart."""
    server = await asyncio.to_thread(private_kafka, {})
    with AggregatorGroup(server.bootstrap, names.prefix, tmp_path) as aggregator_group:
        await aggregator_group.create()
        feed = DeltaFeed(aggregator_group, "w0", random.Random(5))
        first = aggregator_group.start()
        await first.says("aggregator ready")
        await feed.run(3.0)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(server.restart)
        await feed.run(3.0)
        await asyncio.sleep(5.0)
        ended = first.process.poll()
        print(f"after {seconds:g} s without a broker it {'continues' if ended is None else f'ended with {ended}'}")
        if ended is not None:
            assert ended == 1 and "error: " in first.log, first.log
            assert "Traceback" not in first.log, first.log
            await aggregator_group.start().says("aggregator ready")
        await aggregator_group.until_totals_are(feed.committed, SETTLE_S)

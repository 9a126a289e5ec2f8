"""Totals in error-aggregates equal the committed deltas exactly, whatever happens to the aggregators. On a real Kafka."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from tests.aggregate.stage import AggregateStage, DeltaFeed
from tests.brokers.resolve import Broker
from tests.conftest import Names

SETTLE_S = 60.0


async def test_killed_and_joined_by_another_it_counts_what_is_committed(
    kafka: Broker, names: Names, tmp_path: Path
) -> None:
    stage = AggregateStage(kafka.bootstrap, names.prefix, tmp_path)
    await stage.create()
    rng = random.Random(7)
    feed = DeltaFeed(stage, "w0", rng)
    try:
        first = stage.start()
        await first.says("aggregator ready")
        feeding = asyncio.create_task(feed.run(9.0))
        await asyncio.sleep(2.0)
        first.kill()
        second, third = stage.start(), stage.start()
        await second.says("aggregator ready")
        await third.says("aggregator ready")
        await feeding
        assert feed.num_aborted > 5 and feed.num_committed > 20
        await stage.until_totals_are(feed.committed, SETTLE_S)
        assert await second.stop() == 0 and await third.stop() == 0, second.log + third.log
        assert "Traceback" not in second.log + third.log
    finally:
        stage.kill_all()

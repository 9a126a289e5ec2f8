"""A changelog leader that does not respond: unconfirmed deltas are not acknowledged, and late writes change nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.aggregate.harness import AggregatorGroup, DeltaFeed
from tests.brokers.ports import free_ports
from tests.brokers.proxy import ApiKey, Proxy
from tests.brokers.resolve import RealKafka
from tests.conftest import Names

HELD_S = 4.0
"""Longer than the 2.8 s that Faust waits between two commits."""


@pytest.mark.exactness
async def test_deltas_are_acknowledged_after_the_changelog_write_and_late_writes_change_nothing(
    private_kafka: Callable[[Mapping[str, str]], RealKafka], names: Names, tmp_path: Path
) -> None:
    direct, proxied = free_ports(2)
    listeners = {
        "listeners": "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port},"
        f"PROXIED://127.0.0.1:{direct}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{{port}},PROXIED://127.0.0.1:{proxied}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
    }
    server = await asyncio.to_thread(private_kafka, listeners)
    with AggregatorGroup(server.bootstrap, names.prefix, tmp_path) as aggregator_group:
        await aggregator_group.create()
        feed = DeltaFeed(aggregator_group, "w0", random.Random(3))
        async with Proxy(proxied, direct).listening() as proxy:
            first = aggregator_group.start(bootstrap=proxy.bootstrap)
            await first.says("aggregator ready")
            hold = proxy.hold_request(ApiKey.PRODUCE)
            await feed.run(1.0)
            async with asyncio.timeout(60):
                await hold.reached.wait()
            await asyncio.sleep(HELD_S)
            assert not any((await aggregator_group.committed_offsets()).values())
            first.kill()
            second = aggregator_group.start()
            await second.says("aggregator ready")
            await feed.run(1.0)
            await aggregator_group.until_totals_are(feed.committed, 60)
            # What the first had under way arrives only now, after its successor's own writes.
            hold.release()
            await asyncio.sleep(1.0)
            second.kill()
            third = aggregator_group.start()
            await third.says("aggregator ready")
            await feed.run(1.0)
            await aggregator_group.until_totals_are(feed.committed, 60)
            assert await third.stop() == 0, third.log

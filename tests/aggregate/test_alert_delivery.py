"""The way of an alert from committed deltas to the topic and the webhook: delivered once, although the aggregator is killed."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from tests.aggregate.harness import AggregatorGroup, DeltaFeed
from tests.eventually import eventually

RULES: list[dict[str, Any]] = [
    {"name": "any failure", "count": 0, "window_s": 3600, "severity": "critical"},
    {"name": "never", "rate": 0.99},
]


@pytest.mark.slow
async def test_an_alert_is_published_once_by_any_number_of_aggregators(
    aggregator_group: AggregatorGroup, unused_tcp_port_factory: Callable[[], int]
) -> None:
    got: list[dict[str, Any]] = []
    answers = [503, 503]

    async def receive(request: web.Request) -> web.Response:
        if answers:
            return web.Response(status=answers.pop())
        got.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/alerts", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    port = unused_tcp_port_factory()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await aggregator_group.create()
    options = {"alerts": RULES, "webhook_url": f"http://127.0.0.1:{port}/alerts"}
    feed = DeltaFeed(aggregator_group, "w0", random.Random(5))
    try:
        first = aggregator_group.start(**options)
        await first.says("aggregator ready")
        await feed.run(1.0)
        await first.says("alert firing: any failure: count ")
        await eventually(lambda: len(got), "two alerts at the webhook", until=lambda count: count >= 2)
        first.kill()
        second = aggregator_group.start(**options)
        await second.says("aggregator ready")
        await feed.run(1.0)
        await aggregator_group.until_totals_are(feed.committed, 60)
        await asyncio.sleep(1.0)
        assert await second.stop() == 0, second.log
        assert "alert firing" not in second.log
        alerts = [orjson.loads(record.value) for record in await aggregator_group.read("alerts", 1)]
    finally:
        await runner.cleanup()

    def by_model(alert: dict[str, Any]) -> str:
        return str(alert["model"])

    assert sorted(got, key=by_model) == sorted(alerts, key=by_model)
    assert sorted(map(by_model, alerts)) == ["late", "price"] and alerts[0]["alert_id"] != alerts[1]["alert_id"]
    for alert in alerts:
        assert (alert["rule"], alert["status"], alert["severity"]) == ("any failure", "firing", "critical")
    # What people see of it.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "forebay", "errors", "--json", "-c", str(aggregator_group.config())),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    shown = json.loads(out)
    assert shown["events"] == sum(feed.committed.values())
    assert shown["failures"] == sum(count for key, count in feed.committed.items() if key.outcome != "predicted")

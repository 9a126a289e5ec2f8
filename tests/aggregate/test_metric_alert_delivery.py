"""Alerts about metrics, from the topics of workers and evaluators to the topic `alerts`, by a real aggregator."""

from __future__ import annotations

import time

import numpy as np
import orjson
import pytest

from forebay.schemas.failures import Outcome, Stage
from forebay.stream.output.ledger import Delta, DeltaKey, encode_delta
from forebay.stream.publish.publisher import Publisher
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.sums import QualitySums
from forebay.stream.quality.wire import QualityParts, encode_parts
from forebay.stream.rollouts.performance import LatencyHistogram, Performance
from tests.aggregate.harness import AggregatorGroup
from tests.brokers.clients import create_topic

MINUTE_MS = 60_000
RULES = [
    {"name": "slow", "category": "performance", "metric": "latency_p99_ms", "above": 100, "window_s": 600},
    {"name": "worse", "category": "quality", "metric": "accuracy", "below": 0.8, "min_matched": 50},
    {"name": "drifted", "category": "drift", "metric": "drift"},
]


def slow_delta(now_ms: int) -> bytes:
    histogram = LatencyHistogram.of(np.array([0.5]), np.array([20]))
    performance = Performance(rows=20, calls=1, latency=histogram, model_time=histogram)
    key = DeltaKey(now_ms // MINUTE_MS * MINUTE_MS, Outcome.PREDICTED, Stage.EMIT, "predicted", "m", 3)
    delta = Delta(count=20, first_seen=now_ms, last_seen=now_ms)
    return encode_delta(key, delta, worker="w", performance=performance)[1]


def quality(window: int, *, group: str, right: int, wrong: int) -> bytes:
    sums = QualitySums(Task.BINARY, 2)
    scores, ones = np.full((right + wrong, 1), 0.7, np.float32), np.ones(right + wrong, np.int64)
    sums.add_predictions(scores, ones)
    sums.add_pairs(scores, ones, np.repeat([1.0, 0.0], [right, wrong]), np.zeros(right + wrong, np.int64))
    key = QualityKey("m", 3, window * 3_600_000)
    return encode_parts(key, QualityParts(sums=sums), window_s=3600, group=group, worker="e")[1]


async def publish(group: AggregatorGroup, topic: str, value: bytes, *, at_ms: int) -> None:
    publisher = Publisher({"bootstrap_servers": group.bootstrap}, group.topic(topic))
    await publisher.start()
    try:
        await publisher.send([b"k"], [value], timestamp_ms=at_ms)
        await publisher.flush()
    finally:
        await publisher.stop()


@pytest.mark.long
async def test_rules_about_metrics_fire_and_resolve_and_another_aggregator_continues(
    aggregator_group: AggregatorGroup,
) -> None:
    evaluators = f"{aggregator_group.prefix}-evaluate"
    await aggregator_group.create()
    await create_topic(aggregator_group.bootstrap, aggregator_group.topic("quality"), 1)
    last_minute_ms = time.time_ns() // 1_000_000 // MINUTE_MS * MINUTE_MS - 1000
    await publish(aggregator_group, "outcome-deltas", slow_delta(last_minute_ms), at_ms=last_minute_ms)
    await publish(aggregator_group, "quality", quality(100, group=evaluators, right=10, wrong=90), at_ms=last_minute_ms)
    first = aggregator_group.start(alerts=RULES)
    await first.says("alert firing: slow: m v3: latency_p99_ms")
    await first.says("alert firing: worse: m v3: accuracy 0.1 < 0.8 (100 labels in 300 s)")
    # The topic of drift does not exist. The other rules are evaluated nevertheless.
    await first.says("cannot evaluate the alert rules about")
    first.kill()
    await publish(aggregator_group, "quality", quality(101, group=evaluators, right=95, wrong=5), at_ms=last_minute_ms)
    second = aggregator_group.start(alerts=RULES)
    await second.says("alert resolved: worse: m v3: resolved, accuracy 0.95")
    assert await second.stop() == 0, second.log
    assert "alert firing: worse" not in second.log
    alerts = [orjson.loads(record.value) for record in await aggregator_group.read("alerts", 1)]
    by_rule = {rule: [alert for alert in alerts if alert["rule"] == rule] for rule in ("slow", "worse")}
    assert [alert["status"] for alert in by_rule["worse"]] == ["firing", "resolved"]
    assert len({alert["alert_id"] for alert in by_rule["worse"]}) == 1
    assert by_rule["slow"][0]["value"] == pytest.approx(500, rel=0.1)

"""A real evaluator joins the predictions of all topics, also with one that has none."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import orjson
import pytest

from forebay.stream.config.decision_section import DecisionSection, Route
from forebay.stream.config.sections import EvaluateSection, KafkaSection, Settings, TopicsSection
from forebay.stream.core.records import TopicPartition
from forebay.stream.evaluate.topics import create_evaluator_topics
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.quality.wire import decode_quality
from tests.brokers.clients import consumer, producer, read, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.evaluate.records import Polled, label, prediction

PATIENCE_S = 60.0


@pytest.fixture
def broker(embedded_broker: Broker) -> Broker:
    """The embedded broker suffices: all inputs and the quality are in one transaction."""
    return embedded_broker


async def test_an_evaluator_reads_all_topics_with_predictions(broker: Broker, names: Names) -> None:
    routes = ({"topic": "high", "label": 1}, {"topic": "idle", "label": 0, "min_confidence": 1.0})
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=broker.bootstrap),
        topics=TopicsSection(prefix=names(""), partitions=2),
        evaluate=EvaluateSection(enabled=True),
        decision=DecisionSection(min_confidence=0.6, routes=tuple(Route(**route) for route in routes)),
    )
    await create_topics(settings)
    await create_evaluator_topics(settings, dry_run=False)
    sent: dict[str, Sequence[Polled]] = {
        "predictions": [prediction(0), prediction(1)],
        "high": [prediction(2)],
        "review": [prediction(3, decision="abstain", reason="low_confidence"), prediction(4)],
        "labels": [label(number) for number in (0, 2, 3)],
    }
    async with producer(broker.bootstrap) as client:
        for topic, records in sent.items():
            values = [record.value for record in records if record.value is not None]
            await send_batch(client, TopicPartition(names(topic), 1), values)
    environment = {
        "FOREBAY_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap,
        "FOREBAY_KAFKA__GROUP_ID": names("group"),
        "FOREBAY_TOPICS__PREFIX": names(""),
        "FOREBAY_EVALUATE__ENABLED": "true",
        "FOREBAY_EVALUATE__COMMIT_INTERVAL_MS": "100",
        "FOREBAY_DECISION__MIN_CONFIDENCE": "0.6",
        "FOREBAY_DECISION__ROUTES": orjson.dumps(routes).decode(),
        "FOREBAY_ADMIN__ENABLED": "false",
    }
    evaluator = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "forebay", "evaluate", env={**os.environ, **environment}
    )
    try:
        counted = matched = 0
        async with consumer(broker.bootstrap, names("quality")) as reader:
            while (counted, matched) != (5, 3):
                (record,) = await read(reader, 1, timeout_s=PATIENCE_S)
                sums = decode_quality(record.value).sums
                if sums is not None:
                    counted, matched = counted + sums.predictions, matched + sums.matched
        evaluator.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(evaluator.wait(), PATIENCE_S) == 0
    finally:
        if evaluator.returncode is None:
            evaluator.kill()
            await evaluator.wait()

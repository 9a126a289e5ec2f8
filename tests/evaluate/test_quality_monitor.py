"""The quality of all partitions, as an evaluator follows it."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiokafka import TopicPartition

from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.clock import SystemClock
from forebay.stream.evaluate import quality_monitor
from forebay.stream.evaluate.quality_monitor import QualityMonitor
from forebay.stream.quality.keys import QualityKey
from forebay.stream.quality.view import QualityView
from forebay.stream.quality.wire import QualityParts, encode_parts
from tests.brokers.clients import create_topic, producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.eventually import eventually
from tests.quality.samples import binary

HOUR = 3_600_000


def record(window: int, seed: int, *, slice_name: str = "") -> bytes:
    key = QualityKey("late", 3, window, slice_name)
    return encode_parts(key, QualityParts(sums=binary(250, seed).sums()), window_s=3600, group="g", worker="w")[1]


async def test_records_of_all_partitions_are_added_once_also_after_an_error(
    embedded_broker: Broker, names: Names, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(quality_monitor, "POLL_S", 0.05)
    topic, window = names("quality"), time.time_ns() // 1_000_000 // HOUR * HOUR
    await create_topic(embedded_broker.bootstrap, topic, 2)
    seen: list[int] = []

    def on_view(view: QualityView) -> None:
        total = view.total("late", 3)
        if total is not None and not caplog.records:
            raise ZeroDivisionError("in a metric")
        seen.append(0 if total is None else total.predictions)

    options = {"bootstrap_servers": embedded_broker.bootstrap}
    monitor = QualityMonitor(options, topic, group="g", span_ms=HOUR, on_view=on_view, clock=SystemClock())
    running = asyncio.create_task(monitor.run())
    try:
        async with producer(embedded_broker.bootstrap) as writer:
            for partition in (0, 1):
                values = [record(window - hour * HOUR, partition) for hour in (0, 1, 2, 5)]
                await send_batch(
                    writer, TopicPartition(topic, partition), [*values, record(window, 1, slice_name="a=b")]
                )
            await eventually(lambda: seen[-1:], "the predictions of three windows", until=lambda last: last == [1500])
            await send_batch(writer, TopicPartition(topic, 1), [record(window, 9)])
            await eventually(lambda: seen[-1:], "the new record", until=lambda last: last == [1750])
    finally:
        await cancel_until_done(running)
    assert "the topic is read again" in caplog.text
    (subject,) = monitor.report().to_dict()["quality"]
    assert subject["total"]["predictions"] == 1250
    assert subject["windows"][1]["estimate"]["labelled"] == 1000

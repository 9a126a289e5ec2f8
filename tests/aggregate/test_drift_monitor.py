"""The drift of models in the metrics of the active aggregator."""

from __future__ import annotations

import numpy as np
import pytest
from aiokafka import TopicPartition

from forebay.stream.aggregate.drift_monitor import DriftMonitor
from forebay.stream.config.sections import DriftSection, KafkaSection, Settings, TopicsSection
from forebay.stream.drift.wire import encode_drift
from forebay.stream.telemetry.metric_store import MetricStore
from forebay.stream.telemetry.prometheus import render_page
from tests.brokers.clients import create_topic, producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.core.build import JULY, ManualClock
from tests.drift.build import WINDOW_MS, CountingWorker, bins_of, key_of, signature_of

WINDOW = JULY // WINDOW_MS


def window_of(factor: float) -> bytes:
    """Return a record of a window in which column x0 is `factor` times what it was in the training."""
    rng = np.random.default_rng(0)
    x_NF = rng.normal(5, 1, size=(5_000, 2)).astype(np.float32)
    worker = CountingWorker(bins_of(signature_of(2), x_NF))
    x_NF[:, 0] *= factor
    return encode_drift(worker.count(key_of(WINDOW), x_NF), worker="w", number=1)[1]


async def test_the_last_judged_windows_and_findings_are_metrics_of_the_active_process(
    embedded_broker: Broker, names: Names
) -> None:
    topic, clock = names("drift"), ManualClock()
    # The broker would remove records that are older than the topic's retention.
    await create_topic(embedded_broker.bootstrap, topic, 1, configs={"retention.ms": "-1"})
    async with producer(embedded_broker.bootstrap) as writer:
        values = [window_of(1_000.0), b"not a record"]
        await send_batch(writer, TopicPartition(topic, 0), values, timestamps=[JULY + WINDOW_MS] * 2)
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers=embedded_broker.bootstrap),
        topics=TopicsSection(prefix=names("")),
        drift=DriftSection(enabled=True),
    )
    active = [True]
    monitor, store = DriftMonitor(settings, is_active=lambda: active[0], clock=clock), MetricStore()

    def metrics() -> str:
        monitor.record(store)
        return render_page(store.snapshot(), accept="")[0].decode()

    try:
        clock.advance(2 * WINDOW_MS / 1000)
        await monitor.update()
        assert {(one["column"], one["kind"]) for one in monitor.to_dict()["findings"]} == {("x0", "skew")}
        page = metrics()
        labels = 'column="x0",column_kind="number",measure="out_of_range",model="flights",version="1"'
        assert f"forebay_drift_share_ratio{{{labels}}} 1" in page, page
        assert 'forebay_drift_psi{column="x1",column_kind="number",model="flights",version="1"} 0.0' in page
        assert 'forebay_drift_rows{model="flights",version="1"} 5000' in page
        assert 'forebay_drift_findings{level="alarm",model="flights",version="1"} 2' in page
        clock.advance(6 * WINDOW_MS / 1000)
        await monitor.update()
        page = metrics()
        assert "forebay_drift_psi{" not in page, "the version is no longer served"
        assert 'forebay_drift_findings{level="alarm",model="flights",version="1"} 0' in page
    finally:
        active[0] = False
        await monitor.update()
    assert "forebay_drift_findings{" not in metrics()


class FailingMonitor(DriftMonitor):
    async def update(self) -> None:
        raise ZeroDivisionError("in judging")


async def test_an_error_in_judging_is_logged_once_and_does_not_end_the_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    monitor = FailingMonitor(Settings(), is_active=lambda: True, clock=ManualClock())
    for _ in range(2):
        await monitor.try_update()
        assert monitor.to_dict()["error"] == "ZeroDivisionError: in judging"
    assert [record.message for record in caplog.records] == ["the drift of models is not known: judging failed"]

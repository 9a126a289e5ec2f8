"""A point of the growth benchmark on the embedded broker."""

from __future__ import annotations

from pathlib import Path

from benchmarks.growth.points import Load
from benchmarks.growth.subject import Size, measure, save_models
from tests.brokers.resolve import Broker


async def test_a_worker_is_measured_at_rest_at_a_rate_and_while_it_drains_a_topic(
    embedded_broker: Broker, tmp_path: Path
) -> None:
    load = Load(features=4)
    save_models(tmp_path / "models", [load])
    size = Size(events=4_000, rate=200, latency_s=1)
    result = await measure(load, size, servers=embedded_broker.bootstrap, folder=tmp_path, guarantee="exactly_once")
    assert result.events == 4_000
    assert 0 < result.cpu_us < 10_000 and result.events_per_s > 0
    assert 50 < result.rest_mib <= result.peak_mib
    assert result.p50_ms is not None and result.p99_ms is not None and 0 < result.p50_ms <= result.p99_ms

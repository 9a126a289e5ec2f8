"""The arithmetic of `forebay bench --advise`, with given measurements."""

from __future__ import annotations

import dataclasses
import io
import math

import orjson
import pytest
from rich.console import Console

from forebay.stream.bench.advice import Advice, Measured, Wish, advise, helm_values
from forebay.stream.bench.advice_report import advice_to_dict, advice_to_table, helm_lines, measured_lines
from forebay.stream.bench.batch_cost import BatchCost, CpuSpan, fit_cost
from forebay.stream.config.sections import BatchSection, ObjectiveSection, TopicsSection

MEASURED = Measured(
    cores=8,
    free_mib=16_000,
    cost=BatchCost(a_us=2_000, b_us=4.0, error=0.05),
    batch_limit=4_096,
    batches_per_s=150,
    rest_mib=200,
    peak_mib=300,
    peak_in_flight_mib=60,
    event_bytes=300,
    prediction_bytes=250,
    model_us=0.5,
    latency_rate=2_000,
    p50_ms=20,
    p99_ms=40,
    commit_ms=8,
)


def value(advice: Advice, name: str) -> str:
    (line,) = (line for line in advice.lines if line.name == name)
    return line.value


def test_the_cost_is_fitted_to_small_and_large_micro_batches() -> None:
    def span(events: int, batches: int) -> CpuSpan:
        return CpuSpan(events, batches, (2_000 * batches + 4 * events) / 1e6)

    cost = fit_cost([span(1_000, 700), span(10_000, 800), span(400_000, 100)])
    assert (cost.a_us, cost.b_us) == (pytest.approx(2_000), pytest.approx(4.0))
    assert cost.error == pytest.approx(0, abs=1e-9)
    assert cost.of(1_000) == pytest.approx(6_000) and cost.per_event(1_000) == pytest.approx(6.0)


def test_no_part_of_the_cost_is_negative() -> None:
    # More time per event in larger micro-batches: a straight line would begin below zero.
    cost = fit_cost([CpuSpan(1_000, 1_000, 0.001), CpuSpan(100_000, 10, 1.0)])
    assert cost.a_us >= 0 and cost.b_us >= 0 and 0 < cost.error < 1
    alone = fit_cost([CpuSpan(400_000, 100, 2.0)])
    assert (alone.a_us, alone.b_us) == (0, pytest.approx(5.0))
    with pytest.raises(ValueError, match="no CPU time"):
        fit_cost([CpuSpan(0, 0, 0.0)])


def test_the_arithmetic_from_a_rate_to_processes_and_partitions() -> None:
    advice = advise(MEASURED, Wish(rate=300_000))
    # S(4,096) / 4,096 = 4.488 µs. At most 10 % more is 4.937 µs: 2,000 / n <= 0.937, so of the powers of two n = 4,096.
    assert advice.batch_size == 4_096
    event_us = (2_000 + 4 * 4_096) / 4_096
    usable = 0.6 * 1e6 / event_us
    assert advice.processes == math.ceil(300_000 / usable) == 3
    # At least three for each process, and twice the rate needs 5 processes; a multiple of 3.
    assert advice.partitions == 9
    # 100,000 events/s × 4 µs and up to 150 micro-batches/s × 2,000 µs are 0.7 cores; / 0.6, at most 1.
    assert advice.cpu_request == 1.0
    assert (advice.memory_request_mib, advice.memory_limit_mib) == (320, 640)
    capacity = 3e6 / event_us
    assert advice.drain_minutes == pytest.approx(10 * 300_000 / (capacity - 300_000))
    assert (advice.bytes_in_per_s, advice.bytes_out_per_s) == (90e6, 75e6)
    assert advice.devices == 0 and advice.problems == ()
    assert value(advice, "processes") == "3"
    assert value(advice, "written to disks by the brokers") == "495.0 MB/s"


def test_a_cheaper_start_of_a_batch_permits_smaller_ones() -> None:
    measured = dataclasses.replace(MEASURED, cost=BatchCost(100, 4.0, 0.0))
    # 4.024 × 1.1 = 4.427 µs: 100 / n <= 0.427.
    assert advise(measured, Wish(rate=1_000)).batch_size == 256


def test_a_low_rate_has_small_micro_batches() -> None:
    advice = advise(MEASURED, Wish(rate=1_000))
    # 150 micro-batches/s × 2,000 µs + 1,000 × 4 µs = 0.304 cores; / 0.6 = 0.507, rounded up.
    assert (advice.processes, advice.partitions, advice.cpu_request) == (1, 3, 0.6)
    assert value(advice, "CPU used by a process") == "0.30 cores"
    # Never more micro-batches than events.
    tiny = advise(MEASURED, Wish(rate=10))
    assert tiny.cpu_request == 0.1 and "10 micro-batches/s × 2,000 µs" in tiny.lines[6].how


def test_a_wished_latency_limits_the_micro_batch() -> None:
    # A quarter of 50 ms is 12.5 ms: (12,500 - 2,000) / 4 = 2,625 events, so 2,048.
    advice = advise(MEASURED, Wish(rate=300_000, p99_ms=50))
    assert advice.batch_size == 2_048
    assert advice.problems == ()
    assert value(advice, "CPU time of an event") == f"{(2_000 + 4 * 2_048) / 2_048:.2f} µs"
    assert any("was not measured" in text for text in advice.assumptions)


def test_wishes_that_cannot_be_met_are_named() -> None:
    (commit,) = (text for text in advise(MEASURED, Wish(1_000, p99_ms=7)).problems if "commits" in text)
    assert commit.startswith("a p99 of 7 ms cannot be met: half of the commits took over 8.0 ms")
    (latency,) = advise(MEASURED, Wish(1_000, p99_ms=30)).problems
    assert latency.startswith("a p99 of 30 ms was not met here: it was 40.0 ms at 2,000 events/s")
    slow = dataclasses.replace(MEASURED, cost=BatchCost(50_000, 100, 0.0))
    assert any("one event takes 50.1 ms" in text for text in advise(slow, Wish(10, p99_ms=100)).problems)
    (cores,) = advise(MEASURED, Wish(5_000_000)).problems
    assert "this machine has 8: use 5 machines like it" in cores
    (memory,) = advise(dataclasses.replace(MEASURED, free_mib=500), Wish(300_000)).problems
    assert memory == "3 processes need 960 MiB, and this machine has 500 MiB to spare"


def test_windows_and_devices_are_counted() -> None:
    measured = dataclasses.replace(MEASURED, window_bytes=2_048.0, device="cuda:0", model_us=10.0)
    advice = advise(measured, Wish(rate=300_000, open_windows=300_000))
    # 100,000 windows × 2,048 bytes = 195.3 MiB, and 300 MiB before.
    assert advice.memory_request_mib == 512
    # 300,000 × 10 µs = 3 busy devices; / 0.6.
    assert advice.devices == 5
    assert any("open windows" in text for text in advise(MEASURED, Wish(1_000, open_windows=5)).assumptions)


def test_headroom_growth_and_event_bytes_are_those_of_the_wish() -> None:
    advice = advise(MEASURED, Wish(rate=200_000, headroom=1.0, growth=8, event_bytes=1_000))
    assert advice.processes == 1
    # 8 × 200,000 events/s need 8 processes.
    assert advice.partitions == 8
    assert advice.bytes_in_per_s == 200e6
    assert any("1,000 bytes cost as much" in text for text in advice.assumptions)
    assert math.isinf(advise(MEASURED, Wish(rate=1e6 / 4.48828125, headroom=1.0)).drain_minutes)


@pytest.mark.parametrize(
    "wish", [Wish(0), Wish(1, headroom=0), Wish(1, headroom=1.5), Wish(1, growth=0.5), Wish(1, p99_ms=0)]
)
def test_wishes_without_meaning_are_refused(wish: Wish) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        advise(MEASURED, wish)


def test_the_values_of_the_chart_are_settings_of_the_worker() -> None:
    wish = Wish(rate=300_000, p99_ms=50)
    values = helm_values(advise(MEASURED, wish), wish)
    config = values["config"]
    assert isinstance(config, dict)
    assert BatchSection(**config["batch"]).max_batch_size == 2_048
    assert ObjectiveSection(**config["objective"]).p99_ms == 50
    assert TopicsSection(**config["topics"]).replication_factor == 3
    assert list(helm_lines(advise(MEASURED, wish), wish))[:5] == [
        "replicaCount: 3",
        "resources:",
        "  requests:",
        "    cpu: 1000m",
        "    memory: 320Mi",
    ]


def test_the_report_shows_each_step() -> None:
    wish = Wish(rate=300_000)
    advice = advise(MEASURED, wish)
    console = Console(file=io.StringIO(), width=160)
    console.print(advice_to_table(advice))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "S(4,096) / 4,096 = 18,384 µs / 4,096" in text
    lines = list(measured_lines(MEASURED))
    assert lines[0].endswith("S(n) = 2,000 µs + 4.00 µs · n, off by at most 5%")
    document = orjson.loads(orjson.dumps(advice_to_dict(MEASURED, wish, advice, {"broker": "b"})))
    assert document["advice"]["processes"] == 3 and document["helm_values"]["replicaCount"] == 3

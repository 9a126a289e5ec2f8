"""The verdict of a soak, and the check of its predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.soak import Plan, config_of, is_exact, model_names
from benchmarks.soak_load import PredictionOrder, number_in
from benchmarks.soak_verdict import Sample, judge, theil_sen, to_document, to_lines
from forebay.stream.config.load import load_settings


def sample(at_s: float, rss_mib: float, p99_ms: float = 50.0) -> Sample:
    return Sample(
        at_s=at_s,
        rss_mib=rss_mib,
        own_mib=rss_mib - 100,
        cpu_s=at_s / 2,
        open_files=40,
        threads=9,
        objects=10_000,
        lag=5,
        in_flight=3,
        open_windows=0,
        p50_ms=p99_ms / 2,
        p99_ms=p99_ms,
        events=int(at_s * 1_000),
    )


def test_the_slope_is_that_of_the_line_and_ignores_outliers() -> None:
    at_s = [10.0 * number for number in range(100)]
    noise = np.random.default_rng(0).normal(size=100)
    values = [300 + 36 * t / 3600 + 0.5 * e for t, e in zip(at_s, noise, strict=True)]
    values[50] = 900.0
    slope = theil_sen(at_s, values)
    assert slope.low < 36 < slope.high
    assert slope.per_hour == pytest.approx(36, abs=2)
    with pytest.raises(ValueError, match="too few"):
        theil_sen([0, 1], [0, 1])


def test_the_interval_of_the_slope_is_that_of_sen() -> None:
    # The example of Sen (1968), also in Hollander and Wolfe: the slope is 4, and its 95 % interval is from 3.7 to 4.4 or so.
    x, y = [1, 2, 3, 4, 10, 12, 18], [9, 15, 19, 20, 45, 55, 78]
    slope = theil_sen([3600.0 * value for value in x], [float(value) for value in y])
    assert slope.per_hour == pytest.approx(4.0)
    assert (slope.low, slope.high) == (pytest.approx(26 / 7, abs=0.4), pytest.approx(35 / 8, abs=0.4))


def test_memory_that_grows_and_latency_that_grows_are_found() -> None:
    flat = [sample(10.0 * n, 300 + n % 3) for n in range(60)]
    assert judge(flat, warm_up_s=60, exact=True).passed
    assert not judge(flat, warm_up_s=60, exact=False).passed
    grows = judge([sample(10.0 * n, 300 + 0.1 * n) for n in range(60)], warm_up_s=60, exact=True)
    assert (grows.memory_flat, grows.latency_flat) == (False, True)
    slower = judge([sample(10.0 * n, 300, 50 + n) for n in range(60)], warm_up_s=60, exact=True)
    assert (slower.memory_flat, slower.latency_flat) == (True, False)
    # What grows before the end of the warm-up is not judged.
    assert judge([sample(10.0 * n, min(300, 100 + 20 * n)) for n in range(60)], warm_up_s=100, exact=True).passed
    with pytest.raises(ValueError, match="--minutes"):
        judge(flat[:10], warm_up_s=60, exact=True)


def test_the_report_names_the_verdict() -> None:
    samples = [sample(10.0 * n, 300) for n in range(60)]
    verdict = judge(samples, warm_up_s=60, exact=True)
    text = "\n".join(to_lines(verdict, samples, {"published events": 5}))
    assert "| resident memory, slope | +0.0 MiB/h (95 %: +0.0 to +0.0) |" in text
    assert "| published events | 5 |" in text and "| **counts** | **exact** |" in text
    assert "| CPU of the worker, share of a core | 50% |" in text
    assert to_document(verdict, samples, {})["verdict"]["passed"]


def test_predictions_out_of_order_are_found() -> None:
    order = PredictionOrder(num_partitions=2)
    for number in (1, 3, 5):
        order.add(1, b'{"id":"event-%d","prediction":[0.5]}' % number)
    order.add(0, b'{"id":"key-1/60000"}')
    assert (order.read, order.fault, order.last) == (3, "", [-1, 5])
    assert order.expected([0, 3]) == 3
    order.add(1, b'{"id":"event-5"}')
    assert order.fault == "event 5 after 5 in partition 1"
    elsewhere = PredictionOrder(num_partitions=2)
    elsewhere.add(0, b'{"id":"event-1"}')
    assert elsewhere.fault


def test_with_several_models_only_one_predicts_single_events() -> None:
    order = PredictionOrder(num_partitions=2, num_models=3)
    # Numbers 0, 2, 4 and 6 in partition 0; 1 and 3 in partition 1. Multiples of three: 0, 6 and 3.
    assert order.expected([4, 2]) == 3
    assert number_in(b'{"id":"event-12","model":"m"}') == 12


def test_counts_are_exact_only_if_all_agree() -> None:
    counts = {"published": 9, "outcomes": 9, "expected": 3, "read": 3, "windows": 2, "of windows": 2}
    order = PredictionOrder(1)
    assert is_exact(counts, order)
    for name in counts:
        assert not is_exact(counts | {name: counts[name] + 1}, order)
    order.fault = "event 1 after 1"
    assert not is_exact(counts, order)


@pytest.mark.parametrize("windows", [False, True])
def test_the_configuration_is_valid(windows: bool, tmp_path: Path) -> None:
    plan = Plan(1, 0.4, None, windows, partitions=4, events=1_000, interval_s=1, warm_up_s=0)
    path = tmp_path / "forebay.toml"
    path.write_text(config_of(plan, servers="h:1", repository=tmp_path, run_id="r"))
    served = load_settings(path, {}).settings.models_to_serve()
    assert [model.model.name for model in served] == model_names(plan)
    assert [model.window.kind for model in served] == ["none", "tumbling", "session"][: len(served)]

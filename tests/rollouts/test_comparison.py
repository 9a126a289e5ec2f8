"""The paired comparison of a shadow with the version that served."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from forebay.stream.rollouts.comparison import PairedComparison, Side, agreement_interval


def side(
    values: Sequence[Sequence[float]],
    classes: Sequence[int] | None = None,
    *,
    failed: Sequence[int] = (),
    call_s: float = 0.01,
    num_rows: int = 4,
) -> Side:
    values_BO = np.array(values, dtype=np.float32)
    failed_B = np.isin(np.arange(len(values_BO)), list(failed))
    classes_B = None if classes is None else np.array(classes, dtype=np.int64)
    return Side(values_BO, classes_B, failed_B, call_s=call_s, num_rows=num_rows)


def compared(primary: Side, shadow: Side) -> PairedComparison:
    comparison = PairedComparison()
    comparison.add(primary, shadow)
    return comparison


def test_classes_agree_or_not() -> None:
    found = compared(side([[0.9], [0.2], [0.6], [0.5]], [1, 0, 1, 0]), side([[0.8], [0.7], [0.6], [0.1]], [1, 1, 1, 0]))
    assert (found.events, found.agreed, found.disagreed) == (4, 3, 1)
    assert found.differences.largest == pytest.approx(0.5)
    assert found.mean_difference == pytest.approx(0.0, abs=1e-6)


def test_failures_are_counted_by_side_and_are_not_compared() -> None:
    primary = side([[0.1], [np.nan], [0.3], [np.nan]], [0, 0, 0, 0], failed=[1, 3])
    shadow = side([[0.1], [0.2], [np.nan], [np.nan]], [0, 0, 1, 1], failed=[2, 3])
    found = compared(primary, shadow)
    assert (found.primary_failures, found.shadow_failures, found.both_failed) == (1, 1, 1)
    assert (found.agreed, found.disagreed, found.differences.count) == (1, 0, 1)
    assert found.differences.largest == 0.0


def test_the_difference_of_several_outputs_is_the_largest() -> None:
    found = compared(side([[0.1, 0.9], [0.5, 0.5]]), side([[0.2, 0.8], [0.1, 0.9]]))
    assert found.differences.largest == pytest.approx(0.4)
    assert (found.agreed, found.mean_difference) == (0, None)


def test_versions_with_different_outputs_are_compared_by_their_classes_only() -> None:
    found = compared(side([[0.1, 0.9]], [1]), side([[0.2, 0.7, 0.1]], [1]))
    assert (found.agreed, found.incomparable, found.differences.count) == (1, 1, 0)


def test_the_mean_difference_has_a_sign() -> None:
    found = compared(side([[1.0], [2.0]]), side([[1.5], [3.5]]))
    assert found.mean_difference == pytest.approx(1.0)
    assert found.to_dict()["agreement"]["share"] is None


def test_latencies_are_compared_by_call_and_by_event() -> None:
    found = compared(side([[0.0]] * 4, call_s=0.010, num_rows=8), side([[0.0]] * 4, call_s=0.010, num_rows=4))
    latency = found.to_dict()["latency"]
    assert latency["primary"]["p50_ms"] == latency["shadow"]["p50_ms"] == pytest.approx(10, rel=0.1)
    assert latency["time_ratio"] == pytest.approx(2.0)


def test_time_by_event_is_cpu_time_where_it_is_known() -> None:
    # The shadow waited for the stream: its calls took longer, and cost less.
    primary = side([[0.0]], call_s=0.010)._replace(cpu_s=0.008)
    found = compared(primary, side([[0.0]], call_s=0.030)._replace(cpu_s=0.004))
    assert found.time_ratio == pytest.approx(0.5)
    assert found.to_dict()["latency"]["shadow"]["p50_ms"] == pytest.approx(30, rel=0.1)


def test_parts_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(5)
    primary = side(rng.random((40, 1)).tolist(), rng.integers(0, 2, 40).tolist(), failed=[3, 17])
    shadow = side(rng.random((40, 1)).tolist(), rng.integers(0, 2, 40).tolist(), failed=[3, 30])
    first, second = (
        compared(
            *(
                Side(s.values_BO[p], s.classes_B[p], s.failed_B[p], call_s=s.call_s, num_rows=s.num_rows)
                for s in (primary, shadow)
            )
        )  # type: ignore[index]
        for p in (slice(0, 11), slice(11, 40))
    )
    first.merge(second)
    whole = compared(primary, shadow)
    assert json.dumps(first.to_dict(), sort_keys=True)[:200] == json.dumps(whole.to_dict(), sort_keys=True)[:200]
    assert first.signed_total == pytest.approx(whole.signed_total)
    assert first.differences.quantile(0.9) == whole.differences.quantile(0.9)


def test_the_interval_of_the_agreement_is_wilsons() -> None:
    low, high = agreement_interval(980, 1000)
    assert (low, high) == (pytest.approx(0.96930, abs=1e-4), pytest.approx(0.98701, abs=1e-4))
    assert agreement_interval(5, 5)[1] == 1.0
    assert 0.5 < agreement_interval(5, 5)[0] < 0.6


def test_an_empty_comparison_is_json() -> None:
    document = json.loads(json.dumps(PairedComparison().to_dict()))
    assert document["events"] == 0
    assert document["latency"]["time_ratio"] is None

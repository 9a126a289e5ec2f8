"""The computation of the report from handwritten ledgers."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from forebay.schemas.failures import FAILURES, FailureKind, Outcome
from forebay.stream.demo.ledger import Ledger
from forebay.stream.demo.render import live_stats, live_table, report_text
from forebay.stream.demo.report import build_report, latency, quality

UNKNOWN = -1


def ledger(count: int, sent: int | None = None) -> Ledger:
    made = Ledger([f"e{place}" for place in range(count)])
    made.record_sent(
        0, count if sent is None else sent, [10.0 + place for place in range(count if sent is None else sent)]
    )
    return made


def labels(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int8)


def test_one_outcome_per_event_is_exact_and_the_line_adds_up() -> None:
    book = ledger(4)
    book.record_prediction("e0", 0.9, 10.010)
    book.record_prediction("e2", 0.2, 12.020)
    book.record_dead_letter("e1", "missing_value", "delay is null", 11.030)
    assert not book.complete
    book.record_dead_letter("e3", "model_error", "it raised", 13.040)
    assert book.complete
    report = build_report(book, labels(1, 0, 0, UNKNOWN))
    assert report.exact
    assert report.outcomes == {"predicted": 2, "rejected": 1, "failed": 1}
    assert report.conservation() == "4 events in = 2 predicted + 1 rejected + 1 failed"
    assert report.seconds == pytest.approx(3.04)
    assert report.throughput == pytest.approx(4 / 3.04)
    assert [(error.kind, error.count, error.example) for error in report.errors] == [
        ("missing_value", 1, "delay is null"),
        ("model_error", 1, "it raised"),
    ]


def test_missing_duplicated_and_unexpected_outcomes_are_counted_and_named() -> None:
    book = ledger(15)
    book.record_prediction("e0", 0.9, 10.5)
    book.record_prediction("e0", 0.1, 11.0)
    book.record_dead_letter("e0", "not_json", "x", 11.5)
    book.record_prediction("e99", 0.5, 12.0)
    book.record_unexpected("unreadable prediction at offset 7")
    book.record_dead_letter("e1", "brand_new_kind", "?", 12.0)
    report = build_report(book, np.full(15, UNKNOWN, dtype=np.int8))
    assert not report.exact
    assert (report.missing, report.duplicated, report.unexpected) == (13, 1, 2)
    assert report.missing_ids == tuple(f"e{place}" for place in range(2, 12))
    assert report.duplicated_ids == ("e0",)
    assert report.unexpected_ids == ("e99", "unreadable prediction at offset 7")
    assert report.outcomes == {"predicted": 1, "rejected": 0, "failed": 1}
    assert report.conservation().endswith("+ 13 missing")
    # The first outcome is what counts: the second came later, and with another probability.
    assert report.latency_ms is not None and report.latency_ms.p50 == pytest.approx((500 + 1000) / 2)
    assert [error.kind for error in report.errors] == ["brand_new_kind"]
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize("what", ["missing", "duplicated", "unexpected"])
def test_each_deviation_alone_is_not_exact(what: str) -> None:
    book = ledger(2)
    book.record_prediction("e0", 0.9, 10.5)
    if what != "missing":
        book.record_prediction("e1", 0.9, 11.5)
    if what == "duplicated":
        book.record_prediction("e1", 0.9, 11.5)
    if what == "unexpected":
        book.record_prediction("e2", 0.9, 11.5)
    assert not build_report(book, labels(0, 1)).exact


def test_only_sent_events_are_reported() -> None:
    book = ledger(10, sent=2)
    book.record_prediction("e0", 0.9, 10.5)
    book.record_prediction("e1", 0.9, 11.5)
    report = build_report(book, np.zeros(10, dtype=np.int8))
    assert (report.events, report.missing, report.exact) == (2, 0, True)


def test_a_report_without_sent_events_does_not_divide_by_zero() -> None:
    report = build_report(Ledger(["a"]), labels(0))
    assert (report.events, report.seconds, report.throughput) == (0, 0.0, 0.0)
    assert report.latency_ms is None and report.quality is None


def test_each_kind_counts_as_its_outcome_in_the_table_of_failures() -> None:
    book = ledger(len(FailureKind))
    for place, kind in enumerate(FailureKind):
        book.record_dead_letter(f"e{place}", str(kind), "why", 99.0)
    rejected = sum(spec.outcome is Outcome.REJECTED for spec in FAILURES.values())
    assert book.num_with(Outcome.REJECTED) == rejected
    assert book.num_with(Outcome.FAILED) == len(FAILURES) - rejected


def test_ids_must_be_unique() -> None:
    with pytest.raises(ValueError, match="unique"):
        Ledger(["a", "a"])


def test_latency_counts_from_the_due_time_without_missing_events() -> None:
    due, readable = np.arange(100.0), np.arange(100.0) + np.arange(1, 101) / 1000
    waited = latency(due, readable)
    assert waited is not None
    assert (waited.p50, waited.p95, waited.p99, waited.most) == pytest.approx((50.5, 95.05, 99.01, 100.0))
    readable[50:] = np.nan
    assert latency(due, readable) == pytest.approx(latency(due[:50], readable[:50]))  # type: ignore[comparison-overlap]
    assert latency(due, np.full(100, np.nan)) is None


def test_quality_covers_predicted_events_with_a_known_label() -> None:
    found = quality(labels(1, 0, 0, 0, UNKNOWN, 1), np.array([0.8, 0.4, 0.6, 0.1, 0.9, np.nan], dtype=np.float32))
    assert found is not None
    assert found.rows == 4
    assert found.base_rate == 0.25
    assert found.accuracy == 0.75  # the third was called late
    assert found.base_accuracy == 0.75
    assert found.roc_auc == 1.0
    assert found.log_loss == pytest.approx(-np.mean(np.log([0.8, 0.6, 0.4, 0.9])), rel=1e-6)
    assert found.base_log_loss == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)))


def test_quality_of_a_single_class_and_of_no_events() -> None:
    found = quality(labels(0, 0), np.array([0.5, 0.5], dtype=np.float32))
    assert found is not None and found.roc_auc is None and found.base_log_loss == 0.0 and found.base_accuracy == 1.0
    assert quality(labels(UNKNOWN), np.array([0.5], dtype=np.float32)) is None
    assert quality(labels(1), np.array([np.nan], dtype=np.float32)) is None


@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["p", "r", "f"])), max_size=60))
def test_the_counts_always_add_up(arrivals: list[tuple[int, str]]) -> None:
    book = ledger(10)
    for place, what in arrivals:
        if what == "p":
            book.record_prediction(f"e{place}", 0.5, 100.0)
        else:
            book.record_dead_letter(f"e{place}", "not_json" if what == "r" else "model_error", "why", 100.0)
    report = build_report(book, np.zeros(10, dtype=np.int8))
    assert sum(report.outcomes.values()) + report.missing == report.events == 10
    assert report.unexpected == sum(place >= 10 for place, _ in arrivals)
    inside = [place for place, _ in arrivals if place < 10]
    assert report.exact == (sorted(inside) == list(range(10)) and report.unexpected == 0)
    assert sum(book.kinds.values()) == report.outcomes["rejected"] + report.outcomes["failed"]


def shown(renderable: object) -> str:
    console = Console(width=80, record=True, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_the_text_report_is_complete_and_fits_a_terminal() -> None:
    book = ledger(50_000)
    for place in range(48_000):
        book.record_prediction(f"e{place}", 0.7 if place % 3 == 0 else 0.2, 20.0 + place)
    for place in range(48_000, 50_000):
        book.record_dead_letter(
            f"e{place}", "missing_value", "feature 'dep_delay' is null and must have a value", 20.0 + place
        )
    truth = np.array([place % 3 == 0 for place in range(50_000)], dtype=np.int8)
    text = shown(report_text(build_report(book, truth)))
    for part in (
        "50,000 events in = 48,000 predicted + 2,000 rejected + 0 failed",
        "✓ every event has exactly one outcome",
        "p50 10,000 ms",
        "100.0%",
        "base rate",
        "missing_value",
    ):
        assert part in text
    assert all(len(line) <= 80 for line in text.splitlines())
    book.record_prediction("e5", 0.1, 99_999.0)
    text = shown(report_text(build_report(book, truth)))
    assert "✗ not every event has exactly one outcome" in text and "1 with more than one outcome: e5" in text


def test_the_live_table_fits_a_terminal_and_counts_the_latest_second() -> None:
    book = ledger(200_000)
    for place in range(100):
        book.record_prediction(f"e{place}", 0.5, 10.0 + place + 0.025)
    seen = live_stats(book, now_s=109.5)
    assert seen.rate == 1.0 and seen.p50_ms == pytest.approx(25.0)
    lines = shown(live_table(seen, 200_000)).splitlines()
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert "199,900" in lines[-1]
    assert live_stats(book, now_s=500.0).p50_ms is None


def test_the_bar_grows_with_the_sent_events() -> None:
    bars = [shown(live_table(live_stats(ledger(100, sent), 0.0), 100)).splitlines()[0] for sent in (0, 50, 100)]
    assert all(before != after for before, after in pairwise(bars)) and bars[1].strip().endswith("50%")

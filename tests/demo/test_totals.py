"""Comparison of the aggregator's totals with the ledger's."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from forebay.stream.aggregate.aggregate_reader import Aggregate
from forebay.stream.aggregate.delta import CellKey
from forebay.stream.demo.evaluated import EvaluatedVersion
from forebay.stream.demo.ledger import Ledger
from forebay.stream.demo.render import report_text
from forebay.stream.demo.report import build_report
from forebay.stream.demo.totals import Totals, compare

PREDICTED = CellKey("predicted", "emit", "predicted")
MISSING = CellKey("rejected", "decode", "missing_value")


def aggregate(cell: CellKey, count: int) -> Aggregate:
    return Aggregate(
        window_start=0,
        window_end=60_000,
        cell=cell,
        model="m",
        version=1,
        count=count,
        first_seen=0,
        last_seen=1,
        sample_ids=(),
        exemplar=None,
        revision=1,
        final=False,
    )


def ledger() -> Ledger:
    """Return a ledger with three predictions and a dead letter."""
    book = Ledger(["a", "b", "c", "d"])
    book.record_sent(0, 4, 1.0)
    for event_id in "abc":
        book.record_prediction(event_id, 0.5, 1.1)
    book.record_dead_letter("d", "missing_value", "delay is null", 1.2)
    return book


def evaluated(*, matched: int, accuracy: float, version: int = 1) -> EvaluatedVersion:
    return EvaluatedVersion(
        model="m", version=version, predictions=3, matched=matched, accuracy=accuracy, roc_auc=None, log_loss=0.69
    )


@pytest.mark.parametrize(
    ("aggregates", "equal"),
    [
        ([(PREDICTED, 1), (PREDICTED, 2), (MISSING, 1)], True),
        ([(PREDICTED, 2), (MISSING, 1)], False),
        ([(PREDICTED, 3)], False),
        ([(PREDICTED, 3), (MISSING, 2)], False),
        ([(PREDICTED, 4)], False),
        ([(PREDICTED, 3), (CellKey("rejected", "decode", "not_json"), 1)], False),
        # In whichever window it was counted.
        ([(PREDICTED, 3), (MISSING._replace(outcome="late"), 1)], True),
        ([], False),
    ],
)
def test_the_sums_of_all_buckets_are_compared_by_kind(aggregates: list[tuple[CellKey, int]], equal: bool) -> None:
    assert compare([aggregate(*one) for one in aggregates], ledger()).equal is equal


@pytest.mark.parametrize(
    ("totals", "passed", "line"),
    [
        (Totals(3, {"missing_value": 1}, True), True, "✓ same counts: 3 predicted + 1 missing_value"),
        (Totals(2, {}, False), False, "✗ different counts: 2 predicted"),
        (None, True, ""),
    ],
)
def test_the_report_shows_whether_the_counts_agree(totals: Totals | None, passed: bool, line: str) -> None:
    counted = ledger()
    counted.evaluated = (evaluated(matched=3, accuracy=2 / 3),)
    report = build_report(counted, np.array([1, 0, 1, -1], dtype=np.int8), totals)
    assert report.exact and report.passed is passed
    console = Console(width=120)
    with console.capture() as capture:
        console.print(report_text(report))
    assert line in capture.get() and ("Aggregator" in capture.get()) is (totals is not None)


@pytest.mark.parametrize(
    ("versions", "passed"),
    [
        ([evaluated(matched=3, accuracy=2 / 3)], True),
        ([evaluated(matched=2, accuracy=1.0), evaluated(version=2, matched=1, accuracy=0.0)], True),
        ([evaluated(matched=3, accuracy=1.0)], False),
        ([evaluated(matched=2, accuracy=1.0)], False),
        ([], False),
    ],
)
def test_the_report_compares_the_evaluator_with_its_own_figures(versions: list[EvaluatedVersion], passed: bool) -> None:
    counted = ledger()
    counted.evaluated = tuple(versions)
    report = build_report(counted, np.array([1, 0, 1, -1], dtype=np.int8))
    assert report.passed is passed
    console = Console(width=120)
    with console.capture() as capture:
        console.print(report_text(report))
    for version in versions:
        assert f"{'✓' if passed else '✗'} {version.line()}" in capture.get()

"""The detector, on simulated days of traffic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from forebay.stream.drift.detector import MAX_GOOD_AGE, Detector, WindowState
from forebay.stream.drift.findings import DriftFinding, FindingKind
from forebay.stream.drift.measures import DriftThresholds, Level, Measure
from tests.drift.build import COLOURS, CountingWorker, FloatMatrix, bins_of, end_of, key_of, signature_of

NUM_NUMBERS = 5
SIGNATURE = signature_of(NUM_NUMBERS, categories=COLOURS)
COLOUR = NUM_NUMBERS
THRESHOLDS = DriftThresholds()
K = THRESHOLDS.windows


class Traffic:
    """Rows of a model, and the detector that judges them."""

    def __init__(self, *, complete_from_ms: int | None = None) -> None:
        self.rng = np.random.default_rng(0)
        self.worker = CountingWorker(bins_of(SIGNATURE, self.rows(20_000)))
        self.detector = Detector(THRESHOLDS, complete_from_ms=complete_from_ms)
        self.window = 100

    def rows(self, count: int) -> FloatMatrix:
        x_NF = self.rng.normal(10, 2, size=(count, NUM_NUMBERS)).astype(np.float32)
        x_NF[self.rng.random(x_NF.shape) < 0.02] = np.nan
        return np.column_stack([x_NF, self.rng.integers(0, 3, count).astype(np.float32)])

    def run(
        self, windows: int, change: Callable[[FloatMatrix], None] | None = None, *, rows: int = 2_000
    ) -> list[DriftFinding]:
        """Return the findings after further windows."""
        findings: list[DriftFinding] = []
        for _ in range(windows):
            x_BF = self.rows(rows)
            if change is not None:
                change(x_BF)
            self.detector.add(self.worker.record(key_of(self.window), x_BF))
            findings = self.detector.advance(end_of(self.window))
            self.window += 1
        return findings


def test_a_day_without_drift_has_no_finding() -> None:
    rng = np.random.default_rng(5)
    worker = CountingWorker(bins_of(signature_of(32), rng.standard_normal((20_000, 32), np.float32)))
    detector = Detector(THRESHOLDS)
    for window in range(288):
        x_BF = rng.standard_normal((2_000, 32), np.float32)
        detector.add(worker.record(key_of(window), x_BF))
        assert detector.advance(end_of(window)) == []
    verdicts = detector.history(key_of(0).ref)
    assert len(verdicts) == 288 and all(verdict.state is WindowState.JUDGED for verdict in verdicts)
    assert all(column.level is None for verdict in verdicts for column in verdict.columns)


def test_few_training_rows_are_no_drift() -> None:
    rng = np.random.default_rng(6)
    signature = signature_of(200)
    x_NF = rng.standard_normal((79, 200), np.float32)
    worker = CountingWorker(bins_of(signature, x_NF))
    detector = Detector(THRESHOLDS)
    for window in range(K):
        x_BF = rng.standard_normal((2_000, 200), np.float32)
        x_BF[:, 0] += 1
        detector.add(worker.record(key_of(window), x_BF))
        found = detector.advance(end_of(window))
    assert ("x0", Level.ALARM) in {(one.column, one.level) for one in found}
    columns = detector.history(key_of(0).ref)[-1].columns[1:200]
    values = [value for column in columns if (value := column.value(Measure.PSI)) is not None]
    assert len(values) == 199 and np.mean(values) < 0.05, "0.12 with the bias"
    assert sum(column.level is not None for column in columns) <= 20, "two thirds, with the bias"


def test_a_shift_by_a_standard_deviation_is_found_after_k_windows() -> None:
    traffic = Traffic()
    assert traffic.run(10) == []

    def shift(x_BF: FloatMatrix) -> None:
        x_BF[:, 2] += 2

    assert traffic.run(K - 1, shift) == []
    findings = traffic.run(1, shift)
    assert {(one.column, one.level, one.kind, one.windows) for one in findings} == {
        ("x2", Level.ALARM, FindingKind.DRIFT, K)
    }
    assert {one.measure for one in findings} == {Measure.PSI, Measure.PSI_RECENT}
    assert traffic.run(1) == [], "it ends with the first good window"


def test_unseen_categories_are_found_after_k_windows() -> None:
    traffic = Traffic()
    traffic.run(K)

    def unseen(x_BF: FloatMatrix) -> None:
        x_BF[::10, COLOUR] = len(COLOURS)

    assert traffic.run(K - 1, unseen) == []
    (finding,) = traffic.run(1, unseen)
    assert (finding.column, finding.measure, finding.level) == ("colour", Measure.UNSEEN, Level.ALARM)
    assert "10.0% unknown categories, 0.0% in the training data" in finding.text


def test_missing_values_are_found_in_both_directions() -> None:
    traffic = Traffic()
    traffic.run(K)

    def missing(x_BF: FloatMatrix) -> None:
        x_BF[: len(x_BF) // 5, 1] = np.nan

    findings = traffic.run(K, missing)
    assert [(one.column, one.measure) for one in findings] == [("x1", Measure.MISSING)]

    def filled(x_BF: FloatMatrix) -> None:
        x_BF[np.isnan(x_BF[:, 3]), 3] = 10

    findings = traffic.run(K, filled)
    assert [(one.column, one.measure, one.level) for one in findings] == [("x3", Measure.MISSING, Level.WARN)]


def test_a_unit_error_in_the_first_window_is_skew_of_that_column() -> None:
    def thousandfold(x_BF: FloatMatrix) -> None:
        x_BF[:, 4] *= 1_000

    traffic = Traffic()
    findings = traffic.run(1, thousandfold)
    assert {(one.column, one.level, one.kind) for one in findings} == {("x4", Level.ALARM, FindingKind.SKEW)}
    assert {one.measure for one in findings} == {Measure.PSI, Measure.OUT_OF_RANGE}
    assert "flights version 1: feature x4: PSI" in findings[0].text
    assert ", mean 1e+04 instead of 10 (since" in findings[0].text
    findings = traffic.run(5, thousandfold)
    assert {one.kind for one in findings} == {FindingKind.SKEW}
    assert traffic.run(1) == []
    assert traffic.run(1, thousandfold) == [], "it is no longer new: k windows are needed"


def test_swapped_columns_are_skew_of_both() -> None:
    traffic = Traffic()

    x_NF = traffic.rows(20_000)
    x_NF[:, 0] += 5
    traffic.worker = CountingWorker(bins_of(SIGNATURE, x_NF))

    def exchange(x_BF: FloatMatrix) -> None:
        x_BF[:, 0] += 5
        x_BF[:, [0, 3]] = x_BF[:, [3, 0]]

    assert {one.column for one in traffic.run(1, exchange)} == {"x0", "x3"}


def test_a_version_that_was_served_before_is_not_new() -> None:
    def thousandfold(x_BF: FloatMatrix) -> None:
        x_BF[:, 4] *= 1_000

    traffic = Traffic(complete_from_ms=key_of(99).window_start)
    assert traffic.run(K - 1, thousandfold) == []
    assert {one.kind for one in traffic.run(1, thousandfold)} == {FindingKind.DRIFT}


def test_a_window_with_too_few_rows_is_not_judged_and_changes_nothing() -> None:
    traffic = Traffic()
    traffic.run(K)

    def shift(x_BF: FloatMatrix) -> None:
        x_BF[:, 2] += 2

    traffic.run(K - 1, shift)
    assert traffic.run(1, shift, rows=900) == []
    verdict = traffic.detector.history(key_of(0).ref)[-1]
    assert (verdict.state, verdict.rows, verdict.columns) == (WindowState.TOO_FEW_ROWS, 900, ())
    assert {one.column for one in traffic.run(1, shift)} == {"x2"}


def test_the_number_of_training_rows_is_known_if_one_worker_writes_it() -> None:
    traffic = Traffic()
    first, second = (traffic.worker.count(key_of(0), traffic.rows(10)) for _ in range(2))
    for column in first.columns:
        column.reference_rows = None
    first.merge(second)
    assert [column.reference_rows for column in first.columns] == [column.reference_rows for column in second.columns]
    assert (first.columns[0].reference_rows or 0) > 19_000


def test_workers_are_summed_and_repeated_records_are_not() -> None:
    traffic = Traffic()
    other = CountingWorker(traffic.worker.bins, name="worker-2")
    first = traffic.worker.record(key_of(0), traffic.rows(600))
    for record in (first, other.record(key_of(0), traffic.rows(500)), first):
        traffic.detector.add(record)
    assert traffic.detector.advance(key_of(0).window_end) == []
    assert traffic.detector.history(key_of(0).ref) == (), "workers may still write"
    traffic.detector.advance(end_of(0))
    (verdict,) = traffic.detector.history(key_of(0).ref)
    assert (verdict.rows, verdict.state) == (1_100, WindowState.JUDGED)
    traffic.detector.add(other.record(key_of(0), traffic.rows(500)))
    assert traffic.detector.late_records == 1


def test_findings_end_when_the_version_is_no_longer_served() -> None:
    traffic = Traffic()
    traffic.run(1)

    def thousandfold(x_BF: FloatMatrix) -> None:
        x_BF[:, 4] *= 1_000

    assert traffic.run(1, thousandfold)
    assert traffic.detector.advance(end_of(traffic.window + 1))
    assert traffic.detector.advance(end_of(traffic.window + K + 2)) == []


def test_a_jump_within_the_range_of_the_training_is_found_and_then_accepted() -> None:
    rng = np.random.default_rng(3)
    worker = CountingWorker(bins_of(signature_of(1), rng.normal(0, 1, (20_000, 1)).astype(np.float32)))
    detector = Detector(DriftThresholds(warn=0.2, alarm=0.3))
    found = []
    for window, mean in enumerate([-0.3] * 5 + [0.35] * (MAX_GOOD_AGE + 5)):
        x_BF = rng.normal(mean, 1, (2_000, 1)).astype(np.float32)
        detector.add(worker.record(key_of(window), x_BF))
        found.append({one.measure for one in detector.advance(end_of(window))})
    first = 5 + K - 1
    assert found[:first] == [set()] * first
    assert found[first : 5 + MAX_GOOD_AGE] == [{Measure.PSI_RECENT}] * (MAX_GOOD_AGE - K + 1)
    assert found[-1] == set()


def test_classes_of_windows_with_wrong_features_are_not_what_later_ones_are_compared_with() -> None:
    rng = np.random.default_rng(4)
    x_NF = rng.normal(0, 1, (20_000, 1)).astype(np.float32)
    worker = CountingWorker(bins_of(signature_of(1), x_NF, x_NF[:, 0]))
    detector = Detector(THRESHOLDS)
    for window, factor in enumerate([1_000.0] * K + [1.0] * K):
        x_BF = np.abs(rng.normal(0, 1, (2_000, 1))).astype(np.float32) if factor > 1 else x_NF[:2_000]
        detector.add(worker.record(key_of(window), x_BF * np.float32(factor), x_BF[:, 0]))
        findings = detector.advance(end_of(window))
        assert bool(findings) == (factor > 1)
    classes = [verdict.columns[-1].value(Measure.PSI_RECENT) for verdict in detector.history(key_of(0).ref)]
    assert classes[: K + 1] == [None] * (K + 1), "nothing to compare with until the first good window"
    assert classes[-1] == 0

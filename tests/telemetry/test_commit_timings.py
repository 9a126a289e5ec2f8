"""The summary of the last commits, from the times that every observer receives."""

from __future__ import annotations

from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes
from forebay.stream.telemetry.commit_timings import MAX_COMMITS, CommitTimings

LEDGER = Ledger()


def test_the_summary_is_empty_without_commits() -> None:
    timings = CommitTimings()
    assert len(timings) == 0 and timings.summary() == {}


def test_only_the_last_commits_count() -> None:
    timings = CommitTimings()
    timings.on_committed(
        [], LEDGER, CommitTimes(began=0.0, emit=0.0, begin=9.0, deliveries=9.0, positions=9.0, end=9.0)
    )
    for _ in range(MAX_COMMITS):
        timings.on_committed(
            [], LEDGER, CommitTimes(began=0.0, emit=8.0, begin=8.25, deliveries=8.75, positions=9.75, end=11.75)
        )
    assert len(timings) == MAX_COMMITS
    assert {step: percentiles["p99_ms"] for step, percentiles in timings.summary().items()} == {
        "begin": 250.0,
        "deliveries": 500.0,
        "positions": 1000.0,
        "end": 2000.0,
    }, "without the first commit and without the time for building the records"

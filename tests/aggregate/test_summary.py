"""The summary that `forebay errors` prints."""

from __future__ import annotations

import json

from forebay.stream.aggregate.aggregate_reader import AggregateView
from forebay.stream.aggregate.delta import CellKey, Exemplar
from forebay.stream.aggregate.render import no_errors_text, summary_text
from forebay.stream.aggregate.state import PartitionState
from forebay.stream.aggregate.summary import summarise
from forebay.stream.terminal.console import stdout_console
from tests.aggregate.build import MODEL_ERROR, NOT_JSON, PREDICTED, TIMING, at, delta


def view_of(*deltas: object) -> AggregateView:
    view, state = AggregateView(), PartitionState(0)
    for offset, one in enumerate(deltas):
        state.apply(offset, at(3), one)  # type: ignore[arg-type]
    for key, value in state.take_updates(None, TIMING):
        view.upsert(key, value)
    return view


VIEW = view_of(
    delta(0, PREDICTED, 80),
    delta(0, NOT_JSON, 15, sample_ids=("a", "b")),
    delta(2, NOT_JSON, 3, sample_ids=("b", "c")),
    delta(2, PREDICTED, 100),
    delta(2, MODEL_ERROR, 2, exemplar=Exemplar("IndexError: …", "1", "File m.py")),
    delta(2, PREDICTED, 50, model="other"),
)


def text_of(what: object) -> str:
    console = stdout_console()
    console.width = 200
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_buckets_are_added_up_by_kind_and_model() -> None:
    summary = summarise(VIEW, since_ms=at(0))
    (first, one), (second, other) = summary.ranked()
    assert (first.kind, one.count, one.sample_ids) == ("not_json", 18, ["a", "b", "c"])
    assert (one.first_seen, one.last_seen) == (at(0) + 10, at(2) + 20)
    assert (second.kind, other.count) == ("model_error", 2)
    assert (summary.num_events, summary.num_failures) == (250, 20)
    assert summary.rate(first) == 18 / 200


def test_only_buckets_that_end_after_the_start_time_count() -> None:
    assert summarise(VIEW, since_ms=at(1)).num_failures == 5
    assert summarise(VIEW, since_ms=at(3)).num_events == 0


def test_a_summary_can_be_limited_to_kinds_and_a_model() -> None:
    chosen = summarise(VIEW, since_ms=0, kinds=frozenset({"model_error"}))
    assert (chosen.num_failures, chosen.num_events) == (2, 250)
    other = summarise(VIEW, since_ms=0, model="other")
    assert (other.num_failures, other.num_events) == (0, 50)


def test_late_failures_are_counted_and_shown() -> None:
    state = PartitionState(0)
    state.closed_before = at(10)
    state.apply(0, at(12), delta(0, NOT_JSON, 4))
    state.apply(1, at(12), delta(0, PREDICTED, 6))
    view = AggregateView()
    for key, value in state.take_updates(None, TIMING):
        view.upsert(key, value)
    summary = summarise(view, since_ms=0)
    ((_, row),) = summary.ranked()
    assert (row.count, row.late, summary.num_events) == (4, 4, 10)
    assert "4 (4 late)" in text_of(summary_text(summary, stacks=False))


def test_a_summary_is_rendered_as_a_table_and_as_json() -> None:
    summary = summarise(VIEW, since_ms=at(0))
    output = text_of(summary_text(summary, stacks=True))
    assert "not_json" in output and "9.00%" in output and "IndexError: …" in output
    assert "20 of 250 events since" in output and "(8.00%)" in output and "  File m.py" in output
    assert "File m.py" not in text_of(summary_text(summary, stacks=False))
    document = json.loads(json.dumps(summary.to_dict()))
    assert document["errors"][0]["kind"] == "not_json" and document["errors"][0]["rate"] == 0.09
    assert "serializer" in document["errors"][0]["remedy"] and document["errors"][1]["exemplar"]["stack"] == "File m.py"


def test_events_and_windows_are_two_ledgers() -> None:
    predicted, failed = (
        CellKey(f"window_{what}", stage, kind)
        for what, stage, kind in (
            ("predicted", "emit", "window_predicted"),
            ("failed", "model", "model_error"),
        )
    )
    accepted = CellKey("accepted", "window", "accepted")
    view = view_of(delta(0, accepted, 90), delta(0, NOT_JSON, 10), delta(0, predicted, 6), delta(0, failed, 2))
    summary = summarise(view, since_ms=0)
    assert (summary.num_failures, summary.num_events) == (10, 100)
    assert (summary.num_failed_windows, summary.num_windows) == (2, 8)
    text = text_of(summary_text(summary, stacks=False))
    assert "10 of 100 events since" in text and "(10.00%); 2 of 8 windows (25.00%)" in text and "2 windows" in text
    document = summary.to_dict()
    assert (document["failures"], document["failed_windows"], document["windows"]) == (10, 2, 8)
    assert [error["of"] for error in document["errors"]] == ["events", "windows"]
    only_windows = summarise(view_of(delta(0, predicted, 6)), since_ms=0)
    assert "no errors among 0 events and 6 windows" in no_errors_text(only_windows).plain


def test_a_summary_without_failures_says_so() -> None:
    assert "no errors among 50 events" in no_errors_text(summarise(VIEW, since_ms=0, model="other")).plain
    assert "is `forebay aggregate` running?" in no_errors_text(summarise(AggregateView(), since_ms=0)).plain

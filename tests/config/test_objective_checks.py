"""Rules for the objective on latency."""

from __future__ import annotations

from tests.config.test_checks import report


def test_without_an_objective_there_is_no_rule_but_for_prefer() -> None:
    assert report({"batch.max_queue_delay_ms": 7}) == []
    ((key, message),) = report({"objective.prefer": "efficiency"})
    assert key == "objective.prefer" and "needs objective.p99_ms" in message


def test_the_wait_cannot_be_set_together_with_an_objective() -> None:
    assert report({"objective.p99_ms": 50}) == []
    assert report({"objective.p99_ms": 50, "batch.max_queue_delay_ms": 2}) == []
    ((key, message),) = report({"objective.p99_ms": 50, "batch.max_queue_delay_ms": 7})
    assert key == "batch.max_queue_delay_ms"
    assert "remove it" in message


def test_a_model_of_its_own_is_named_and_one_with_windows_keeps_its_wait() -> None:
    windows = {
        "name": "w",
        "topics": ["w"],
        "window": {"kind": "session", "gap_ms": 1000},
        "batch": {"max_queue_delay_ms": 9},
    }
    events = {"name": "e", "topics": ["e"]}
    assert report({"objective.p99_ms": 50, "models": [events, windows]}) == []
    ((key, _),) = report({"objective.p99_ms": 50, "models": [{**events, "batch": {"max_queue_delay_ms": 9}}, windows]})
    assert key == "models[0].batch.max_queue_delay_ms"


def test_a_worker_with_only_windows_cannot_have_an_objective() -> None:
    ((key, message),) = report({"objective.p99_ms": 50, "window.kind": "session", "window.gap_ms": 1000})
    assert key == "objective.p99_ms" and "take windows" in message

"""The status documents of several workers as one."""

from __future__ import annotations

from typing import Any

from forebay.stream.supervisor.status_merging import merge_conditions, merge_documents, merge_history


def document(number: int, **changes: Any) -> dict[str, Any]:
    breaker = {"state": "closed", "failures_in_a_row": 0, "tries_again_in_s": 0.0}
    totals = {"outcomes": {"predicted": 10 + number}, "kinds": {}}
    flight = {"events": 3, "bytes": 30, "batches": 1}
    now = {"span_s": 10, "events_per_s": 100.5, "batch_mean": 10.0, "batch_max": 20, "latency_p99_ms": 5.0 + number}
    base: dict[str, Any] = {
        "worker": f"w-{number}",
        "model": {"name": "flights", "version": 3},
        "models": [
            {
                "name": "flights",
                "version": 3,
                "breaker": breaker,
                "in_flight": {**flight, "waiting_batches": 0, "model_call_for_s": 0.1 * number},
                "blocked": None,
                "instances": [{"calls": number, "busy_s": 0.5, "suspended": False}],
                "priorities": {"high": {"events": 1 + number, "waiting_batches": 0}},
                "window": {"kind": "none", "max_batch_size": 64},
                "totals": totals,
                "now": now,
            }
        ],
        "processing_guarantee": "exactly_once",
        "health": {
            "cluster": "ok",
            "paused": False,
            "still_for_s": 0.0,
            "cluster_answered_ago_s": 1.0 + number,
            "loop_delay_ms": 2.0,
        },
        "group": {
            "id": "g",
            "joined": True,
            "gate": "open",
            "generation": 4 + number,
            "members": [{"worker": "w-0", "self": number == 0}, {"worker": "other", "self": False}],
        },
        "input_topics": ["features"],
        "partitions": [{"topic": "features", "partition": 3 - number, "lag": 2}],
        "lag": 2,
        "in_flight": {**flight, "max_events": 100, "reading": "on", "model_call_for_s": 0.1 * number},
        "window": {"kind": "none", "max_batch_size": 64},
        "breakers": {"cluster": breaker, "model": breaker},
        "totals": {**totals, "batches": 5, "commits": 2, "rewinds": 0},
        "now": now,
        "errors": [{"kind": "invalid_json", "count": 1 + number, "last_seen": number, "samples": [f"f-{number}@1"]}],
        "last_warnings": [{"at": number, "message": f"from {number}"}],
    }
    return {**base, **changes}


def test_totals_are_added_and_lists_joined() -> None:
    merged = merge_documents({0: document(0), 1: document(1)})
    assert merged["totals"] == {"outcomes": {"predicted": 21}, "kinds": {}, "batches": 10, "commits": 4, "rewinds": 0}
    assert [partition["partition"] for partition in merged["partitions"]] == [2, 3]
    assert merged["lag"] == 4
    assert (merged["in_flight"]["events"], merged["in_flight"]["max_events"]) == (6, 200)
    assert merged["in_flight"]["model_call_for_s"] == 0.1
    assert merged["now"] == {
        "span_s": 10,
        "events_per_s": 201.0,
        "batch_mean": 10.0,
        "batch_max": 20,
        "latency_p99_ms": 6.0,
    }
    (model,) = merged["models"]
    assert (model["totals"]["outcomes"], model["in_flight"]["model_call_for_s"]) == ({"predicted": 21}, 0.1)
    assert merged["errors"] == [
        {"kind": "invalid_json", "count": 3, "last_seen": 1, "samples": ["f-0@1", "f-1@1"]},
    ]
    assert merged["last_warnings"] == [
        {"at": 1, "message": "from 1", "process": 1},
        {"at": 0, "message": "from 0", "process": 0},
    ]
    assert merged["group"]["generation"] == 5
    assert merged["group"]["members"][0] == {"worker": "w-0", "self": False, "own": True}


def test_the_worst_state_counts() -> None:
    is_open = {"state": "open", "failures_in_a_row": 5, "tries_again_in_s": 3.0}
    failing = document(1, breakers={"cluster": is_open}, lag=None)
    failing["health"] = {**failing["health"], "cluster": "failing", "paused": True}
    merged = merge_documents({0: document(0), 1: failing})
    assert merged["breakers"]["cluster"] == is_open
    assert merged["lag"] is None
    conditions = merge_conditions([document(0), failing])
    assert (conditions["cluster"], conditions["paused"], conditions["breakers"]["cluster"]) == (
        "failing",
        False,
        "open",
    )
    assert conditions["cluster_answered_ago_s"] == 1.0


def test_the_objective_is_that_of_the_process_furthest_from_it() -> None:
    met = {"p99_ms": 50.0, "met": True, "measured_p99_ms": 48.0, "detail": ""}
    missed = {"p99_ms": 50.0, "met": False, "measured_p99_ms": None, "detail": "nothing is committed"}
    assert "objective" not in merge_documents({0: document(0), 1: document(1)})
    merged = merge_documents({0: document(0), 1: document(1, objective=missed), 2: document(2, objective=met)})
    assert merged["objective"] == {**missed, "process": 1}
    slower = {**met, "measured_p99_ms": 49.0}
    merged = merge_documents({0: document(0, objective=met), 1: document(1, objective=slower)})
    assert merged["objective"] == {**slower, "process": 1}


def test_instances_are_listed_and_events_of_priorities_added() -> None:
    (model,) = merge_documents({0: document(0), 1: document(1)})["models"]
    assert [instance["calls"] for instance in model["instances"]] == [0, 1]
    assert model["priorities"] == {"high": {"events": 3, "waiting_batches": 0}}


def test_samples_are_added_by_second() -> None:
    first = {"at": [1, 2], "predicted": [5, 6], "batches": [1, 1], "batch_mean": [5.0, 6.0], "latency_p99": [1.0, 3.0]}
    second = {
        "at": [2, 3],
        "predicted": [4, 0],
        "batches": [3, 0],
        "batch_mean": [2.0, None],
        "latency_p99": [2.0, None],
    }
    assert merge_history([first, second]) == {
        "at": [1, 2, 3],
        "predicted": [5, 10, 0],
        "batches": [1, 4, 0],
        "batch_mean": [5.0, 3.0, None],
        "latency_p99": [1.0, 3.0, None],
    }

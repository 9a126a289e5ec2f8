"""The part of `/status` that describes the objective on latency. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.objective.controller import LaneReport, ObjectiveReport


def objective_status(report: ObjectiveReport, *, now_s: float, now_ms: int) -> dict[str, Any]:
    """Return `objective` of `/status`. Times in ms, rates in events per second."""
    verdict, measured = report.verdict, report.measured
    return {
        "p99_ms": _ms(report.objective_s),
        "met": verdict.is_met,
        "since": now_ms - round(1000 * (now_s - verdict.since_s)) if verdict.since_s else None,
        "measured_p99_ms": None if report.p99_s is None else _ms(report.p99_s),
        "binding": None if verdict.binding is None else verdict.binding.value,
        "detail": verdict.detail,
        "commit_interval_ms": _ms(report.commit_interval_s),
        "commit_ms": _ms(report.commit_s),
        "arrival_rate": None if measured.arrival_rate is None else round(measured.arrival_rate, 1),
        "event_loop_load": round(measured.loop_load, 3),
        "models": _models(report.lanes),
    }


def _models(lanes: Mapping[ModelRef, LaneReport]) -> list[dict[str, Any]]:
    return [
        {
            "name": model.name,
            "version": model.version,
            "max_batch_size": lane.limits.max_batch_size,
            "queue_delay_ms": _ms(lane.limits.max_queue_delay_s),
            "call_ms": _ms(lane.call.call_s),
            "row_us": round(1e6 * lane.call.row_s, 2),
            "events_per_s": round(lane.rate, 1),
            "load": round(lane.load, 3),
            "capacity": None if lane.capacity is None else round(lane.capacity),
        }
        for model, lane in lanes.items()
    ]


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)

"""The parts of `/status` and `/models` that belong to one model. Pure."""

from __future__ import annotations

import math
from typing import Any

from forebay.stream.admin.served_model import ServedModel
from forebay.stream.admin.status_observer import ModelActivity
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.pipeline.lane_status import LaneStatus


def describe_model(served: ServedModel) -> dict[str, Any]:
    """Return an entry of `/models`."""
    return {
        "name": served.ref.name,
        "version": served.ref.version,
        "signature": served.signature.to_dict(),
        "device": served.device,
        "max_events_per_request": served.max_batch_size,
    }


def model_status(
    served: ServedModel, lane: LaneStatus, activity: ModelActivity, *, now_s: float, now_ms: int
) -> dict[str, Any]:
    """Return an entry of `models` in `/status`."""
    return {
        "name": served.ref.name,
        "version": served.ref.version,
        "topics": list(lane.topics),
        "device": served.device,
        "breaker": breaker_status(lane.breaker, now_s=now_s),
        "in_flight": {
            "events": lane.events,
            "bytes": lane.num_bytes,
            "batches": lane.batches,
            "waiting_batches": lane.waiting,
            "model_call_for_s": round(lane.call_for_s, 3),
        },
        "blocked": lane.blocked,
        "instances": [
            {"calls": one.calls, "busy_s": round(one.busy_s, 3), "suspended": one.suspended} for one in lane.instances
        ],
        "priorities": {
            word: {"events": status.events, "waiting_batches": status.waiting}
            for word, status in lane.priorities.items()
        },
        "window": window_status(served),
        "totals": {
            "outcomes": {outcome.value: count for outcome, count in activity.outcomes.items()},
            "kinds": dict(activity.kinds),
        },
        "now": activity.samples.summary(now_ms=now_ms),
    }


def window_status(served: ServedModel) -> dict[str, Any]:
    """Return how events of a model are grouped: into micro-batches, and into windows over event time if it takes them."""
    batch, window = served.settings.batch, served.settings.window
    batching = {
        "max_batch_size": batch.max_batch_size,
        "max_batch_bytes": batch.max_batch_bytes,
        "max_queue_delay_ms": batch.max_queue_delay_ms,
    }
    if served.windows is None:
        return {"kind": "none", **batching}
    statuses = served.windows.statuses().values()
    return {
        "kind": window.kind,
        **batching,
        "size_ms": window.size_ms,
        "hop_ms": window.hop_ms,
        "gap_ms": window.gap_ms,
        "open_windows": sum(status.open_windows for status in statuses),
        "buffered_rows": sum(status.buffered_rows for status in statuses),
    }


def breaker_status(breaker: CircuitBreaker, *, now_s: float) -> dict[str, Any]:
    """Return the state of a circuit breaker."""
    wait_s = breaker.wait_s(now_s)
    return {
        "state": breaker.state.value,
        "failures_in_a_row": breaker.failures,
        "tries_again_in_s": round(wait_s, 1) if math.isfinite(wait_s) else None,
    }

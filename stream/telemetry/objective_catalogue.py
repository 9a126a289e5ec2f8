"""The metrics of the objective on latency, which workers export if there is one. Part of the catalogue."""

from __future__ import annotations

from typing import Final

from forebay.stream.telemetry.metric_types import Gauge

_MODEL: Final = ("model", "version")

OBJECTIVE: Final = Gauge("forebay.objective", "s", "objective.p99_ms")
OBJECTIVE_MET: Final = Gauge(
    "forebay.objective.met",
    "{state}",
    "1 if the 99th percentile of the last ten seconds meets objective.p99_ms, else 0",
)
OBJECTIVE_LATENCY: Final = Gauge(
    "forebay.objective.latency",
    "s",
    "99th percentile over the last ten seconds of the time from an event's record timestamp to the commit of its outcome; 0 "
    "without events",
)
OBJECTIVE_BINDING: Final = Gauge(
    "forebay.objective.binding",
    "{state}",
    "1 for the reason for which the objective is not met: arrival_rate, backlog, commit, model_call, event_loop, stalled or "
    "timestamps; else 0",
    ("reason",),
)
OBJECTIVE_COMMIT_INTERVAL: Final = Gauge(
    "forebay.objective.commit.interval",
    "s",
    "Least time between the starts of two commits that is in force; 0 if results are committed as soon as they are ready",
)
OBJECTIVE_BATCH_SIZE: Final = Gauge(
    "forebay.objective.batch.size", "{event}", "Limit of the micro-batches of a model that is in force", _MODEL
)
OBJECTIVE_QUEUE_DELAY: Final = Gauge(
    "forebay.objective.queue.delay", "s", "How long the first event of a micro-batch waits for others", _MODEL
)

OBJECTIVE_METRICS: Final = (
    OBJECTIVE,
    OBJECTIVE_MET,
    OBJECTIVE_LATENCY,
    OBJECTIVE_BINDING,
    OBJECTIVE_COMMIT_INTERVAL,
    OBJECTIVE_BATCH_SIZE,
    OBJECTIVE_QUEUE_DELAY,
)

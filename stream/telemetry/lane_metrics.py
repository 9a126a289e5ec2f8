"""The metrics of lanes, the instances of their models, and the priorities of their events. Part of the catalogue."""

from __future__ import annotations

from typing import Final

from forebay.stream.telemetry.metric_types import Counter, Gauge, Metric

_MODEL: Final = ("model", "version")

LANE_IN_FLIGHT_EVENTS: Final = Gauge(
    "forebay.lane.in_flight.events", "{event}", "Events of one model that were read and are not yet committed", _MODEL
)
LANE_WAITING_BATCHES: Final = Gauge(
    "forebay.lane.waiting.batches", "{batch}", "Micro-batches of one model that wait for its device", _MODEL
)
INSTANCE_BUSY: Final = Counter(
    "forebay.instance.busy.time",
    "s",
    "Time that an instance of a model spends in calls, for models with several (model.instances). Its rate is the busy share",
    (*_MODEL, "model_instance"),
)
PRIORITY_EVENTS: Final = Counter(
    "forebay.priority.events",
    "{event}",
    "Events that were read, by their priority; only with [priorities]. Events that are read again count again",
    (*_MODEL, "priority"),
)
PRIORITY_WAITING_BATCHES: Final = Gauge(
    "forebay.priority.waiting.batches",
    "{batch}",
    "Micro-batches that wait for the device of a model, by priority; only with [priorities]",
    (*_MODEL, "priority"),
)
PRIORITY_UNKNOWN: Final = Counter(
    "forebay.priority.unknown", "{header}", "Headers forebay-priority with an unknown word, which are ignored", _MODEL
)
LANE_BLOCKED: Final = Gauge(
    "forebay.lane.blocked",
    "{lane}",
    "1 while the topics of a model are not read for this reason: breaker_open, in_flight_limit or device_backlog; else 0",
    (*_MODEL, "reason"),
)

LANE_METRICS: Final[tuple[Metric, ...]] = (
    LANE_IN_FLIGHT_EVENTS,
    LANE_WAITING_BATCHES,
    LANE_BLOCKED,
    INSTANCE_BUSY,
    PRIORITY_EVENTS,
    PRIORITY_WAITING_BATCHES,
    PRIORITY_UNKNOWN,
)

"""JSON Schemas of the aggregator's outputs: error aggregates, alerts, and the changelog of its own state."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from forebay.schemas.failures import GOOD_KINDS, FailureKind, Outcome, Stage
from forebay.schemas.shapes import Schema, count, milliseconds, or_null, schema, text

AGGREGATE_FORMAT: Final = 1
CHANGELOG_FORMAT: Final = 1
ALERT_FORMAT: Final = 1

LATE: Final = "late_delta"
"""The outcome that counts deltas that came after their minute was closed."""

MAX_STACK_CHARS: Final = 4000
MAX_SAMPLES: Final = 5


class Category(StrEnum):
    """The categories of alert rules: see CATEGORY_KINDS and CATEGORY_METRICS for what their rules are about."""

    PERFORMANCE = "performance"
    QUALITY = "quality"
    DRIFT = "drift"
    RESOURCE = "resource"
    ERROR = "error"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertStatus(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"


CATEGORY_KINDS: Final[Mapping[Category, frozenset[FailureKind]]] = MappingProxyType(
    {
        Category.PERFORMANCE: frozenset({FailureKind.DEADLINE_EXCEEDED, FailureKind.LATE}),
        Category.QUALITY: frozenset(
            {
                FailureKind.MISSING_VALUE,
                FailureKind.UNKNOWN_CATEGORY,
                FailureKind.NOT_FINITE,
                FailureKind.OUT_OF_RANGE,
                FailureKind.MISSING_KEY,
                FailureKind.TIMESTAMP_AHEAD,
                FailureKind.OUTPUT_NOT_FINITE,
                FailureKind.OUTPUT_SHAPE,
            }
        ),
        Category.RESOURCE: frozenset(
            {
                FailureKind.OUT_OF_MEMORY,
                FailureKind.TOO_LARGE,
                FailureKind.PREDICTION_TOO_LARGE,
                FailureKind.WINDOW_FULL,
            }
        ),
        Category.DRIFT: frozenset(),
        Category.ERROR: frozenset(FailureKind),
    }
)

CLASS_METRICS: Final = ("accuracy", "precision", "recall", "f1", "log_loss", "brier", "roc_auc", "calibration_error")
"""Metrics of classes, by labels."""
VALUE_METRICS: Final = ("mean_absolute_error", "root_mean_squared_error", "r2", "bias")
"""Metrics of regression, by labels."""
LABEL_METRICS: Final = ("matched_share", "label_delay_p50_s", "label_delay_p90_s")
"""Metrics of the labels themselves."""
ESTIMATES: Final = (
    "estimated_accuracy",
    "estimated_precision",
    "estimated_recall",
    "estimated_f1",
    "estimated_log_loss",
    "estimated_brier",
    "estimated_roc_auc",
)
"""Metrics of classes that are estimated from the scores, without labels."""
DRIFT_METRICS: Final = ("drift", "skew", "psi", "psi_recent", "missing", "unseen", "out_of_range")
"""The findings that a rule is about: all (drift), those since a version's first windows (skew), or those of one measure."""
PERFORMANCE_METRICS: Final = ("latency_p99_ms", "latency_p50_ms", "latency_mean_ms", "model_p99_ms", "throughput")
WORKER_METRICS: Final = ("worker_cpu_cores", "worker_memory_mb", "worker_gpu_memory_mb")
"""Metrics of a whole worker process, not of one model."""
MODEL_RESOURCES: Final = ("model_cpu_cores", "model_gpus", "model_memory_mb")

CATEGORY_METRICS: Final[Mapping[Category, tuple[str, ...]]] = MappingProxyType(
    {
        Category.PERFORMANCE: PERFORMANCE_METRICS,
        Category.QUALITY: (*CLASS_METRICS, *VALUE_METRICS, *LABEL_METRICS, *ESTIMATES),
        Category.DRIFT: DRIFT_METRICS,
        Category.RESOURCE: (*WORKER_METRICS, *MODEL_RESOURCES),
        Category.ERROR: (),
    }
)
"""The metrics that the rules of a category can be about."""


class DriftLevel(StrEnum):
    """The level that a drift finding must have."""

    WARN = "warn"
    ALARM = "alarm"


def _outcomes() -> list[str]:
    return [*(outcome.value for outcome in Outcome), LATE]


def _count_properties() -> Schema:
    """Return the properties that count the events of one outcome, stage and kind in a minute."""
    exemplar: Schema = {
        "type": ["object", "null"],
        "description": "One failure as an example; null for outcomes that are not failures. It holds no values of an event.",
        "required": ["message", "stack_hash", "stack"],
        "properties": {
            "message": text(
                "The message; numbers, ids and quoted text are replaced by an ellipsis, except the names of features and "
                "of the event format's fields, which are between backticks."
            ),
            "stack_hash": or_null(
                text("A digest of the whole stack trace, if the model raised an exception; else null.")
            ),
            "stack": {
                "type": ["string", "null"],
                "maxLength": MAX_STACK_CHARS,
                "description": "The end of the stack trace, if the model raised an exception; messages in it are "
                "redacted.",
            },
        },
    }
    return {
        "outcome": {
            "enum": _outcomes(),
            "description": "What became of the events, or windows over event time; late_delta: the outcome was counted in "
            "this minute because its own minute was closed or is in the far future.",
        },
        "stage": {
            "enum": [stage.value for stage in Stage],
            "description": "The stage at which the outcome was decided.",
        },
        "kind": {
            "enum": [*GOOD_KINDS, *(kind.value for kind in FailureKind)],
            "description": "The failure kind; the outcome itself if it is not a failure.",
        },
        "count": count("The number of events, or windows over event time.", 1),
        "first_seen": {"type": "integer", "description": "The smallest record timestamp, ms since the Unix epoch."},
        "last_seen": {"type": "integer", "description": "The largest record timestamp, ms since the Unix epoch."},
        "sample_ids": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": MAX_SAMPLES,
            "description": "Ids of some of the events that have an id.",
        },
        "exemplar": exemplar,
    }


def error_aggregate() -> Schema:
    """Return the schema of the value of an error aggregate."""
    properties: Schema = {
        "format": {"const": AGGREGATE_FORMAT, "description": "The version of this format."},
        "partition": count("The partition of outcome-deltas that was counted."),
        "window_start": {"type": "integer", "description": "The start of the minute, ms since the Unix epoch."},
        "window_end": {"type": "integer", "description": "The end of the minute, exclusive, ms since the Unix epoch."},
        "model": text("The model."),
        "version": count("The version of the model.", 1),
        **_count_properties(),
        "events": count(
            "All events of this minute, model and version, including those that did not fail and excluding late_delta; "
            "for the outcomes window_predicted and window_failed all windows over event time instead."
        ),
        "rate": {
            "type": ["number", "null"],
            "minimum": 0,
            "description": "count / events; null if events is 0, for example because only late_delta was counted.",
        },
        "revision": count("Of two records with one key, the record with the higher revision is valid.", 1),
        "final": {
            "type": "boolean",
            "description": "Whether the aggregator expects no further counts. A higher revision may still follow if more "
            "arrive.",
        },
    }
    return schema(
        "error-aggregate",
        "Error aggregate",
        "The events of one minute, outcome, stage, kind, model and version, counted over all workers. An upsert: "
        "the record key is partition|window_start|outcome|stage|kind|model|version, and the highest revision of a "
        "key is valid. Records whose keys differ only in the partition add up. Predictions are counted too, so that rates "
        "can be computed over any period. All times are timestamps of the input records.",
        {"type": "object", "required": list(properties), "properties": properties},
    )


def alert() -> Schema:
    """Return the schema of the value of an alert."""
    properties: Schema = {
        "format": {"const": ALERT_FORMAT, "description": "The version of this format."},
        "alert_id": text("Identifies this alert from firing to resolved, in all records about it."),
        "status": {
            "enum": [status.value for status in AlertStatus],
            "description": "firing while the threshold is exceeded, resolved afterwards.",
        },
        "rule": text("The name of the rule in the configuration; rollout-went-back if a rollout ended by itself."),
        "severity": {"enum": [severity.value for severity in Severity], "description": "The severity of the rule."},
        "category": {"enum": [category.value for category in Category], "description": "The category of the rule."},
        "kind": or_null(text("The failure kind that the rule is about; null for all kinds of its category.")),
        "model": or_null(
            text(
                "The model that the alert is about, even if its rule names no model; null in alerts about a worker, and in "
                "those of earlier versions."
            )
        ),
        "measure": {
            "enum": ["count", "rate", "seconds", "metric"],
            "description": "The measure that was compared with the threshold; metric: the one in `metric`; seconds only for "
            "rollouts that went back.",
        },
        "value": {"type": "number", "description": "The measured value over the rule's time span."},
        "threshold": {"type": "number", "description": "The threshold of the rule."},
        "of": {
            "enum": ["events", "windows"],
            "description": "What is counted: events, or windows over event time.",
        },
        "count": count(
            "The number of failures in the rule's time span; with `metric`, of the events that the value is measured on."
        ),
        "events": count("The number of all events (or windows, see `of`) in the rule's time span."),
        "window_ms": count("The length of the rule's time span, in milliseconds.", 1),
        "since": milliseconds(
            "The time at which the threshold was first exceeded; for metrics of quality by event time"
        ),
        "at": milliseconds("The time at which the aggregator evaluated the rule"),
        "message": text("A summary of the alert in one line."),
    }
    required = list(properties)
    properties |= {
        "metric": {
            "enum": [metric for metrics in CATEGORY_METRICS.values() for metric in metrics],
            "description": "The metric that the rule is about, if it is about one.",
        },
        "direction": {
            "enum": ["above", "below"],
            "description": "With `metric`: the side of the threshold on which the alert fires.",
        },
        "version": count("The version of the model, if the alert is about one.", 1),
        "slice": text("The slice, as name=value, if the alert is about one."),
        "column": text("The feature or output, if the alert is about the drift of one."),
        "worker": text("The worker process, if the alert is about one; `model` is then null."),
        "level": {
            "enum": [level.value for level in DriftLevel],
            "description": "How far the drift is beyond its thresholds.",
        },
    }
    return schema(
        "alert",
        "Alert",
        "A rule's threshold was exceeded for a model (firing), or no longer is (resolved). The record key is the alert's "
        "id; the record of one id and status may be repeated.",
        {"type": "object", "required": required, "properties": properties},
    )


def aggregator_changelog() -> Schema:
    """Return the schema of the value of a record in the aggregator's changelog."""
    cell = _count_properties()
    return schema(
        "aggregator-changelog",
        "Aggregator changelog",
        "Internal: the state of the aggregator, by key. partition|position: how far a partition of outcome-deltas is "
        "counted. partition|window_start|version|model: the counts of a minute; a record without a value means that the "
        "minute is closed.",
        {
            "type": "object",
            "required": ["format"],
            "anyOf": [
                {"required": ["next_offset", "closed_before"]},
                {"required": ["window_end", "applied", "merged", "cells"]},
            ],
            "properties": {
                "format": {"const": CHANGELOG_FORMAT, "description": "The version of this format."},
                "next_offset": count("Position: the offset from which reading continues."),
                "closed_before": {
                    "type": "integer",
                    "description": "Position: minutes that end at or before this time are closed, in milliseconds since the "
                    "Unix epoch.",
                },
                "window_end": {
                    "type": "integer",
                    "description": "Minute: its end, exclusive, in milliseconds since the Unix epoch.",
                },
                "applied": count("Minute: the offset of the last delta that was counted in it."),
                "merged": count("Minute: the number of deltas that were counted in it.", 1),
                "cells": {
                    "type": "array",
                    "description": "Minute: one item for each outcome, stage and kind.",
                    "items": {"type": "object", "required": list(cell), "properties": cell},
                },
            },
        },
    )

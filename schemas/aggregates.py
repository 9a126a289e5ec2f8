"""What the aggregator writes: error aggregates, alerts, and the changelog of its own state."""

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
"""The outcome under which deltas are counted that came after their window was closed."""

MAX_STACK_CHARS: Final = 4000
MAX_SAMPLES: Final = 5


class Category(StrEnum):
    """What an alert rule is about. Each stands for the kinds of failure in CATEGORY_KINDS."""

    PERFORMANCE = "performance"
    QUALITY = "quality"
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
        Category.ERROR: frozenset(FailureKind),
    }
)


def _outcomes() -> list[str]:
    return [*(outcome.value for outcome in Outcome), LATE]


def _counted() -> Schema:
    """What is known of the events of one outcome, stage and kind in a window."""
    exemplar: Schema = {
        "type": ["object", "null"],
        "description": "One failure as an example; null for predictions. It holds no values of an event.",
        "required": ["message", "stack_hash", "stack"],
        "properties": {
            "message": text(
                "The message, its numbers, ids and quoted text replaced by an ellipsis; names of features and of the "
                "event format's fields are kept, between backticks."
            ),
            "stack_hash": or_null(text("A digest of the whole stack trace, where the model raised.")),
            "stack": {
                "type": ["string", "null"],
                "maxLength": MAX_STACK_CHARS,
                "description": "The end of the stack trace, where the model raised; messages in it are redacted.",
            },
        },
    }
    return {
        "outcome": {
            "enum": _outcomes(),
            "description": "What became of the events, or windows; late_delta: counted here since "
            "their own window was closed, or lies "
            "in the far future.",
        },
        "stage": {"enum": [stage.value for stage in Stage], "description": "Where that was decided."},
        "kind": {
            "enum": [*GOOD_KINDS, *(kind.value for kind in FailureKind)],
            "description": "Why; the outcome itself where nothing went wrong.",
        },
        "count": count("How many events.", 1),
        "first_seen": {"type": "integer", "description": "The least record timestamp, ms since the Unix epoch."},
        "last_seen": {"type": "integer", "description": "The greatest one, ms since the Unix epoch."},
        "sample_ids": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": MAX_SAMPLES,
            "description": "Ids of some of the events that had one.",
        },
        "exemplar": exemplar,
    }


def error_aggregate() -> Schema:
    """The value of an error aggregate."""
    properties: Schema = {
        "format": {"const": AGGREGATE_FORMAT, "description": "The version of this format."},
        "partition": count("The partition of outcome-deltas that was counted."),
        "window_start": {"type": "integer", "description": "Start of the window, ms since the Unix epoch."},
        "window_end": {"type": "integer", "description": "Its end, not in it, ms since the Unix epoch."},
        "model": text("The model."),
        "version": count("Its version.", 1),
        **_counted(),
        "events": count(
            "All events of this window, model and version, good ones too, late_delta ones not; for the outcomes "
            "window_predicted and window_failed all windows over event time instead."
        ),
        "rate": {
            "type": ["number", "null"],
            "minimum": 0,
            "description": "count / events; null where no event is known, as where only late ones came.",
        },
        "revision": count("Of two records with one key the one with the higher revision holds.", 1),
        "final": {
            "type": "boolean",
            "description": "Whether no more is expected. A higher revision may still follow, when more comes.",
        },
    }
    return schema(
        "error-aggregate",
        "Error aggregate",
        "The events of one window, outcome, stage, kind, model and version, counted over all workers. An upsert: "
        "the record key is partition|window_start|outcome|stage|kind|model|version, and the highest revision of a "
        "key holds. Records whose keys differ only in the partition add up. Predictions have one too, so that rates "
        "can be made over any span. Times are those of the input records' timestamps.",
        {"type": "object", "required": list(properties), "properties": properties},
    )


def alert() -> Schema:
    """The value of an alert."""
    properties: Schema = {
        "format": {"const": ALERT_FORMAT, "description": "The version of this format."},
        "alert_id": text("Names this alert from firing to resolved; the same however often it is told."),
        "status": {"enum": [status.value for status in AlertStatus], "description": "Whether it still holds."},
        "rule": text("The name of the rule in the configuration."),
        "severity": {"enum": [severity.value for severity in Severity], "description": "As the rule has it."},
        "category": {"enum": [category.value for category in Category], "description": "As the rule has it."},
        "kind": or_null(text("The kind of failure that the rule is about; null for all of its category.")),
        "model": or_null(
            text(
                "The model that the alert is about, also where its rule names none; null in those of earlier versions."
            )
        ),
        "measure": {"enum": ["count", "rate"], "description": "What was compared with the threshold."},
        "value": {"type": "number", "minimum": 0, "description": "What was measured over the rule's window."},
        "threshold": {"type": "number", "minimum": 0, "description": "What it was compared with."},
        "of": {
            "enum": ["events", "windows"],
            "description": "What is counted: events, or windows over event time.",
        },
        "count": count("Failures in the rule's window."),
        "events": count("All events (or windows, see `of`) in the rule's window."),
        "window_ms": count("The length of the rule's window, in milliseconds.", 1),
        "since": milliseconds("From when on the threshold was passed"),
        "at": milliseconds("When this was found"),
        "message": text("The whole of it in one line."),
    }
    return schema(
        "alert",
        "Alert",
        "A rule's threshold is passed for a model, or no more. The record key is the alert's id; for one id and status "
        "the same may come twice.",
        {"type": "object", "required": list(properties), "properties": properties},
    )


def aggregator_changelog() -> Schema:
    """The value of a record of the aggregator's changelog."""
    cell = _counted()
    return schema(
        "aggregator-changelog",
        "Aggregator changelog",
        "Internal: the state of the aggregator, by key. partition|position: how far a partition of outcome-deltas is "
        "counted. partition|window_start|version|model: what was counted of a window; without a value, the window "
        "is closed.",
        {
            "type": "object",
            "required": ["format"],
            "anyOf": [
                {"required": ["next_offset", "closed_before"]},
                {"required": ["window_end", "applied", "merged", "cells"]},
            ],
            "properties": {
                "format": {"const": CHANGELOG_FORMAT, "description": "The version of this format."},
                "next_offset": count("Position: the offset from which reading goes on."),
                "closed_before": {
                    "type": "integer",
                    "description": "Position: windows that end by then take no more, in milliseconds since the Unix epoch.",
                },
                "window_end": {
                    "type": "integer",
                    "description": "Window: its end, not in it, in milliseconds since the Unix epoch.",
                },
                "applied": count("Window: the offset of the last delta that was counted in it."),
                "merged": count("Window: how many deltas were counted in it.", 1),
                "cells": {
                    "type": "array",
                    "description": "Window: one for each outcome, stage and kind.",
                    "items": {"type": "object", "required": list(cell), "properties": cell},
                },
            },
        },
    )

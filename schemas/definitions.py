"""JSON Schema (2020-12) of what is on the topics; `schemas.generate` writes it into schemas/json.

The schemas say what a record may be whatever the model; names, number and categories of features are the
model's to say. They keep to the keywords that draft 7 has as well, and refer to nothing, so that they can
stand inside an AsyncAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from schemas import headers
from schemas.aggregates import aggregator_changelog, alert, error_aggregate
from schemas.failures import FAILURES, FailureKind, Outcome, Stage
from schemas.shapes import MAX_TIMESTAMP_MS as MAX_TIMESTAMP_MS
from schemas.shapes import Schema as Schema
from schemas.shapes import count as _count
from schemas.shapes import milliseconds as _milliseconds
from schemas.shapes import or_null as _or_null
from schemas.shapes import schema as _schema
from schemas.shapes import text as _text

FLOAT32_BOUND: Final = 3.4028235677973366e38
"""Numbers from here on round to infinity in float32."""
DELTA_FORMAT: Final = 1
MAX_SAMPLE_IDS: Final = 5

_RFC3339: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
_DIGITS: Final = "^[0-9]+$"


def _feature_value() -> Schema:
    return {
        "type": ["number", "boolean", "string", "null"],
        "exclusiveMinimum": -FLOAT32_BOUND,
        "exclusiveMaximum": FLOAT32_BOUND,
        "description": (
            "A number within float32, or true (1) or false (0); for a category feature its category, a "
            "string; null for a missing value where the model's signature has the feature nullable. "
            "Units are those that the model was trained with."
        ),
    }


def _features() -> Schema:
    return {
        "type": ["array", "object"],
        "items": _feature_value(),
        "additionalProperties": _feature_value(),
        "description": (
            "The features: an array in the order of the model's signature (images row by row, flat), or "
            "an object by name, where names that the model does not know are ignored and nullable "
            "features may be left out."
        ),
    }


def event() -> Schema:
    """The value of an event in JSON."""
    identifier: Schema = {
        "type": ["string", "integer"],
        "minLength": 1,
        "minimum": -(2**63),
        "maximum": 2**64 - 1,
        "description": "Tells this event from others; an integer is taken as its decimal text. Given "
        "back in the prediction.",
    }
    timestamp: Schema = {
        "type": ["integer", "string"],
        "minimum": 0,
        "maximum": MAX_TIMESTAMP_MS,
        "pattern": _RFC3339,
        "description": "When it happened: milliseconds since the Unix epoch (UTC), or RFC 3339 text with "
        "an offset, such as 2013-07-01T08:30:00.250Z.",
    }
    return _schema(
        "event",
        "Event",
        "One event to predict. Fields not named here are ignored. Where a field comes twice, the last "
        "one counts. Where both features and input are there, features counts.",
        {
            "type": "object",
            "required": ["id", "timestamp"],
            "anyOf": [{"required": ["features"]}, {"required": ["input"]}],
            "properties": {
                "id": identifier,
                "timestamp": timestamp,
                "features": _features(),
                "input": {**_features(), "description": "Another name for features."},
                "key": _or_null(_text("The key of the prediction, where the event's record has none.")),
                "model": _or_null(_text("The name of the model that this event is for; another one rejects it.")),
                "deadline_ms": _or_null(
                    _milliseconds("From when on nobody wants the prediction: the event then fails instead")
                ),
            },
        },
    )


def event_f32() -> Schema:
    """The headers of an event whose value is raw float32."""
    milliseconds = {"type": "string", "pattern": "^[0-9]{1,15}$"}
    return _schema(
        "event-f32",
        "Headers of a raw float32 event",
        "The record value is one little-endian float32 (4 bytes) for each feature, in the order of the "
        "model's signature; NaN stands for a missing value where the feature is nullable, and a category "
        "is its index among the signature's categories. Header values are UTF-8 text. Without forebay-id "
        "the record key is the id, and one of them must be there.",
        {
            "type": "object",
            "required": [headers.CONTENT_TYPE],
            "properties": {
                headers.CONTENT_TYPE: {
                    "const": headers.F32_CONTENT_TYPE,
                    "description": "Says that the value is raw.",
                },
                headers.ID: {"type": "string", "minLength": 1, "description": "The event's id."},
                headers.TIMESTAMP: {
                    **milliseconds,
                    "description": "When it happened, decimal milliseconds since the Unix epoch (UTC); "
                    "else the record's timestamp is taken.",
                },
                headers.MODEL: _text("The name of the model that this event is for."),
                headers.DEADLINE_MS: {
                    **milliseconds,
                    "description": "From when on nobody wants the prediction, decimal milliseconds since "
                    "the Unix epoch (UTC).",
                },
                headers.TRACEPARENT: _text("W3C trace context, carried on to the prediction."),
                **replay_headers(),
            },
            "additionalProperties": {"type": "string"},
        },
    )


def prediction() -> Schema:
    """The value of a prediction."""
    source: Schema = {
        "type": "object",
        "description": "The event's record.",
        "required": ["topic", "partition", "offset", "timestamp"],
        "properties": {
            "topic": _text("The input topic, prefix included."),
            "partition": _count("The partition in it."),
            "offset": _count("The offset in the partition."),
            "timestamp": _milliseconds("The event's own timestamp"),
        },
    }
    return _schema(
        "prediction",
        "Prediction",
        "The model's answer to one event. The record's timestamp is when it was sent; its headers are "
        "the event's, without content-type and forebay-*. Fields may be added in later versions: ignore "
        "those that you do not know.",
        {
            "type": "object",
            "required": ["id", "model", "version", "prediction", "confidence", "class", "label", "source"],
            "properties": {
                "id": {"type": "string", "minLength": 1, "description": "The event's id, as text."},
                "model": _text("The name of the model."),
                "version": _count("The version of the model.", 1),
                "prediction": {
                    "type": "array",
                    "items": {"type": "number"},
                    "minItems": 1,
                    "description": "Regression: the values that the model gives, in the target's units. "
                    "Binary: one number, the probability (0 to 1) of class 1. Several classes: the "
                    "probability of each, in order.",
                },
                "confidence": {
                    "type": ["number", "null"],
                    "minimum": 0,
                    "maximum": 1,
                    "description": "The probability of the class that is given; null for regression.",
                },
                "class": _or_null(_count("The index of the most probable class; null for regression.")),
                "label": _or_null(_text("The name of that class, where the model names its classes; else null.")),
                "source": source,
            },
        },
    )


def replay_headers() -> Schema:
    """The headers of an event that was replayed from a dead letter, by name."""
    return {
        headers.REPLAY_COUNT: {
            "type": "string",
            "pattern": "^[1-9][0-9]*$",
            "description": "Only where the event was replayed with `forebay dlq replay`: how many times.",
        },
        headers.REPLAY_FROM: _text("The dead letter that it was last replayed from: <topic>-<partition>@<offset>."),
    }


def dead_letter() -> Schema:
    """The headers of a dead letter; its key and value are the original ones."""
    return _schema(
        "dead-letter",
        "Headers of a dead letter",
        "Key, value and headers are the original record's; these headers are added, in the place of any "
        "forebay.error.* that the record came with (a dead letter that was published again and failed "
        "again). Header values are UTF-8 text.",
        {
            "type": "object",
            "required": [
                headers.ERROR_STAGE,
                headers.ERROR_KIND,
                headers.ERROR_MESSAGE,
                headers.ERROR_TOPIC,
                headers.ERROR_PARTITION,
                headers.ERROR_OFFSET,
                headers.ERROR_TIMESTAMP,
            ],
            "if": {"required": [headers.ERROR_MODEL]},
            "then": {"required": [headers.ERROR_VERSION]},
            "properties": {
                headers.ERROR_STAGE: {
                    "enum": [stage.value for stage in Stage],
                    "description": "The stage at which the event's outcome was decided.",
                },
                headers.ERROR_KIND: {"enum": [kind.value for kind in FailureKind], "description": _kinds()},
                headers.ERROR_MESSAGE: _text("What was wrong with this event, and where in it."),
                headers.ERROR_TOPIC: _text("The topic that the record was read from, prefix included."),
                headers.ERROR_PARTITION: {
                    "type": "string",
                    "pattern": _DIGITS,
                    "description": "Its partition.",
                },
                headers.ERROR_OFFSET: {"type": "string", "pattern": _DIGITS, "description": "Its offset."},
                headers.ERROR_TIMESTAMP: {
                    "type": "string",
                    "pattern": "^-?[0-9]+$",
                    "description": "The record's timestamp, decimal milliseconds since the Unix epoch "
                    "(UTC); -1 where it has none.",
                },
                headers.ERROR_MODEL: _text("The model that the event was given to, where it came so far."),
                headers.ERROR_VERSION: {
                    "type": "string",
                    "pattern": _DIGITS,
                    "description": "That model's version.",
                },
                headers.ERROR_TRUNCATED: {
                    "type": "string",
                    "pattern": "^[0-9]+ sha256:[0-9a-f]{64}$",
                    "description": "Only where the value was cut to what the topic takes: the size of "
                    "the original value in bytes, and its SHA-256.",
                },
                **replay_headers(),
            },
            "additionalProperties": {"type": "string", "description": "The original record's headers."},
        },
    )


def _kinds() -> str:
    return "Why. " + "; ".join(f"{kind.value}: {spec.description}" for kind, spec in FAILURES.items()) + "."


def outcome_delta() -> Schema:
    """The value of an outcome delta."""
    exemplar: Schema = {
        "type": ["object", "null"],
        "description": "One failure as an example of these; null for predictions.",
        "required": ["message", "stack_hash", "stack"],
        "properties": {
            "message": _text("The message, its numbers and quoted text replaced by an ellipsis."),
            "stack_hash": _or_null(_text("A digest of the stack trace, where the model raised.")),
            "stack": _or_null(_text("The stack trace, where the model raised.")),
        },
    }
    return _schema(
        "outcome-delta",
        "Outcome delta",
        "How many more events have had this outcome. The record key is "
        "window_start|model|version, so that all outcomes of a window lie in one partition; records of one window, "
        "outcome, stage, kind, model and version add up: counts are summed, "
        "first_seen is the minimum, last_seen the maximum. Times are those of the input records' "
        "timestamps.",
        {
            "type": "object",
            "required": [
                "format",
                "window_start",
                "window_end",
                "outcome",
                "stage",
                "kind",
                "model",
                "version",
                "count",
                "first_seen",
                "last_seen",
                "sample_ids",
                "exemplar",
                "worker",
            ],
            "properties": {
                "format": {"const": DELTA_FORMAT, "description": "The version of this format."},
                "window_start": {
                    "type": "integer",
                    "description": "Start of the window, ms since the Unix epoch.",
                },
                "window_end": {
                    "type": "integer",
                    "description": "Its end, not in it, ms since the Unix epoch.",
                },
                "outcome": {
                    "enum": [outcome.value for outcome in Outcome],
                    "description": "What became of them.",
                },
                "stage": {"enum": [stage.value for stage in Stage], "description": "Where that was decided."},
                "kind": {
                    "enum": [Outcome.PREDICTED.value, *(kind.value for kind in FailureKind)],
                    "description": f"Why; {Outcome.PREDICTED.value!r} for predictions.",
                },
                "model": _text("The model that the worker serves."),
                "version": _count("Its version.", 1),
                "count": _count("How many events.", 1),
                "first_seen": {
                    "type": "integer",
                    "description": "The least record timestamp, ms since the Unix epoch.",
                },
                "last_seen": {"type": "integer", "description": "The greatest one, ms since the Unix epoch."},
                "sample_ids": {
                    "type": "array",
                    "items": {"type": "string"},
                    "maxItems": MAX_SAMPLE_IDS,
                    "description": "Ids of some of the events that had one.",
                },
                "exemplar": exemplar,
                "worker": _text("The worker process that counted."),
            },
        },
    )


def definitions() -> Mapping[str, Schema]:
    """Every schema by name. A new value at each call, to do with as the caller likes."""
    return MappingProxyType(
        {
            "event": event(),
            "event-f32": event_f32(),
            "prediction": prediction(),
            "dead-letter": dead_letter(),
            "outcome-delta": outcome_delta(),
            "error-aggregate": error_aggregate(),
            "alert": alert(),
            "aggregator-changelog": aggregator_changelog(),
        }
    )

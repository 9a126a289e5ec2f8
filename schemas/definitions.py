"""JSON Schemas (2020-12) of the records on the topics; `schemas.generate` writes them to schemas/json.

The schemas describe records for any model; the names, number and categories of features depend on the model. They use only
keywords that draft 7 has as well, and no references, so that they can be embedded in an AsyncAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from forebay.schemas import headers
from forebay.schemas.aggregates import aggregator_changelog, alert, error_aggregate
from forebay.schemas.audit import audit
from forebay.schemas.drift import drift
from forebay.schemas.labels import label
from forebay.schemas.outputs import DELTA_FORMAT as DELTA_FORMAT
from forebay.schemas.outputs import MAX_SAMPLE_IDS as MAX_SAMPLE_IDS
from forebay.schemas.outputs import dead_letter, late_event, outcome_delta, prediction, replay_headers
from forebay.schemas.quality import quality
from forebay.schemas.rollouts import rollout, rollout_switch
from forebay.schemas.shadow_predictions import shadow_prediction
from forebay.schemas.shapes import MAX_TIMESTAMP_MS as MAX_TIMESTAMP_MS
from forebay.schemas.shapes import Schema as Schema
from forebay.schemas.shapes import milliseconds as _milliseconds
from forebay.schemas.shapes import or_null as _or_null
from forebay.schemas.shapes import schema as _schema
from forebay.schemas.shapes import text as _text

FLOAT32_BOUND: Final = 3.4028235677973366e38
"""The smallest number that rounds to infinity in float32."""

_RFC3339: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$"


def _feature_value() -> Schema:
    return {
        "type": ["number", "boolean", "string", "null"],
        "exclusiveMinimum": -FLOAT32_BOUND,
        "exclusiveMaximum": FLOAT32_BOUND,
        "description": (
            "A number in the range of float32, or true (1) or false (0); for a category feature the category, for "
            "a hashed feature any text, as a string; null for a missing value if the feature is nullable in the "
            "model's signature. Units are those that the model was trained with."
        ),
    }


def _features() -> Schema:
    return {
        "type": ["array", "object"],
        "anyOf": [{"items": _feature_value()}, {"items": {"type": "array"}, "minItems": 1}],
        "additionalProperties": _feature_value(),
        "description": (
            "The features: an array in the order of the model's signature, or an object by name. In an object, names "
            "that the model does not know are ignored and nullable features may be omitted. Images are nested arrays "
            "of the signature's shape, or one flat array, row by row."
        ),
    }


def event() -> Schema:
    """Return the schema of the value of a JSON event."""
    identifier: Schema = {
        "type": ["string", "integer"],
        "minLength": 1,
        "minimum": -(2**63),
        "maximum": 2**64 - 1,
        "description": "Identifies this event; an integer is read as its decimal text. The prediction repeats it.",
    }
    timestamp: Schema = {
        "type": ["integer", "string"],
        "minimum": 0,
        "maximum": MAX_TIMESTAMP_MS,
        "pattern": _RFC3339,
        "description": "When the event happened: milliseconds since the Unix epoch (UTC), or RFC 3339 text with "
        "an offset, such as 2013-07-01T08:30:00.250Z.",
    }
    return _schema(
        "event",
        "Event",
        "One event to predict. Fields not named here are ignored. If a field occurs twice, the last one is "
        "used. If both features and input are present, features is used.",
        {
            "type": "object",
            "required": ["id", "timestamp"],
            "anyOf": [{"required": ["features"]}, {"required": ["input"]}],
            "properties": {
                "id": identifier,
                "timestamp": timestamp,
                "features": _features(),
                "input": {**_features(), "description": "Another name for features."},
                "key": _or_null(_text("The key of the prediction if the event's record has no key.")),
                "model": _or_null(
                    _text(
                        "The name of the model that this event is for. It takes precedence over the header `forebay-model`. If "
                        "both are missing, the event is for the model that its topic is configured for, else for the "
                        "worker's first model. A worker that does not serve the named model rejects the event."
                    )
                ),
                "deadline_ms": _or_null(
                    _milliseconds("The time after which the prediction is useless and the event fails instead")
                ),
            },
        },
    )


def event_f32() -> Schema:
    """Return the schema of the headers of an event whose value is raw float32."""
    milliseconds = {"type": "string", "pattern": "^[0-9]{1,15}$"}
    return _schema(
        "event-f32",
        "Headers of a raw float32 event",
        "The record value is one little-endian float32 (4 bytes) for each feature, in the order of the "
        "model's signature; NaN is a missing value of a nullable feature, a category "
        "is its index among the signature's categories, and a hashed text its bucket. Header values are UTF-8 text. "
        "Without forebay-id the record key is the id; one of them is required.",
        {
            "type": "object",
            "required": [headers.CONTENT_TYPE],
            "properties": {
                headers.CONTENT_TYPE: {
                    "const": headers.F32_CONTENT_TYPE,
                    "description": "Marks the value as raw float32.",
                },
                headers.ID: {"type": "string", "minLength": 1, "description": "The event's id."},
                headers.TIMESTAMP: {
                    **milliseconds,
                    "description": "When the event happened, decimal milliseconds since the Unix epoch (UTC); "
                    "without it the record's timestamp is used.",
                },
                headers.MODEL: _text(
                    "The name of the model that this event is for. If it is missing, the event is for the model that its topic "
                    "is configured for, else for the worker's first model."
                ),
                headers.DEADLINE_MS: {
                    **milliseconds,
                    "description": "The time after which the prediction is useless and the event fails instead, "
                    "decimal milliseconds since the Unix epoch (UTC).",
                },
                headers.PRIORITY: priority_header(),
                headers.TRACEPARENT: _text("W3C trace context, copied to the prediction."),
                **replay_headers(),
            },
            "additionalProperties": {"type": "string"},
        },
    )


def priority_header() -> Schema:
    """Return the schema of the header with an event's priority."""
    return _text(
        "The priority of the event, for workers with priorities.headers: high, normal or low. It can raise the priority of its "
        "topic. Other words are ignored."
    )


def definitions() -> Mapping[str, Schema]:
    """Return every schema by name. Each call returns new objects, which the caller may change."""
    return MappingProxyType(
        {
            "event": event(),
            "event-f32": event_f32(),
            "prediction": prediction(),
            "dead-letter": dead_letter(),
            "late-event": late_event(),
            "rollout": rollout(),
            "rollout-switch": rollout_switch(),
            "shadow-prediction": shadow_prediction(),
            "label": label(),
            "quality": quality(),
            "drift": drift(),
            "audit": audit(),
            "outcome-delta": outcome_delta(),
            "error-aggregate": error_aggregate(),
            "alert": alert(),
            "aggregator-changelog": aggregator_changelog(),
        }
    )

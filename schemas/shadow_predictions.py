"""JSON Schema of the records on `shadow-predictions`. See `schemas.definitions`."""

from __future__ import annotations

from forebay.schemas.failures import FailureKind
from forebay.schemas.shapes import Schema, count, event_row, or_null, schema, text


def shadow_prediction() -> Schema:
    """Return the schema of the value of a shadow prediction."""
    source: Schema = {
        "type": "object",
        "description": "The event's record.",
        "required": ["topic", "partition", "offset", "timestamp"],
        "properties": {
            "topic": text("The input topic, prefix included."),
            "partition": count("The partition of the input topic."),
            "offset": count("The offset in the partition."),
            "row": event_row(),
            "timestamp": {
                "type": "integer",
                "description": "The event's own timestamp, ms since the Unix epoch (UTC).",
            },
        },
    }
    return schema(
        "shadow-prediction",
        "Shadow prediction",
        "What a shadow and the version that served (the primary) predicted for the same event. Written outside the "
        "transactions of the predictions, at best effort: events may be missing, and events that were read again may occur "
        "twice. Later versions may add fields: ignore fields that you do not know.",
        {
            "type": "object",
            "required": ["id", "model", "revision", "source", "primary", "shadow"],
            "properties": {
                "id": {"type": "string", "minLength": 1, "description": "The event's id, as text."},
                "model": text("The name of the model."),
                "revision": count("The revision of the rollout that the worker had applied.", 0),
                "source": source,
                "primary": _side("The version whose prediction, or dead letter, is the event's outcome."),
                "shadow": _side("The version that was run beside it."),
            },
        },
    )


def _side(description: str) -> Schema:
    return {
        "type": "object",
        "description": description,
        "required": ["version", "prediction", "confidence", "class", "label", "failure", "latency_ms", "rows"],
        "properties": {
            "version": count("The version of the model.", 1),
            "prediction": {
                "type": ["array", "null"],
                "items": {"type": "number"},
                "minItems": 1,
                "description": "As in a prediction; null if this version failed for the event.",
            },
            "confidence": {
                "type": ["number", "null"],
                "minimum": 0,
                "maximum": 1,
                "description": "As in a prediction; null for regression, and if this version failed.",
            },
            "class": or_null(count("As in a prediction; null for regression, and if this version failed.")),
            "label": or_null(text("As in a prediction; null for regression, and if this version failed.")),
            "failure": {
                "enum": [None, *(kind.value for kind in FailureKind)],
                "description": "The failure kind if this version failed for the event, else null.",
            },
            "latency_ms": {
                "type": "number",
                "minimum": 0,
                "description": "The duration of the model call that the event was in, in milliseconds. A shadow's includes "
                "waiting for the stream, which has priority.",
            },
            "rows": count("The number of events in that call.", 1),
            "cpu_ms": {
                "type": "number",
                "minimum": 0,
                "description": "The CPU time of the thread in that call, in milliseconds; 0 if unknown, or if another device "
                "computes.",
            },
        },
    }

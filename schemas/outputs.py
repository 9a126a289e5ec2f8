"""JSON Schema of what the worker writes: predictions, dead letters, late events, outcome deltas. See `schemas.definitions`."""

from __future__ import annotations

from typing import Final

from forebay.schemas import headers
from forebay.schemas.failures import FAILURES, GOOD_KINDS, FailureKind, Outcome, Stage
from forebay.schemas.shapes import Schema, count, or_null, schema, text

DELTA_FORMAT: Final = 1
MAX_SAMPLE_IDS: Final = 5
_DIGITS: Final = "^[0-9]+$"


def prediction() -> Schema:
    """The value of a prediction."""
    source: Schema = {
        "type": "object",
        "description": "The event's record; of a window, the record of its first event.",
        "required": ["topic", "partition", "offset", "timestamp"],
        "properties": {
            "topic": text("The input topic, prefix included."),
            "partition": count("The partition in it."),
            "offset": count("The offset in the partition."),
            "timestamp": _window_time("The event's own timestamp; of a window, its start"),
        },
    }
    window: Schema = {
        "type": "object",
        "description": "Only where a window of events was predicted and not one event. The id is then "
        "key|start|end, source is the record of the window's first event, and source.timestamp is the window's start.",
        "required": ["key", "start", "end", "events", "dropped"],
        "properties": {
            "key": text("The key whose events these are; what is no UTF-8 stands as \\xNN."),
            "start": _window_time("Where it begins"),
            "end": _window_time("Its end, not in it"),
            "events": count("How many events are in it.", 1),
            "dropped": count("How many more it would have had, were it not full."),
        },
    }
    return schema(
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
                "model": text("The name of the model."),
                "version": count("The version of the model.", 1),
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
                "class": or_null(count("The index of the most probable class; null for regression.")),
                "label": or_null(text("The name of that class, where the model names its classes; else null.")),
                "source": source,
                "window": window,
            },
        },
    )


def _window_time(what: str) -> Schema:
    # Not `milliseconds`: the first windows of a hop begin before the epoch.
    return {"type": "integer", "description": f"{what}, ms since the Unix epoch (UTC)."}


def replay_headers() -> Schema:
    """The headers of an event that was replayed from a dead letter, by name."""
    return {
        headers.REPLAY_COUNT: {
            "type": "string",
            "pattern": "^[1-9][0-9]*$",
            "description": "Only where the event was replayed with `forebay dlq replay`: how many times.",
        },
        headers.REPLAY_FROM: text("The dead letter that it was last replayed from: <topic>-<partition>@<offset>."),
    }


def dead_letter() -> Schema:
    """The headers of a dead letter; its key and value are the original ones."""
    return schema(
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
                headers.ERROR_MESSAGE: text("What was wrong with this event, and where in it."),
                headers.ERROR_TOPIC: text("The topic that the record was read from, prefix included."),
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
                headers.ERROR_MODEL: text("The model that the event was given to, where it came so far."),
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
                headers.ERROR_WINDOW: {
                    "type": "string",
                    "pattern": "^-?[0-9]+-[0-9]+$",
                    "description": "Only where a window failed and not an event: its start and end, ms since the "
                    "Unix epoch. The value is then the window as JSON: key, start, end and events.",
                },
                **replay_headers(),
            },
            "additionalProperties": {"type": "string", "description": "The original record's headers."},
        },
    )


def late_event() -> Schema:
    """The headers of a late event; its key and value are the original ones."""
    said = dead_letter()
    found = said["properties"]
    assert isinstance(found, dict)
    properties: Schema = {**found}
    del properties[headers.ERROR_WINDOW]
    properties[headers.ERROR_KIND] = {"const": FailureKind.LATE.value, "description": "What it is."}
    properties[headers.ERROR_STAGE] = {
        "const": FAILURES[FailureKind.LATE].stage.value,
        "description": "Where it was seen.",
    }
    return {
        **said,
        **schema(
            "late-event",
            "Headers of a late event",
            "An event that came when every window over event time that it belongs to was over. Key, value and headers are "
            "the original record's; these headers are added. Header values are UTF-8 text.",
            {"properties": properties},
        ),
    }


def _kinds() -> str:
    return "Why. " + "; ".join(f"{kind.value}: {spec.description}" for kind, spec in FAILURES.items()) + "."


def outcome_delta() -> Schema:
    """Return the schema of an outcome delta's value. All of its properties are required."""
    properties: dict[str, Schema] = {
        "format": {"const": DELTA_FORMAT, "description": "The version of this format."},
        "window_start": {"type": "integer", "description": "Start of the window, ms since the Unix epoch."},
        "window_end": {"type": "integer", "description": "Its end, not in it, ms since the Unix epoch."},
        "outcome": {"enum": [outcome.value for outcome in Outcome], "description": "What became of them."},
        "stage": {"enum": [stage.value for stage in Stage], "description": "Where that was decided."},
        "kind": {
            "enum": [*GOOD_KINDS, *(kind.value for kind in FailureKind)],
            "description": "Why; the outcome itself where nothing went wrong.",
        },
        "model": text("The model that the worker serves."),
        "version": count("Its version.", 1),
        "count": count("How many events, or windows.", 1),
        "first_seen": {"type": "integer", "description": "The least record timestamp, ms since the Unix epoch."},
        "last_seen": {"type": "integer", "description": "The greatest one, ms since the Unix epoch."},
        "sample_ids": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": MAX_SAMPLE_IDS,
            "description": "Ids of some of the events that had one.",
        },
        "exemplar": _exemplar(),
        "worker": text("The worker process that counted."),
    }
    return schema(
        "outcome-delta",
        "Outcome delta",
        "How many more events have had this outcome. The record key is "
        "window_start|model|version, so that all outcomes of a window lie in one partition; records of one window, "
        "outcome, stage, kind, model and version add up: counts are summed, "
        "first_seen is the minimum, last_seen the maximum. Times are those of the input records' "
        "timestamps.",
        {"type": "object", "required": list(properties), "properties": properties},
    )


def _exemplar() -> Schema:
    return {
        "type": ["object", "null"],
        "description": "One failure as an example of these; null for predictions.",
        "required": ["message", "stack_hash", "stack"],
        "properties": {
            "message": text("The message, its numbers and quoted text replaced by an ellipsis."),
            "stack_hash": or_null(text("A digest of the stack trace, where the model raised.")),
            "stack": or_null(text("The stack trace, where the model raised.")),
        },
    }

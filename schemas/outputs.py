"""JSON Schemas of the worker's outputs: predictions, dead letters, late events, outcome deltas. See `schemas.definitions`."""

from __future__ import annotations

from typing import Final

from forebay.schemas import headers
from forebay.schemas.failures import FAILURES, GOOD_KINDS, FailureKind, Outcome, Stage
from forebay.schemas.shapes import Schema, count, event_row, or_null, schema, text

DELTA_FORMAT: Final = 1
ABSTENTION_REASONS: Final = ("score_in_band", "low_confidence")
MAX_SAMPLE_IDS: Final = 5
_DIGITS: Final = "^[0-9]+$"


def prediction() -> Schema:
    """Return the schema of the value of a prediction."""
    return schema(
        "prediction",
        "Prediction",
        "The model's output for one event or window. The record's timestamp is the time at which it was sent; its "
        "headers are those of the event, without content-type and forebay-*. Later versions may add fields: ignore "
        "fields that you do not know.",
        {
            "type": "object",
            "required": ["id", "model", "version", "prediction", "confidence", "class", "label", "source"],
            "properties": {
                "id": {"type": "string", "minLength": 1, "description": "The event's id, as text."},
                "model": text("The name of the model."),
                "version": count("The version of the model.", 1),
                "prediction": {
                    "type": "array",
                    "items": {"type": "number", "format": "float"},
                    "minItems": 1,
                    "description": "Regression: the values that the model returns, in the target's units. "
                    "Binary: one number, the probability (0 to 1) of class 1. Several classes: the "
                    "probability of each class, in order.",
                },
                "confidence": {
                    "type": ["number", "null"],
                    "format": "float",
                    "minimum": 0,
                    "maximum": 1,
                    "description": "The probability of the class in `class`; null for regression.",
                },
                "class": or_null(
                    count(
                        "The index of the class: the most probable one, or for two classes the one by the threshold (of the "
                        "first of decision.segments that fits, else decision.threshold, else that of the model version, else "
                        "0.5); null for regression."
                    )
                ),
                "label": or_null(text("The name of that class; null if the model does not name its classes.")),
                "source": _event_source(),
                "window": _predicted_window(),
                "slices": _slices(),
                "decision": {
                    "const": "abstain",
                    "description": "Only on the topic review: the model abstains, and people decide.",
                },
                "reason": {
                    "enum": list(ABSTENTION_REASONS),
                    "description": "Only with decision: why the model abstains.",
                },
            },
            "dependentRequired": {"decision": ["reason"]},
        },
    )


def _event_source() -> Schema:
    return {
        "type": "object",
        "description": "The event's record; for a window, the record of its first event.",
        "required": ["topic", "partition", "offset", "timestamp"],
        "properties": {
            "topic": text("The input topic, prefix included."),
            "partition": count("The partition of the input topic."),
            "offset": count("The offset in the partition."),
            "timestamp": _window_time("The event's own timestamp; for a window, its start"),
            "row": event_row(),
        },
    }


def _predicted_window() -> Schema:
    return {
        "type": "object",
        "description": "Only if a window of events was predicted, not one event. The id is then "
        "key|start|end, source is the record of the window's first event, and source.timestamp is the window's start.",
        "required": ["key", "start", "end", "events", "dropped"],
        "properties": {
            "key": text("The key of the window's events; bytes that are not UTF-8 are written as \\xNN."),
            "start": _window_time("The start of the window"),
            "end": _window_time("The end of the window, exclusive"),
            "events": count("The number of events in the window.", 1),
            "dropped": count("The number of further events that were dropped because the window was full."),
        },
    }


def _slices() -> Schema:
    return {
        "type": "object",
        "maxProperties": 4,
        "additionalProperties": {"type": "string"},
        "description": "Only if evaluate.slices names features of the model: the value of each, by which quality is also "
        "counted. A category: its text, or other for an unknown one that the model has a code for. A number: q1 to q4, the "
        "quarter of the training values that it is in. missing: no value.",
    }


def _window_time(what: str) -> Schema:
    # Not `milliseconds`: the first windows of a hop begin before the epoch.
    return {"type": "integer", "description": f"{what}, ms since the Unix epoch (UTC)."}


def replay_headers() -> Schema:
    """Return the schemas of the headers of an event that was replayed from a dead letter, by name."""
    return {
        headers.REPLAY_COUNT: {
            "type": "string",
            "pattern": "^[1-9][0-9]*$",
            "description": "Only if the event was replayed with `forebay dlq replay`: how many times.",
        },
        headers.REPLAY_FROM: text(
            "The dead letter that the event was last replayed from: <topic>-<partition>@<offset>."
        ),
    }


_ERROR_MODEL: Final = (
    "The model that processed the event; only if the event came that far. With rollouts also the model whose version's "
    "columns rejected the event."
)


def _error_row() -> Schema:
    return {
        "type": "string",
        "pattern": _DIGITS,
        "description": "Only if the record holds several events: the row of this one, from 0. The value is then this row "
        "alone, as Arrow IPC.",
    }


def dead_letter() -> Schema:
    """Return the schema of the headers of a dead letter; its key and value are those of the original record."""
    return schema(
        "dead-letter",
        "Headers of a dead letter",
        "Key, value and headers are those of the original record. These headers are added and replace any "
        "forebay.error.* headers of the record (a dead letter that was published again and failed "
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
                headers.ERROR_MESSAGE: text("What was wrong with this event, and where."),
                headers.ERROR_TOPIC: text("The topic that the record was read from, prefix included."),
                headers.ERROR_PARTITION: {
                    "type": "string",
                    "pattern": _DIGITS,
                    "description": "The partition that the record was read from.",
                },
                headers.ERROR_OFFSET: {
                    "type": "string",
                    "pattern": _DIGITS,
                    "description": "The offset of the record.",
                },
                headers.ERROR_TIMESTAMP: {
                    "type": "string",
                    "pattern": "^-?[0-9]+$",
                    "description": "The record's timestamp, decimal milliseconds since the Unix epoch "
                    "(UTC); -1 if it has none.",
                },
                headers.ERROR_MODEL: text(_ERROR_MODEL),
                headers.ERROR_VERSION: {
                    "type": "string",
                    "pattern": _DIGITS,
                    "description": "The version of that model.",
                },
                headers.ERROR_ROW: _error_row(),
                headers.ERROR_TRUNCATED: {
                    "type": "string",
                    "pattern": "^[0-9]+ (sha256:[0-9a-f]{64}|masked)$",
                    "description": "Only if the value was truncated to what the topic allows: the size of "
                    "the original value in bytes, and its SHA-256; or if personal data in the event was replaced or "
                    "removed: the size of the original value, and masked.",
                },
                headers.ERROR_WINDOW: {
                    "type": "string",
                    "pattern": "^-?[0-9]+-[0-9]+$",
                    "description": "Only if a window failed, not an event: its start and end, ms since the "
                    "Unix epoch. The value is then the window as JSON: key, start, end and events.",
                },
                **replay_headers(),
            },
            "additionalProperties": {"type": "string", "description": "The original record's headers."},
        },
    )


def late_event() -> Schema:
    """Return the schema of the headers of a late event; its key and value are those of the original record."""
    base = dead_letter()
    base_properties = base["properties"]
    assert isinstance(base_properties, dict)
    properties: Schema = {**base_properties}
    del properties[headers.ERROR_WINDOW]
    properties[headers.ERROR_KIND] = {
        "const": FailureKind.LATE.value,
        "description": "The failure kind of late events.",
    }
    properties[headers.ERROR_STAGE] = {
        "const": FAILURES[FailureKind.LATE].stage.value,
        "description": "The stage at which the event's outcome was decided.",
    }
    return {
        **base,
        **schema(
            "late-event",
            "Headers of a late event",
            "An event that came after every window over event time that it belongs to was closed. Key, value and headers "
            "are those of the original record; these headers are added. Header values are UTF-8 text.",
            {"properties": properties},
        ),
    }


def _kinds() -> str:
    return (
        "The failure kind. " + "; ".join(f"{kind.value}: {spec.description}" for kind, spec in FAILURES.items()) + "."
    )


def outcome_delta() -> Schema:
    """Return the schema of the value of an outcome delta. All its properties except `performance` are required."""
    properties: dict[str, Schema] = {
        "format": {"const": DELTA_FORMAT, "description": "The version of this format."},
        "window_start": {"type": "integer", "description": "The start of the minute, ms since the Unix epoch."},
        "window_end": {"type": "integer", "description": "The end of the minute, exclusive, ms since the Unix epoch."},
        "outcome": {
            "enum": [outcome.value for outcome in Outcome],
            "description": "What became of the events, or windows over event time.",
        },
        "stage": {
            "enum": [stage.value for stage in Stage],
            "description": "The stage at which the outcome was decided.",
        },
        "kind": {
            "enum": [*GOOD_KINDS, *(kind.value for kind in FailureKind)],
            "description": "The failure kind; the outcome itself if it is not a failure.",
        },
        "model": text("The model that the worker serves."),
        "version": count("The version of the model.", 1),
        "count": count("The number of events, or windows over event time.", 1),
        "first_seen": {"type": "integer", "description": "The smallest record timestamp, ms since the Unix epoch."},
        "last_seen": {"type": "integer", "description": "The largest record timestamp, ms since the Unix epoch."},
        "sample_ids": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": MAX_SAMPLE_IDS,
            "description": "Ids of some of the events that have an id.",
        },
        "exemplar": _exemplar(),
        "worker": text("The worker process that counted them."),
    }
    required = list(properties)
    properties["performance"] = _performance()
    return schema(
        "outcome-delta",
        "Outcome delta",
        "The number of further events with this outcome. The record key is "
        "window_start|model|version, so that all outcomes of a minute are in one partition. Records of one minute, "
        "outcome, stage, kind, model and version add up: counts are summed, "
        "first_seen is the minimum, last_seen the maximum. All times are timestamps of the input records.",
        {"type": "object", "required": required, "properties": properties},
    )


def _histogram(description: str) -> Schema:
    return {
        "type": "object",
        "propertyNames": {"pattern": "^[0-9]{1,3}$"},
        "additionalProperties": {"type": "integer", "minimum": 1},
        "description": f"{description}: numbers of rows by bucket. Bucket n ends at 1 µs x 2^(n/8), inclusive.",
    }


def _performance() -> Schema:
    seconds: Schema = {"type": "number", "minimum": 0}
    properties: dict[str, Schema] = {
        "rows": count("Rows that went through the model, whether they failed or not."),
        "calls": count("Micro-batches with rows."),
        "not_finite": count("Rows with an output that is NaN or infinite."),
        "cpu_s": {**seconds, "description": "CPU seconds of the thread that runs the model, in calls."},
        "queue_delay_s": {**seconds, "description": "How long a micro-batch may wait for more rows, in seconds."},
        "latency": _histogram("From the arrival of a micro-batch's first row to its result"),
        "model_time": _histogram("The duration of the model's call"),
    }
    required = list(properties)
    properties["gpu_s"] = {**seconds, "description": "Seconds in which a call occupied a GPU, if there is one."}
    properties["memory_bytes"] = count("Memory of the parameters of the model version in this worker, if it is known.")
    properties["process"] = {
        "type": "object",
        "description": "The whole worker process. At most one delta of a commit has it.",
        "required": ["cpu_s"],
        "properties": {
            "cpu_s": {**seconds, "description": "CPU seconds of all threads since the last report."},
            "memory_bytes": count("Resident memory, if it is known."),
            "gpu_memory_bytes": count("Memory that torch holds on the GPUs, if a model uses one."),
        },
    }
    return {
        "type": "object",
        "description": "The performance of all calls of this model version in one commit, if rollouts are enabled or alert "
        "rules need it: of all its minutes and outcomes. Only one of the commit's deltas has it.",
        "required": required,
        "properties": properties,
    }


def _exemplar() -> Schema:
    return {
        "type": ["object", "null"],
        "description": "One of the failures as an example; null for outcomes that are not failures.",
        "required": ["message", "stack_hash", "stack"],
        "properties": {
            "message": text("The message; numbers and quoted text are replaced by an ellipsis."),
            "stack_hash": or_null(text("A digest of the stack trace, if the model raised an exception; else null.")),
            "stack": or_null(text("The stack trace, if the model raised an exception; else null.")),
        },
    }

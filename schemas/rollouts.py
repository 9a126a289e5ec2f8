"""JSON Schemas of the records of rollouts, and the limits of their fields."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from forebay.schemas.shapes import MAX_TIMESTAMP_MS, Schema, count, milliseconds, or_null, schema, text

ROLLOUT_FORMAT: Final = 1
SWITCH_FORMAT: Final = 1

SLOTS: Final = 10_000
"""Number of slots into which routing keys are hashed. One slot is 0.01 % of the keys."""

MAX_MODEL_VERSION: Final = 999_999_999
MAX_SEED: Final = (1 << 53) - 1
"""The largest integer that every JSON reader represents exactly."""

MAX_ID_CHARS: Final = 64
MAX_AUTHOR_CHARS: Final = 200
MAX_REASON_CHARS: Final = 2_000
MODEL_NAME: Final = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$"


class Action(StrEnum):
    """What a revision does to the one that it is based on."""

    PROMOTE = "promote"
    CANARY = "canary"
    STEP = "step"
    SHADOW = "shadow"
    ROLLBACK = "rollback"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"


def _version(description: str) -> Schema:
    return {**count(description, 1), "maximum": MAX_MODEL_VERSION}


def _limited(description: str, max_chars: int, least: int = 0) -> Schema:
    return {**text(description), "minLength": least, "maxLength": max_chars}


def _list_of(items: Schema, description: str) -> Schema:
    return {"type": "array", "items": items, "description": description}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _canary() -> Schema:
    slot_range = {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": SLOTS},
        "minItems": 2,
        "maxItems": 2,
    }
    slots = _list_of(
        slot_range,
        "The slots of the keys that the version predicts, as ranges [start, end), ascending and disjoint. A key's slot is "
        f"xxh3_64(routing key, seed) % {SLOTS}.",
    )
    return _object({"version": _version("The version that is tried."), "slots": {**slots, "minItems": 1}})


def _steps() -> Schema:
    percent = {"type": "number", "exclusiveMinimum": 0, "maximum": 100}
    steps = _object(
        {
            "weights": {
                **_list_of(percent, "The canary's share of the keys in each step, in percent, ascending."),
                "minItems": 1,
                "maxItems": 100,
            },
            "every_s": {
                "type": "number",
                "minimum": 0,
                "maximum": 1e9,
                "description": "The least time of a step, in seconds.",
            },
            "min_events": count("The least number of the canary's events in a step."),
        }
    )
    return {
        **steps,
        "type": ["object", "null"],
        "description": "How the canary grows without further commands, until it is promoted; null if it does not.",
    }


def rollout() -> Schema:
    """Return the schema of the value of a rollout's revision."""
    sample = {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "description": "The share of the events that the version predicts in addition.",
    }
    properties: Schema = {
        "format": {"const": ROLLOUT_FORMAT, "description": "The version of this format."},
        "model": {**text("The model; it is the record key too."), "pattern": MODEL_NAME},
        "number": count("The number of this revision.", 1),
        "based_on": count("The revision that this one changes; 0: the configuration."),
        "id": _limited("Identifies this record, so that its author recognises it.", MAX_ID_CHARS, 1),
        "action": {"enum": [action.value for action in Action], "description": "What this revision changes."},
        "stable": _version("The version that predicts all keys that are not a canary's."),
        "previous": or_null(
            _version("The version that a rollback without a version returns to; null if there is none.")
        ),
        "canaries": _list_of(_canary(), "Versions that predict a share of the keys."),
        "shadows": _list_of(
            _object({"version": _version("The version that runs as a shadow."), "sample": sample}),
            "Versions that predict events in addition, without any effect on the predictions.",
        ),
        "seed": {**count("The seed of the hash of routing keys."), "maximum": MAX_SEED},
        "route_by": or_null(
            _limited(
                "The event field that is the routing key. null: the record key, the field key, or the event's id, the first "
                "that exists.",
                MAX_ID_CHARS * 4,
                1,
            )
        ),
        "steps": _steps(),
        "step": count("The index of the current step."),
        "paused": {"type": "boolean", "description": "Whether automatic steps are paused."},
        "rejected": _list_of(
            _version("A version."), "Versions that were rolled back. Only a person may use them again."
        ),
        "digests": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "The digest of the manifest of each version. A worker refuses a version with another digest.",
        },
        "author": _limited("Who made the change.", MAX_AUTHOR_CHARS),
        "automatic": {"type": "boolean", "description": "Whether Forebay made the change without a person."},
        "reason": _limited("Why the change was made.", MAX_REASON_CHARS),
        "evidence": {"type": "object", "description": "Figures that led to an automatic change."},
        "created_ms": milliseconds("When the change was proposed"),
    }
    return schema(
        "rollout",
        "Rollout revision",
        "The complete state of one model's rollout after a change. The record key is the model's name. A record is valid if it "
        "is the first whose `number` follows the current revision and whose `based_on` is the current revision; others came "
        "too late and have no effect.",
        _object(properties),
    )


def rollout_switch() -> Schema:
    """Return the schema of the value of a partition's switch to a revision."""
    properties: Schema = {
        "format": {"const": SWITCH_FORMAT, "description": "The version of this format."},
        "model": {**text("The model; it is the record key too."), "pattern": MODEL_NAME},
        "topic": _limited("The input topic.", 249, 1),
        "partition": count("The input partition."),
        "revision": count("The number of the revision that is served from here.", 1),
        "first_offset": count("The first offset whose event was routed by the revision."),
        "switched_ms": {**milliseconds("When the worker switched"), "maximum": MAX_TIMESTAMP_MS},
        "worker": _limited("The instance id of the worker.", 1_000),
    }
    return schema(
        "rollout-switch",
        "Rollout switch",
        "From this offset of an input partition a revision of a model's rollout was served, until the partition's next switch. "
        "Written in the transaction of the predictions that follow from it. The record key is the model's name.",
        _object(properties),
    )

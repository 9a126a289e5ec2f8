"""JSON Schema of the records on `audit`. See `schemas.definitions`."""

from __future__ import annotations

from typing import Final

from forebay.schemas.shapes import Schema, count, milliseconds, or_null, schema, text

AUDIT_FORMAT: Final = 1
_DIGEST: Final = "^[0-9a-f]{64}$"


def audit() -> Schema:
    """Return the schema of the value of a record of audit."""
    properties: Schema = {
        "format": {"const": AUDIT_FORMAT, "description": "The version of this format."},
        "group": text("The consumer group of the worker. With topic and partition it names the chain."),
        "topic": text("The input topic."),
        "partition": count("The partition of the input topic."),
        "sequence": count("The number of the block in its chain, from 0, without gaps."),
        "previous": {
            **text("SHA-256 of the value of the block before it in the chain; 64 zeros for the first."),
            "pattern": _DIGEST,
        },
        "written_ms": milliseconds("When the outcomes were written, by the worker's clock"),
        "worker": text("The worker that wrote it."),
        "first_offset": count("The position of the partition before the commit."),
        "next_offset": count("The position of the partition after the commit."),
        "part": count("The number of the block among those of its commit, from 0."),
        "parts": count("The number of blocks that the commit has for the partition.", 1),
        "key_id": or_null(
            text("The key with which the block is signed: the first 16 digits of SHA-256 of the public key in DER.")
        ),
        "policy_revision": or_null(text("The revision of the rules of access that decided; null without them.")),
        "revisions": {
            "type": "object",
            "additionalProperties": {"type": "integer", "minimum": 0},
            "description": "By model, the revision of its rollout after the commit. The topic rollout-switches has the "
            "offset from which it applies.",
        },
        **_tables(),
        "records": count("The number of input records that the rows stand for."),
        "rows": count("The number of rows.", 1),
        "columns": _columns(),
        "action": _action(),
    }
    # A block has the columns of outcomes with their tables, or an action.
    of_outcomes = [*_tables(), "columns"]
    required = [name for name in properties if name not in (*of_outcomes, "action")]
    return schema(
        "audit",
        "Audit",
        "The outcomes that one commit of a worker has for one input partition, as columns. The blocks of a partition form a "
        "chain: each names the digest of the one before. Headers have the digest of the block itself and, at checkpoints, its "
        "signature. Written in the transaction of the predictions. Later versions may add fields: ignore fields that you do "
        "not know.",
        {
            "type": "object",
            "required": required,
            "anyOf": [{"required": of_outcomes}, {"required": ["action"]}],
            "properties": properties,
        },
    )


def _tables() -> Schema:
    """Return the lists that the columns of indices refer to."""
    return {
        "models": {
            "type": "array",
            "items": {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 2, "maxItems": 2},
            "description": "The models of the rows: name and version.",
        },
        "outcomes": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The outcomes of the rows: predicted, abstained, accepted (into windows), window_predicted, "
            "window_abstained, or a kind of failure, after window: for that of a window.",
        },
        "principals": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The principals of the rows, as audit.principals says: hashed, or by name; empty for none.",
        },
        "denials": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Why rows are denied, such as no_token, time or rule; empty for rows with other outcomes.",
        },
    }


def _action() -> Schema:
    return {
        "type": "object",
        "description": "What an operator or a process did, instead of outcomes. The chain is that of the process: topic is "
        "actions: and the name of the process, partition is 0, and there are no records.",
        "required": ["name", "actor", "origin", "details"],
        "properties": {
            "name": text("start, stop, pause, resume, rollout or replay."),
            "actor": text("Who did it, as far as the process knows."),
            "origin": text("The address or host that it came from; empty if unknown."),
            "details": {"type": "object", "description": "What belongs to the action, such as the models of a start."},
        },
    }


def _columns() -> Schema:
    ints: Schema = {
        "offset": "The offset of the record; of several records in one row, the last one.",
        "row": "The row of a record that holds several events; -1 for others.",
        "count": "The number of records that the row stands for; 0 for a window.",
        "event_ms": "The event time, or the time of a record that is not an event, in milliseconds since the Unix epoch; -1 "
        "if unknown.",
        "outcome": "An index into outcomes.",
        "model": "An index into models.",
        "principal": "An index into principals.",
        "denial": "An index into denials.",
    }
    texts: Schema = {
        "id": "The ids of the events; empty if unknown. Only with audit.event_ids.",
        "input_sha256": "SHA-256 of the value of the record; empty for rejected records. Only with audit.digests.",
        "output_sha256": "SHA-256 of the model's outputs as float32, little-endian; empty without a prediction. Only with "
        "audit.digests.",
    }
    return {
        "type": "object",
        "description": "The rows, by position. Integers are given by the first one and the differences between neighbours.",
        "required": list(ints),
        "properties": {
            **{name: _ints(str(description)) for name, description in ints.items()},
            **{
                name: {"type": "array", "items": {"type": "string"}, "description": description}
                for name, description in texts.items()
            },
        },
    }


def _ints(description: str) -> Schema:
    return {
        "type": "object",
        "description": description,
        "required": ["first", "steps"],
        "properties": {
            "first": {"type": "integer", "description": "The first value."},
            "steps": {
                "type": ["integer", "array"],
                "items": {"type": "integer"},
                "description": "The differences between neighbours; one number if all are equal.",
            },
        },
    }

"""JSON Schema of the records on `labels`, and the limits of their fields."""

from __future__ import annotations

from typing import Final

from forebay.schemas.rollouts import MODEL_NAME
from forebay.schemas.shapes import Schema, count, event_row, milliseconds, schema, text

MAX_LABEL_ID_CHARS: Final = 32_768
MAX_LABEL_TEXT_CHARS: Final = 1_000
MAX_LABEL_FIELDS: Final = 32
MAX_FIELD_NAME_CHARS: Final = 128


def label() -> Schema:
    """Return the schema of the value of a label."""
    source: Schema = {
        "type": "object",
        "description": "The event's record, as a prediction has it. topic, partition, offset and, if the "
        "prediction has it, row name the prediction if evaluate.join_by is position.",
        "properties": {
            "topic": text("The input topic, prefix included."),
            "partition": count("The partition of the input topic."),
            "offset": count("The offset in the partition."),
            "row": event_row(),
            "timestamp": milliseconds(
                "The event's own timestamp, for evaluate.join_by key_and_time. Default: the label's timestamp"
            ),
        },
    }
    fields: Schema = {
        "type": "object",
        "maxProperties": MAX_LABEL_FIELDS,
        "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": MAX_LABEL_TEXT_CHARS},
        "description": "Further facts, by name. Those that evaluate.slices names divide the quality by their values.",
    }
    return schema(
        "label",
        "Label",
        "The true class or value of one predicted event or window. The record key is the event's record key, and the topic has "
        "as many partitions as predictions, so that a label is in the partition of its prediction. A later label of the same "
        "event with another value is a correction and replaces the earlier one; with the same value it has no effect. Fields "
        "not named here are ignored.",
        {
            "type": "object",
            "required": ["label", "timestamp"],
            "anyOf": [{"required": ["id"]}, {"required": ["source"]}, {"required": ["key"]}],
            "properties": {
                "id": {
                    "type": ["string", "integer"],
                    "minLength": 1,
                    "maxLength": MAX_LABEL_ID_CHARS,
                    "minimum": -(2**63),
                    "maximum": 2**64 - 1,
                    "description": "The id of the prediction: the event's id, or of a window key|start|end. An integer is read "
                    "as its decimal text. Names the prediction if evaluate.join_by is id.",
                },
                "label": {
                    "type": ["number", "string", "boolean"],
                    "minLength": 1,
                    "maxLength": MAX_LABEL_TEXT_CHARS,
                    "description": "Classification: the name of the class as the model's signature has it, its index, or for "
                    "two classes true (1) or false (0). Regression: the value in the target's units.",
                },
                "timestamp": milliseconds("When the label became known"),
                "key": text(
                    "The event's record key, if the record of the label has no key. Names the prediction, with the timestamp, "
                    "if evaluate.join_by is key_and_time."
                ),
                "model": {
                    **text(
                        "The model whose predictions the label is for. Default: all models' predictions of the event."
                    ),
                    "pattern": MODEL_NAME,
                },
                "fields": fields,
                "source": source,
            },
        },
    )

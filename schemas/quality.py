"""JSON Schema of the records on `quality`."""

from __future__ import annotations

from forebay.schemas.rollouts import MODEL_NAME
from forebay.schemas.shapes import Schema, count, schema, text


def quality() -> Schema:
    """Return the schema of the value of a quality record."""
    return schema(
        "quality",
        "Quality",
        "Sums over predictions and their labels, since the evaluator's last commit, for one model version, window of event "
        "time and slice. Records with the same four add up. Later versions may add fields: ignore fields that you do not know.",
        {
            "type": "object",
            "required": ["model", "version", "window_start", "slice"],
            "properties": {
                "model": {"type": "string", "description": "The name of the model.", "pattern": f"^$|{MODEL_NAME}"},
                "version": count("The version of the model; 0 for counts that are not of one version."),
                "window_start": {
                    "type": "integer",
                    "description": "The start of the window, ms since the Unix epoch (UTC).",
                },
                "slice": text("name=value of the slice; empty for all predictions."),
            },
        },
    )

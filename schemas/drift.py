"""JSON Schema of the records on `drift`. See `schemas.definitions`."""

from __future__ import annotations

from typing import Final

from forebay.schemas.shapes import Schema, count, milliseconds, or_null, schema, text

DRIFT_FORMAT: Final = 1
MAX_DRIFT_COLUMNS: Final = 1_200
MAX_DRIFT_BINS: Final = 256


def drift() -> Schema:
    """Return the schema of the value of a record of drift."""
    return schema(
        "drift",
        "Drift",
        "How many of a worker's rows fell into each bin of each column in a window of time, and which shares of the training "
        "rows did. The counts of all records of a window add up; a record with a worker and number that occurred before is a "
        "repetition. Written at best effort, outside transactions. Later versions may add fields: ignore fields that you do "
        "not know.",
        {
            "type": "object",
            "required": [
                "format",
                "model",
                "version",
                "window_start",
                "window_end",
                "worker",
                "number",
                "seen",
                "rows",
                "columns",
            ],
            "properties": {
                "format": {"const": DRIFT_FORMAT, "description": "The version of this format."},
                "model": text("The name of the model."),
                "version": count("The version of the model.", 1),
                "window_start": milliseconds("When the window began, by the worker's clock"),
                "window_end": milliseconds("When the window ended"),
                "worker": text("The worker that counted."),
                "number": count("The number of the record among those of the worker, from 1.", 1),
                "seen": count("Rows that the model was given."),
                "rows": count("Rows of the sample that was counted."),
                "columns": {
                    "type": "array",
                    "maxItems": MAX_DRIFT_COLUMNS,
                    "items": _column(),
                    "description": "Features in the order of the signature, outputs, and the predicted class.",
                },
            },
        },
    )


def _column() -> Schema:
    share: Schema = {"type": "number", "minimum": 0, "maximum": 1}
    expected: Schema = {
        "type": "array",
        "items": share,
        "description": "The share of each bin among the training rows; null if the manifest does not have it.",
    }
    properties: Schema = {
        "name": text("The name of the feature, or of the class whose probability it is."),
        "kind": {
            "enum": ["number", "category", "score", "class"],
            "description": "A feature that is a number or a category; an output; the predicted class.",
        },
        "counts": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_DRIFT_BINS,
            "items": {"type": "integer", "minimum": 0},
            "description": "Rows in each bin.",
        },
        "missing": count("Rows without a value."),
        "unseen": count("Rows with a category that the model does not know."),
        "below": count("Rows below the range of the training; they are also in the first bin."),
        "above": count("Rows above the range of the training; they are also in the last bin."),
        "expected": or_null(expected),
        "expected_missing": {**share, "description": "The share of training rows without a value."},
        "expected_unseen": {**share, "description": "The share of training rows with an unknown category."},
        "expected_outside": {**share, "description": "The largest share of training rows that can be out of range."},
    }
    optional: Schema = {
        "sum": {"type": "number", "description": "The sum of the finite numbers."},
        "expected_mean": {
            "type": ["number", "null"],
            "description": "The mean of the training rows; null if it is unknown.",
        },
        "reference_rows": {
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "The number of training rows behind `expected`; null if it is unknown.",
        },
    }
    return {
        "type": "object",
        "description": "One column. Rows that are in no bin are missing or unseen.",
        "required": list(properties),
        "properties": {**properties, **optional},
    }

"""JSON Schema of the records on `quality`."""

from __future__ import annotations

from typing import Final

from forebay.schemas.rollouts import MODEL_NAME
from forebay.schemas.shapes import Schema, count, schema, text

QUALITY_FORMAT: Final = 1
NUM_SCORE_BINS: Final = 1000
NUM_CALIBRATION_BINS: Final = 15

_UNITS: Final = "in units of 2^-32"
_HEXADECIMAL: Final = "^-?0x[0-9a-f]+p-?[0-9]+$"


def quality() -> Schema:
    """Return the schema of the value of a quality record."""
    properties: dict[str, Schema] = {
        "format": {"const": QUALITY_FORMAT, "description": "The version of this format."},
        "model": {"type": "string", "description": "The name of the model.", "pattern": f"^$|{MODEL_NAME}"},
        "version": count("The version of the model; 0 for counts that are not of one version."),
        "window_start": {"type": "integer", "description": "The start of the window, ms since the Unix epoch (UTC)."},
        "window_end": {
            "type": "integer",
            "description": "The end of the window, exclusive, ms since the Unix epoch (UTC).",
        },
        "slice": text("name=value of the slice; empty for all predictions."),
        "group": text("The consumer group of the evaluators. Each group counts everything, so add up one only."),
        "worker": text("The evaluator process that counted."),
    }
    required = list(properties)
    properties |= {
        "sums": _sums(),
        "labels": _labels(),
        "progress": _progress(),
        "blocks": _further("Sums by block of keys, for experiments."),
        "paired": _further("Sums over pairs of a shadow and the version that served, for experiments."),
    }
    return schema(
        "quality",
        "Quality",
        "Sums over predictions and their labels, since the evaluator's last commit, for one model version, window of event "
        "time and slice. Records of one group with the same four add up, part by part; parts without counts may be missing. A "
        "number is negative if more was taken back than added, because a label was corrected. `forebay quality` computes "
        "metrics from the sums. Later versions may add fields: ignore fields that you do not know.",
        {"type": "object", "required": required, "properties": properties},
    )


def _integer(description: str) -> Schema:
    return {"type": "integer", "description": description}


def _object(description: str, properties: dict[str, Schema], *, optional: dict[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "description": description,
        "required": list(properties),
        "properties": {**properties, **(optional or {})},
    }


def _integers(description: str, length: int | None = None) -> Schema:
    found: Schema = {"type": "array", "items": {"type": "integer"}, "description": description}
    return found if length is None else {**found, "minItems": length, "maxItems": length}


def _counts(description: str) -> Schema:
    return _object(
        f"{description}; bins without rows are left out.",
        {
            "bins": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0},
                "description": "Numbers of the bins, ascending.",
            },
            "counts": _integers("The rows of each of these bins."),
        },
    )


def _sums() -> Schema:
    return _object(
        "Sums over the predictions and over the pairs of a prediction and its label.",
        {
            "task": {"enum": ["binary", "classes", "regression"], "description": "What the model predicts."},
            "num_classes": count("Number of classes; 0 for regression."),
            "predictions": _integer("Number of predictions, with or without a label."),
            "evicted": _integer("Predictions that were dropped before their label came: too many were waiting."),
            "invalid_predictions": _integer("Predictions whose scores are not finite or not probabilities."),
            "matched": _integer("Predictions with a label."),
            "invalid_pairs": _integer("Matched predictions with such scores or an impossible label."),
            "delay_ms": _counts(
                "Matched predictions by the time from their event to their label, in ms. Bin 512 is 0; bin 512 + n ends at "
                "2^(n/8 - 24), bin 512 - n at the same below zero"
            ),
        },
        optional={"classification": _classification(), "regression": _regression()},
    )


def _classification() -> Schema:
    score = "the score: of class 1 if there are two classes, else of the predicted class"
    calibration = _object(
        f"Pairs in {NUM_CALIBRATION_BINS} bins of equal width of {score}.",
        {
            "rows": _integers("Pairs in each bin.", NUM_CALIBRATION_BINS),
            "confidence": _integers(f"The sum of their scores, {_UNITS}.", NUM_CALIBRATION_BINS),
            "hits": _integers("How many of them have the class that the score is of.", NUM_CALIBRATION_BINS),
        },
    )
    return _object(
        "Sums of models that predict classes.",
        {
            "log_loss": _integer(f"The sum of -ln of the probability that the label's class was given, {_UNITS}."),
            "brier": _integer(
                f"The sum of squared differences of scores and labels, {_UNITS}; with more than two classes, of all classes."
            ),
            "predicted_scores": _counts(
                f"Predictions in {NUM_SCORE_BINS} bins of {score}. With two classes, the first {NUM_SCORE_BINS} are of "
                "predictions of class 0, the next of class 1"
            ),
            "hit_scores": _counts(f"Pairs whose label is the class of {score}, in the same bins"),
            "miss_scores": _counts("The other pairs, in the same bins"),
            "calibration": calibration,
        },
        optional={
            "confusion": _counts("Up to 50 classes: pairs by actual class x number of classes + predicted class"),
            "class_hits": _counts("More classes: pairs by class, if prediction and label agree"),
            "class_predicted": _counts("More classes: pairs by predicted class"),
            "class_actual": _counts("More classes: pairs by actual class"),
        },
    )


def _regression() -> Schema:
    def total(description: str) -> Schema:
        return {"type": "string", "pattern": _HEXADECIMAL, "description": f"{description}, exactly, in hexadecimal."}

    return _object(
        "Sums of models that predict a number. An error is the prediction minus the actual value. Sums are hexadecimal "
        "floating-point numbers with all digits, as C's strtod and Python's float.fromhex read them.",
        {
            "error": total("The sum of errors"),
            "absolute_error": total("The sum of their sizes"),
            "squared_error": total("The sum of their squares"),
            "actual": total("The sum of actual values"),
            "squared_actual": total("The sum of their squares"),
            "errors": _counts("Pairs by error, in the bins of delay_ms"),
        },
    )


def _labels() -> Schema:
    return _object(
        "Counts of labels, by their own timestamps; of records with version 0.",
        {
            "labels": _integer("Labels that were read."),
            "used": _integer("Labels that are the valid one of a prediction."),
            "repeated": _integer("Labels with the value that the prediction already had."),
            "corrected": _integer("Labels that replaced another value."),
            "refused": _integer("Labels that are malformed, too far in the future, or have no possible value."),
            "early": _integer("Labels that came before their prediction."),
        },
    )


def _progress() -> Schema:
    return _object(
        "How far labels have been read. The largest time of each partition is valid. A window is final if the times of all "
        "partitions are more than horizon_ms beyond its end, and no partition with predictions is without a time.",
        {
            "horizon_ms": count("How long after a prediction's event its label may come, in ms."),
            "until_ms": {
                "type": "object",
                "propertyNames": {"pattern": "^[0-9]+$"},
                "additionalProperties": {"type": "integer"},
                "description": "The largest timestamp of a label by partition of `labels`, ms since the Unix epoch (UTC).",
            },
        },
        optional={
            "unlabelled": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0},
                "description": "Partitions that had predictions, but no label until now.",
            },
        },
    )


def _further(description: str) -> Schema:
    return {"type": "object", "description": description}

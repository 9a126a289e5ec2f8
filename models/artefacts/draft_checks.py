"""Check what is given for a version before it is published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from forebay.models.artefacts.argument_checks import describe, number, text
from forebay.models.artefacts.golden import Tolerance
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.preprocessing.pipeline import STEP_TYPES
from forebay.models.artefacts.repository import resolve_version
from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import ModelError


def check_provenance(name: str, *, metrics: object, created_at: object) -> None:
    """Raise ModelError unless the metrics are finite numbers by name, and the time has a time zone."""
    if not isinstance(metrics, Mapping):
        raise _wrong_metric(f"model {name!r}: metrics is {describe(metrics)}")
    for key, value in metrics.items():
        text(key, f"model {name!r}: a metric's name", _wrong_metric)
        if not math.isfinite(number(value, f"model {name!r}: metric {key}", _wrong_metric)):
            raise _wrong_metric(f"model {name!r}: metric {key} is {value}")
    if not isinstance(created_at, datetime) or created_at.utcoffset() is None:
        what = "has no time zone" if isinstance(created_at, datetime) else f"is {describe(created_at)}"
        raise _error(f"model {name!r}: created_at {what}", "manifest", "give a time such as datetime.now(UTC)")


def check_signature(name: str, signature: object) -> None:
    """Raise ModelError unless this is a signature."""
    if not isinstance(signature, Signature):
        raise _error(
            f"model {name!r}: signature is {describe(signature)}",
            "signature",
            "give a forebay.Signature, which names the features one by one",
        )


def check_preprocessing(name: str, preprocessing: object) -> None:
    """Raise ModelError unless this is a preprocessing of steps that an artefact holds."""
    remedy = "fit it with forebay.fit_preprocessing, or leave it out"
    if not isinstance(preprocessing, Preprocessing):
        raise _error(f"model {name!r}: preprocessing is {describe(preprocessing)}", "preprocessing", remedy)
    for index, step in enumerate(preprocessing.steps):
        if type(step) not in STEP_TYPES:
            raise _error(
                f"model {name!r}: preprocessing.steps[{index}] is a {type_name(type(step))}; "
                f"an artefact holds {', '.join(cls.__name__ for cls in STEP_TYPES)} of forebay",
                "preprocessing",
                remedy,
            )


def check_parent(repository: Path | str, name: str, parent: object) -> None:
    """Raise ModelError unless the parent is None or a version of the model."""
    if parent is None:
        return
    if isinstance(parent, bool) or not isinstance(parent, int):
        raise ModelError(
            f"model {name!r}: parent is {describe(parent)}", kind="manifest", remedy="give the number of a version"
        )
    resolve_version(repository, name, parent)


def check_tolerance(name: str, tolerance: object) -> None:
    """Raise ModelError unless this is a tolerance or None."""
    if tolerance is not None and not isinstance(tolerance, Tolerance):
        raise ModelError(
            f"model {name!r}: tolerance is {describe(tolerance)}",
            kind="golden",
            remedy="give a forebay.Tolerance, or omit it",
        )


def type_name(cls: type) -> str:
    """Return the full name of a class for a message."""
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")


def _wrong_metric(message: str) -> ModelError:
    return _error(message, "manifest", "give metrics as finite numbers by name")


def _error(message: str, kind: str, remedy: str) -> ModelError:
    return ModelError(message, kind=kind, remedy=remedy)

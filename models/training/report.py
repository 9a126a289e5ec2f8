"""The report of a training as JSON values, and both of its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from forebay.models.training.evaluation import Evaluation
from forebay.models.training.report_page import report_page
from forebay.models.training.run import TrainingOutcome
from forebay.models.training.tuning import Trial
from forebay.schemas.errors import StorageError

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where the report was written."""

    page: Path
    document: Path


def report_document(
    outcome: TrainingOutcome, evaluation: Evaluation, source: str, trials: Sequence[Trial] = ()
) -> dict[str, Any]:
    """Return the report as JSON values. source: the name of the data."""
    data, fitted, recipe = outcome.data, outcome.fitted, outcome.recipe
    done = outcome.registration
    return {
        "format": FORMAT,
        "model": {
            "name": recipe.registration.name,
            "version": None if done is None else done.version,
            "backend": None if done is None else done.backend,
            "architecture": recipe.model.architecture,
            "params": dict(fitted.params),
            "content_sha256": outcome.content_sha256 or None,
            "manifest_sha256": None if done is None else done.manifest_sha256,
        },
        "recipe": recipe.to_toml(),
        "training": {
            "end": fitted.end,
            "best": fitted.best,
            "unit": "epoch" if recipe.model.is_net else "round",
            "history": [asdict(record) for record in fitted.history],
        },
        "metrics": {part: dict(values) for part, values in outcome.metrics.items()},
        "evaluation": asdict(evaluation),
        "data": {
            "source": source,
            "task": data.signature.task,
            "label": recipe.data.label,
            "classes": list(data.signature.labels),
            "rows": {part: len(rows) for part, rows in data.split.parts().items()},
            "split_by": recipe.split.by,
            "features": [
                {"name": feature.name, "type": feature.dtype, "nullable": feature.nullable, "codes": feature.num_codes}
                for feature in data.signature.features
            ],
            "prepared_columns": len(data.names),
            "steps": [step.kind for step in data.preprocessing.steps],
            "notes": list(data.notes),
            "warnings": list(data.warnings),
        },
        "trials": [{**asdict(trial), "values": dict(trial.values)} for trial in trials],
    }


def write_report(folder: Path, document: dict[str, Any]) -> ReportFiles:
    """Write report.json and report.html into a folder. Raises StorageError."""
    files = ReportFiles(folder / "report.html", folder / "report.json")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.document.write_text(
            json.dumps(document, indent=2, ensure_ascii=False, default=list) + "\n", encoding="utf-8"
        )
        files.page.write_text(report_page(document), encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: the report cannot be written: {error.strerror or error}",
            remedy="choose another folder with --report",
        ) from None
    return files

"""Publish a trained model through the gate of registration, and compute the digest by which trainings are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from forebay.models.artefacts.alias_moves import move_alias
from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.ml_bom import BOM_FILE
from forebay.models.artefacts.model_card import CARD_FILE
from forebay.models.artefacts.repository import MANIFEST_FILE, list_versions
from forebay.models.registration.register import Registration, register
from forebay.models.serving.scoring import score
from forebay.models.statistics.reference import reference_statistics
from forebay.models.training.fitted_model import FittedModel
from forebay.models.training.fitted_preparation import events_of
from forebay.models.training.prepared_data import PreparedData
from forebay.models.training.recipe import Recipe
from forebay.models.training.row_files import row_blocks
from forebay.schemas.errors import ModelError

_GOLDEN_CANDIDATES: Final = 4_096
# Of the moment and the place, or derived from them.
_NOT_OF_THE_CONTENT: Final = frozenset({"created_at", "version", "parent", "note"})
_DESCRIPTIONS: Final = frozenset({CARD_FILE, BOM_FILE})


def publish_trained(
    recipe: Recipe,
    data: PreparedData,
    fitted: FittedModel,
    *,
    metrics: Mapping[str, float],
    created_at: datetime,
) -> Registration:
    """Publish the model as the next version, and move the alias if the recipe has one.

    Raises ModelError if the model does not pass the gate; StorageError if it cannot be written.
    """
    section = recipe.registration
    done = register(
        fitted.model,
        name=section.name,
        repository=section.repository,
        signature=data.signature,
        preprocessing=data.preprocessing,
        golden_rows=data.raw_rows("training", _GOLDEN_CANDIDATES),
        metrics=metrics,
        note=section.note,
        licence=section.licence,
        parent=section.parent or _newest_version(section.repository, section.name),
        backend=section.backend if recipe.model.is_net else None,
        created_at=created_at,
        reference_statistics=training_statistics(data, fitted),
    )
    if section.alias is not None:
        move_alias(
            section.repository,
            section.name,
            section.alias,
            done.version,
            by="forebay train",
            at=created_at,
            reason="trained from a recipe",
        )
    return done


def _newest_version(repository: str, name: str) -> int | None:
    try:
        return max(list_versions(repository, name), default=None)
    except ModelError:  # there is no such model yet
        return None


def training_statistics(data: PreparedData, fitted: FittedModel) -> dict[str, object]:
    """Return the reference statistics of the training rows, and of the scores of the validation rows, for the manifest."""
    table, rows = data.table, data.split.training

    def events() -> Iterator[FloatArray]:
        for part in row_blocks(len(rows), data.signature.row_width):
            yield events_of(table, rows[part])[0]

    def scores() -> Iterator[FloatArray]:
        for part in row_blocks(len(data.validation), data.validation.x.shape[1]):
            yield score(fitted.predict(data.validation.x[part]), data.signature.task).values_BO

    return reference_statistics(data.signature, events(), scores()).to_dict()


def content_digest(folder: Path) -> str:
    """Return the SHA-256 of everything in a version that the recipe, the data and the seed determine.

    These are all files with their digests and the manifest, except the time, the version numbers, the note, and the model card
    and bill of materials, which repeat them.
    """
    manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
    content = {key: value for key, value in manifest.items() if key not in _NOT_OF_THE_CONTENT}
    content["files"] = {name: entry for name, entry in manifest["files"].items() if name not in _DESCRIPTIONS}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

"""The demo's model: trained once and kept under a digest of its recipe, so that a changed recipe trains a new model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import StorageError
from forebay.stream.decode.features import FeaturePacker
from forebay.stream.demo.flights import (
    CATEGORIES,
    LATE_MINUTES,
    NULLABLE,
    NUMBERS,
    TRAINING_MONTHS,
    Flight,
    FlightData,
    features_of,
    signature_of,
)

MODEL_NAME: Final = "flights-late"
HIDDEN_DIMS: Final = (64, 32)
EPOCHS: Final = 6
BATCH_SIZE: Final = 1024
LEARNING_RATE: Final = 2e-3
SEED: Final = 13
# Increase it if a code change makes the same recipe train a different model.
RECIPE_FORMAT: Final = 2

Progress = Callable[[str, float], None]
"""Receives the name of the current step, and the fraction of the whole that is done (0 to 1)."""


@dataclass(frozen=True, slots=True)
class DemoModel:
    """A trained model on disk. metrics: metrics of its validation rows."""

    repository: Path
    version: int
    metrics: Mapping[str, float]
    was_cached: bool


def recipe_digest(data_bytes: int) -> str:
    """Return a short digest of everything that determines the trained model. data_bytes: size of the data."""
    recipe = {
        "format": RECIPE_FORMAT,
        "data_bytes": data_bytes,
        "months": TRAINING_MONTHS,
        "features": [*CATEGORIES, *NUMBERS],
        "nullable": NULLABLE,
        "late_minutes": LATE_MINUTES,
        "training": [HIDDEN_DIMS, EPOCHS, BATCH_SIZE, LEARNING_RATE, SEED],
    }
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]


def cached_model(repository: Path) -> DemoModel | None:
    """Return the newest version in the repository, or None. Reads only its manifest: the worker checks the weights."""
    try:
        versions = [int(entry.name) for entry in (repository / MODEL_NAME).iterdir() if entry.name.isdigit()]
        manifest = json.loads((repository / MODEL_NAME / str(max(versions)) / "manifest.json").read_bytes())
        return DemoModel(repository, max(versions), dict(manifest["metrics"]), was_cached=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def train_model(data: FlightData, repository: Path, *, created_at: datetime, progress: Progress) -> DemoModel:
    """Train on the training months and save the artefact in `repository`. Raises StorageError, DataError, ModelError."""
    progress("reading flights", 0.0)
    flights = [
        flight for flight in data.read(TRAINING_MONTHS) if flight.late is not None and flight.dep_delay is not None
    ]
    progress("reading flights", 0.2)
    # Importing torch takes seconds, and a cached model does not need it.
    from forebay.models.backends.torch.device import limit_threads
    from forebay.models.backends.torch.save import save_artefact
    from forebay.models.training.fit import fit_preprocessing
    from forebay.models.training.train import TrainOptions, train

    # Such a small network gains nothing from a second thread.
    limit_threads(1)
    signature = signature_of(flights)
    x_NF = matrix(signature, flights)
    y_N = np.array([flight.late for flight in flights], dtype=np.float32)
    preprocessing = fit_preprocessing(signature, x_NF, impute="median")
    params = {
        "input_dim": preprocessing.output_width(signature.num_features),
        "hidden_dims": list(HIDDEN_DIMS),
        "output_dim": 1,
    }
    trained = train(
        "mlp",
        params,
        "binary",
        x_NG=preprocessing.apply(x_NF),
        y_N=y_N,
        options=TrainOptions(epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE, seed=SEED),
        progress=lambda epoch, fraction, loss: progress(f"training, epoch {epoch}", 0.3 + 0.7 * fraction),
    )
    try:
        folder = save_artefact(
            repository,
            MODEL_NAME,
            trained.net,
            signature=signature,
            preprocessing=preprocessing,
            metrics=trained.metrics,
            created_at=created_at,
            golden_rows=x_NF,
            note=f"forebay demo: {len(flights):,} flights from New York, January to June 2013",
        )
    except StorageError as error:
        raise StorageError(error.message, kind=error.kind, remedy="choose another folder with --cache-dir") from error
    return DemoModel(repository, int(folder.name), trained.metrics, was_cached=False)


def matrix(signature: Signature, flights: Sequence[Flight]) -> npt.NDArray[np.float32]:
    """Return the features as float32 [N, F], packed by the code that decodes events in the worker."""
    packer = FeaturePacker(signature)
    rows = [packer.exact(features_of(flight)) for flight in flights]
    return np.frombuffer(bytearray().join(rows), dtype="<f4").reshape(len(flights), signature.num_features)

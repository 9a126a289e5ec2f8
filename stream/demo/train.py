"""The demo's model: trained once, kept under a digest of its recipe, so that a changed recipe trains anew."""

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
# Goes up when the code changes what the same recipe gives.
RECIPE_FORMAT: Final = 1

Progress = Callable[[str, float], None]
"""Gets what is being done, and how much of all is done (0 to 1)."""


@dataclass(frozen=True, slots=True)
class DemoModel:
    """A trained model on disk. metrics: of its validation rows."""

    repository: Path
    version: int
    metrics: Mapping[str, float]
    was_cached: bool


def recipe_digest(data_bytes: int) -> str:
    """A short digest of all that decides what the training gives."""
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
    """The newest version that lies there. Only its manifest is looked at: the worker checks the weights when it loads them."""
    try:
        versions = [int(entry.name) for entry in (repository / MODEL_NAME).iterdir() if entry.name.isdigit()]
        manifest = json.loads((repository / MODEL_NAME / str(max(versions)) / "manifest.json").read_bytes())
        return DemoModel(repository, max(versions), dict(manifest["metrics"]), was_cached=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def train_model(data: FlightData, repository: Path, *, created_at: datetime, progress: Progress) -> DemoModel:
    """Read the training months, train, publish into `repository`. Raises StorageError, DataError, ModelError."""
    progress("reading flights", 0.0)
    flights = [
        flight for flight in data.read(TRAINING_MONTHS) if flight.late is not None and flight.dep_delay is not None
    ]
    progress("reading flights", 0.2)
    # torch takes seconds to import, and a cached model does without it.
    from forebay.models.artefacts.artefact import save_artefact
    from forebay.models.backends.torch_device import limit_threads
    from forebay.models.training.fit import fit_preprocessing
    from forebay.models.training.train import TrainOptions, train

    # So small a net only waits for a second thread.
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
            note=f"forebay demo: flights from New York, January to June 2013, {len(flights):,} of them",
        )
    except StorageError as error:
        raise StorageError(error.message, kind=error.kind, remedy="choose another folder with --cache-dir") from error
    return DemoModel(repository, int(folder.name), trained.metrics, was_cached=False)


def matrix(signature: Signature, flights: Sequence[Flight]) -> npt.NDArray[np.float32]:
    """float32 [N, F], by the same code that decodes events in the worker."""
    packer = FeaturePacker(signature)
    rows = [packer.exact(features_of(flight)) for flight in flights]
    return np.frombuffer(bytearray().join(rows), dtype="<f4").reshape(len(flights), signature.num_features)

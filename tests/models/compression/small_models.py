"""Small models and data for the tests of compression."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from forebay.models.artefacts.artefact import Artefact, read_artefact, read_version
from forebay.models.artefacts.backend_files import ONNX_FILE
from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.publication import Draft
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.compression.compress import Job, Tools
from forebay.models.compression.fine_tuning import TuningOptions
from forebay.models.compression.goals import Goals
from forebay.models.compression.layers import Dense, Layers, encode
from forebay.models.compression.plans import Wishes
from forebay.models.compression.subject import Subject, publish
from forebay.models.compression.training_rows import CompressionData, Part
from forebay.models.measurement.energy import EstimateMeter
from forebay.models.measurement.timing import TimingOptions

NAME = "spots"
NOW = datetime(2026, 11, 29, tzinfo=UTC)
WIDTH = 6


def spots(rows: int, seed: int) -> Part:
    """Return rows of three classes, each around a corner of its own, which a small net separates."""
    random = np.random.default_rng(seed)
    classes_N = random.integers(0, 3, rows)
    x_NW = (np.eye(3, WIDTH)[classes_N] * 4 + random.normal(0, 1, (rows, WIDTH))).astype(np.float32)
    return Part(x_NW, x_NW, classes_N)


def spots_data() -> CompressionData:
    return CompressionData(spots(240, 1), spots(60, 2), spots(240, 3))


def spots_layers(hidden: int = 16) -> Layers:
    """Return a net that decides by the three columns that differ; other hidden units are noise of small weight."""
    random = np.random.default_rng(4)
    first = random.normal(0, 0.01, (WIDTH, hidden)).astype(np.float32)
    second = random.normal(0, 0.01, (hidden, 3)).astype(np.float32)
    first[:3, :3] += np.eye(3, dtype=np.float32)
    second[:3] += np.eye(3, dtype=np.float32)
    return Layers(
        (Dense(first, np.zeros(hidden, np.float32), "Relu"), Dense(second, np.zeros(3, np.float32))), (WIDTH,)
    )


def spots_signature() -> Signature:
    return Signature(
        tuple(Feature(f"f{index}") for index in range(WIDTH)), (WIDTH,), "multiclass", 3, labels=("a", "b", "c")
    )


def graph_subject(layers: Layers, signature: Signature, name: str = NAME) -> Subject:
    """Return a subject of the backend onnx."""
    draft = Draft(
        name,
        "onnx",
        files={ONNX_FILE: encode(layers)},
        signature=signature,
        preprocessing=Preprocessing.identity(),
        provenance=Provenance(NOW, {}),
    )
    return Subject(draft, layers=layers)


def published(subject: Subject, repository: Path, data: CompressionData) -> Artefact:
    """Publish a subject and read the version."""
    provenance = replace(subject.draft.provenance, created_at=NOW)
    version = publish(subject, str(repository), provenance, data.training.x_NW)
    return read_artefact(read_version(repository, subject.draft.name, version))


def job(artefact: Artefact, data: CompressionData, wishes: Wishes, goals: Goals, rounds: int = 2) -> Job:
    """Return a job that is measured in a moment."""
    return Job(
        artefact,
        data,
        wishes,
        goals,
        timing=TimingOptions((1, 64), rounds=rounds, round_s=1e-4),
        tuning=TuningOptions(epochs=2, batch_size=64),
        with_memory=False,
    )


def tools(scratch: Path, step_s: float = 1e-3) -> Tools:
    """Return tools whose clock advances by the same step with each reading, so that all calls take equally long."""
    now = iter(np.arange(1, 10_000_000) * step_s)
    return Tools(lambda: float(next(now)), EstimateMeter(lambda: 0.0), scratch)

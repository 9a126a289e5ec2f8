"""The models of the loads: untrained nets in ONNX Runtime, for single events and for windows of events."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import numpy as np

from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.window_input import Aggregate, WindowInput
from forebay.models.registration.layers_graph import encode_layers
from forebay.models.registration.register import register
from forebay.stream.bench.setup import save_bench_model

AGGREGATES: Final = (Aggregate("count"), Aggregate("mean", 0), Aggregate("max", 1), Aggregate("std", 2))


def net_name(num_features: int, copy: int = 0) -> str:
    """Return the name of the net with this number of features. copy: of several equal ones."""
    return f"net-{num_features}-{copy}"


def windows_name(num_features: int, copy: int = 0) -> str:
    """Return the name of the model that takes windows of events with this number of features. copy: of several equal ones."""
    return f"windows-{num_features}-{copy}"


def save_net(repository: Path, num_features: int, *, copies: int = 1) -> None:
    """Save an MLP with hidden layers of 128 and 64 and two classes, and its copies, unless they exist."""
    for copy in range(copies):
        if not (repository / net_name(num_features, copy)).exists():
            save_bench_model(repository, name=net_name(num_features, copy), num_features=num_features, backend="onnx")


def save_windows_model(repository: Path, num_features: int, *, copies: int = 1) -> None:
    """Save a linear model of four aggregates of a window, and its copies, unless they exist."""
    features = tuple(Feature(f"f{number}") for number in range(num_features))
    signature = Signature(features, (num_features,), "regression", 1, window=WindowInput(aggregates=AGGREGATES))
    weight = np.full((len(AGGREGATES), 1), 0.25, dtype=np.float32)
    graph = encode_layers([weight], [np.zeros(1, dtype=np.float32)], "relu")
    for copy in range(copies):
        name = windows_name(num_features, copy)
        if (repository / name).exists():
            continue
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "windows.onnx"
            file.write_bytes(graph)
            register(file, name=name, repository=repository, signature=signature, note="for benchmarks only")

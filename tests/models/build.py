"""Build small models and artefacts for tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from forebay.models.artefacts.artefact import read_artefact, read_version
from forebay.models.artefacts.files import GOLDEN_FILE
from forebay.models.artefacts.golden import GoldenRows
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.preprocessing import Preprocessing, Standardise
from forebay.models.artefacts.signature import Feature, Signature, Task
from forebay.models.backends.torch.architectures import Net, build_net
from forebay.models.backends.torch.backend import TorchBackend, load_net
from forebay.models.backends.torch.runner import TorchRunner
from forebay.models.backends.torch.save import save_artefact
from forebay.models.serving.served_model import ModelDescription, ServedModel

CREATED_AT = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
CPU = torch.device("cpu")


def make_signature(
    num_features: int = 3, task: Task = "multiclass", output_dim: int = 2, labels: tuple[str, ...] = ()
) -> Signature:
    features = tuple(Feature(f"f{index}", nullable=index == 0) for index in range(num_features))
    return Signature(features=features, shape=(num_features,), task=task, output_dim=output_dim, labels=labels)


def make_net(input_dim: int = 3, output_dim: int = 2, seed: int = 0, hidden_dims: tuple[int, ...] = (4,)) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_net("mlp", {"input_dim": input_dim, "hidden_dims": list(hidden_dims), "output_dim": output_dim})


def make_standardise(width: int = 3) -> Preprocessing:
    columns = tuple(range(width))
    means, scales = tuple(0.1 * column for column in columns), tuple(1.0 + column / 3 for column in columns)
    return Preprocessing((Standardise(width, columns, means, scales),))


def serve(module: torch.nn.Module, signature: Signature, preprocessing: Preprocessing | None = None) -> ServedModel:
    description = ModelDescription("m", 3, signature, preprocessing or Preprocessing.identity())
    return ServedModel(description, TorchRunner(module, CPU))


@dataclass(frozen=True, slots=True, eq=False)
class LoadedNet:
    """An artefact of a built-in architecture, and its net before it moves to a device."""

    manifest: Manifest
    net: Net
    directory: Path
    golden: GoldenRows | None


def load_artefact(repository: Path | str, name: str, version: int | str | None = None) -> LoadedNet:
    """Load an artefact as the load gate does, without its golden rows being compared."""
    stored = read_version(repository, name, version)
    TorchBackend().check(stored.manifest, str(stored.manifest_file))
    artefact = read_artefact(stored)
    return LoadedNet(stored.manifest, load_net(artefact), stored.directory, artefact.golden)


def serve_artefact(loaded: LoadedNet) -> ServedModel:
    """Serve a loaded net on the CPU, after comparing its golden rows."""
    model = ServedModel(ModelDescription.of(loaded.manifest), TorchRunner(loaded.net, CPU))
    if loaded.golden is not None:
        model.check_golden(loaded.golden, f"{loaded.directory / GOLDEN_FILE} on {CPU}")
    return model


def publish(repository: Path | str, name: str = "delays", **more: Any) -> Path:
    """Publish the next version of a small model; `more` replaces arguments of `save_artefact`."""
    options: dict[str, Any] = {
        "signature": make_signature(labels=("no", "yes")),
        "preprocessing": make_standardise(),
        "metrics": {"accuracy": 0.1 + 0.2, "loss": 1e-300},
        "created_at": CREATED_AT,
        "note": "trained by a test – with a dash",
    }
    return save_artefact(repository, name, **({"net": make_net()} | options | more))

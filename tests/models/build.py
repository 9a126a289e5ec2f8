"""Build small models and artefacts for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from forebay.models.artefacts.architectures import Net, build_net
from forebay.models.artefacts.artefact import save_artefact
from forebay.models.artefacts.preprocessing import Preprocessing, Standardise
from forebay.models.artefacts.signature import Feature, Signature, Task
from forebay.models.serving.served_model import ServedModel

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
    return ServedModel(
        name="m",
        version=3,
        signature=signature,
        preprocessing=preprocessing or Preprocessing.identity(),
        module=module,
        device=CPU,
    )


def publish(repository: Path, name: str = "delays", **more: Any) -> Path:
    """Publish the next version of a small model; `more` replaces arguments of `save_artefact`."""
    options: dict[str, Any] = {
        "signature": make_signature(labels=("no", "yes")),
        "preprocessing": make_standardise(),
        "metrics": {"accuracy": 0.1 + 0.2, "loss": 1e-300},
        "created_at": CREATED_AT,
        "note": "trained by a test – with a dash",
    }
    return save_artefact(repository, name, **({"net": make_net()} | options | more))

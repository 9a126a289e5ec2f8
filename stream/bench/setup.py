"""The measured deployment: the user's settings with those of the benchmark, the model, the configuration file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import torch
from pydantic import SecretStr

from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.location import is_url, local_folder
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.trust import normalise_repository
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.save import save_artefact
from forebay.models.registration.layers_graph import encode_layers
from forebay.models.registration.register import register
from forebay.stream.config.names import environment_name
from forebay.stream.config.sections import KafkaSection, ModelSection, Settings, WindowSection, section_types
from forebay.stream.config.toml_text import toml_value
from forebay.stream.config.values import may_hold_secret
from forebay.stream.embedded.worker_process import without_settings

MODEL_NAME: Final = "bench"
NUM_FEATURES: Final = 32
MODEL_DESCRIPTION: Final = "MLP 32-128-64-2"


BACKENDS: Final = ("torch", "onnx")


def save_bench_model(
    repository: Path, *, name: str = MODEL_NAME, num_features: int = NUM_FEATURES, backend: str = "torch"
) -> None:
    """Save the benchmark's model: an untrained MLP 32-128-64-2 with the same weights each time, or a wider or narrower one.

    backend: `torch`, or `onnx` for the same net as a graph.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build_net("mlp", {"input_dim": num_features, "hidden_dims": [128, 64], "output_dim": 2})
    features = tuple(Feature(f"f{number}") for number in range(num_features))
    signature = Signature(features, (num_features,), "multiclass", 2)
    now, note = datetime.now(UTC), "untrained, for benchmarks only; its predictions mean nothing"
    if backend == "onnx":
        layers = [layer for layer in net.modules() if isinstance(layer, torch.nn.Linear)]
        weights = [layer.weight.detach().numpy().T for layer in layers]
        graph = encode_layers(weights, [layer.bias.detach().numpy() for layer in layers], "relu")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "bench.onnx"
            file.write_bytes(graph)
            register(file, name=name, repository=repository, signature=signature, created_at=now, note=note)
        return
    save_artefact(repository, name, net, signature=signature, created_at=now, note=note)


def signature_of(model: ModelSection) -> Signature:
    """Return the signature of the configured model. Raises ModelError."""
    return read_version(model.repository, model.name, model.version).manifest.signature


def bench_settings(
    settings: Settings, *, run_id: str, embedded_servers: str | None, own_repository: Path | None
) -> Settings:
    """Return the settings with which the worker runs.

    Micro-batches, limits, output and delivery are the user's, and so is the cluster unless the broker is embedded. Topics and
    group belong to this run. The model is the benchmark's, or, if `own_repository` is None, the user's default model.
    """
    settings = settings.with_default_model_only()
    group = {"group_id": f"forebay-bench-{run_id}", "group_instance_id": None}
    if embedded_servers is None:
        kafka = settings.kafka.model_copy(update=group)
    else:
        kafka = KafkaSection(bootstrap_servers=embedded_servers).model_copy(update=group)
    model = settings.model
    if not is_url(model.repository):
        model = model.model_copy(update={"repository": str(local_folder(model.repository).absolute())})
    if own_repository is not None:
        model = model.model_copy(update={"repository": str(own_repository), "name": MODEL_NAME, "version": None})
        settings = settings.model_copy(update={"window": WindowSection()})  # its input is a single event
    trusted = tuple(map(normalise_repository, settings.trust.repositories))  # the worker runs in another folder
    input_settings = {"topics": ("features",), "auto_offset_reset": "earliest", "from_timestamp": None}
    topics: dict[str, object] = {"prefix": f"forebay-bench-{run_id}-"}
    if embedded_servers is not None:
        topics["replication_factor"] = 1
    return settings.model_copy(
        update={
            "kafka": kafka,
            "input": settings.input.model_copy(update=input_settings),
            "model": model,
            "trust": settings.trust.model_copy(update={"repositories": trusted}),
            "topics": settings.topics.model_copy(update=topics),
            "log": settings.log.model_copy(update={"level": "info", "format": "json"}),
        }
    )


def as_toml(settings: Settings) -> str:
    """Return a configuration file with every setting that has a value, except those that may hold a secret."""
    blocks = []
    for name, section in section_types().items():
        lines = [f"[{name}]"]
        for key, value in _section(settings, name).items():
            if value is not None and not may_hold_secret(section.model_fields[key]):
                lines.append(f"{key} = {toml_value(value)}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def worker_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the worker's environment: `environ` without Forebay's settings, which would override the file, and the secrets."""
    secrets = {
        environment_name(f"{name}.{key}"): _environment_value(value)
        for name, section in section_types().items()
        for key, value in _section(settings, name).items()
        if value not in (None, ()) and may_hold_secret(section.model_fields[key])
    }
    return without_settings(environ) | secrets


def _environment_value(value: object) -> str:
    """Return a value of a setting as an environment variable has it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def reported_settings(settings: Settings) -> dict[str, object]:
    """Return the settings that affect the figures, for the report."""
    return {
        "batch": settings.batch.model_dump(),
        "limits": settings.limits.model_dump(),
        "processing_guarantee": settings.delivery.processing_guarantee,
        "compression_type": settings.output.compression_type,
        "isolation_level": settings.input.isolation_level,
        "partitions": settings.topics.partitions,
        "threads": settings.model.threads,
        "device": settings.model.device,
    }


def _section(settings: Settings, name: str) -> Mapping[str, object]:
    section = getattr(settings, name)
    return {key: getattr(section, key) for key in type(section).model_fields}

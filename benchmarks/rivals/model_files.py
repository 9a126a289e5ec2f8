"""The benchmark's net in the files that the contestants in other languages load, with the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from forebay.models.artefacts.artefact import read_artefact, read_version
from forebay.models.backends.torch.backend import load_net
from forebay.models.registration.layers_graph import encode_layers


def write_model_files(repository: Path, name: str, folder: Path) -> None:
    """Write the MLP as `NAME.onnx` and its weights as `NAME.safetensors`, into `folder`.

    The graph has the input `rows` and returns logits. The weights are `weight.0` [inputs, outputs], `bias.0` [outputs], and
    so on.
    """
    layers = [layer for layer in _net(repository, name).modules() if isinstance(layer, torch.nn.Linear)]
    weights = [np.ascontiguousarray(layer.weight.detach().numpy().T) for layer in layers]
    biases = [layer.bias.detach().numpy() for layer in layers]
    (folder / f"{name}.onnx").write_bytes(encode_layers(weights, biases, "relu"))
    tensors = {f"weight.{number}": weight for number, weight in enumerate(weights)}
    tensors |= {f"bias.{number}": bias for number, bias in enumerate(biases)}
    save_file(tensors, folder / f"{name}.safetensors")


def expected_scores(
    repository: Path, name: str, rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> torch.Tensor:
    """Return the probabilities [rows, classes] that a correct contestant predicts for these rows of features."""
    with torch.inference_mode():
        return torch.softmax(_net(repository, name)(torch.from_numpy(rows)), dim=1)


def _net(repository: Path, name: str) -> torch.nn.Module:
    return load_net(read_artefact(read_version(str(repository), name)))

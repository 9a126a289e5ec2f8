"""Describes the server and its models as the Open Inference Protocol does. Pure."""

from __future__ import annotations

from typing import Any, Final

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.admin.served_model import ServedModel

INPUT: Final = "input"
"""The name of the input of a model whose features have no names."""
PREDICTION: Final = "prediction"
EXTENSIONS: Final = ("binary_tensor_data",)


def describe_server(release: str) -> dict[str, Any]:
    """Return the metadata of the server."""
    return {"name": "forebay", "version": release, "extensions": list(EXTENSIONS)}


def describe_tensors(served: ServedModel) -> dict[str, Any]:
    """Return the metadata of a model: its inputs, one for each named feature, and its outputs."""
    signature = served.signature
    if signature.features:
        inputs = [
            {"name": feature.name, "datatype": _datatype_of(feature), "shape": [-1, 1]}
            for feature in signature.features
        ]
    else:
        inputs = [{"name": INPUT, "datatype": "FP32", "shape": [-1, *signature.shape]}]
    return {
        "name": served.ref.name,
        "versions": [str(served.ref.version)],
        "platform": "forebay",
        "inputs": inputs,
        "outputs": output_tensors(signature),
    }


def _datatype_of(feature: Feature) -> str:
    return "BYTES" if feature.is_text or feature.parts else "FP32"


def output_tensors(signature: Signature) -> list[dict[str, Any]]:
    """Return name, datatype and shape of each output of a model."""
    outputs: list[dict[str, Any]] = [
        {"name": PREDICTION, "datatype": "FP32", "shape": [-1, signature.output_dim]},
    ]
    if signature.num_classes:
        outputs.append({"name": "confidence", "datatype": "FP32", "shape": [-1]})
        outputs.append({"name": "class", "datatype": "INT64", "shape": [-1]})
    if signature.labels:
        outputs.append({"name": "label", "datatype": "BYTES", "shape": [-1]})
    return outputs

"""Versions of a small model in a repository. Each output names the version and depends on all features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from onnx import TensorProto, helper

from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Signature
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.publish import publish_candidate
from tests.models.backends.onnx.graphs import constant, make_model
from tests.models.build import CREATED_AT
from tests.worker.echo import NUM_FEATURES

MODEL: Final = "linear"
WEIGHTS: Final = tuple(float(1 << column) for column in range(NUM_FEATURES))
OFFSET: Final = 1000.0
"""The output of a version is OFFSET times its number, plus the weighted features."""
TOLERANCE: Final = 0.05


def weighted(features: Sequence[float]) -> float:
    """Return the part of the output that does not depend on the version."""
    return sum(weight * feature for weight, feature in zip(WEIGHTS, features, strict=True))


def publish_versions(repository: Path, count: int) -> dict[int, str]:
    """Publish versions 1 to `count`, and return the digests of their manifests."""
    for version in range(1, count + 1):
        nodes = [
            helper.make_node("MatMul", ["rows", "weights"], ["weighted"]),
            helper.make_node("Add", ["weighted", "offset"], ["scores"]),
        ]
        graph = make_model(
            nodes,
            [constant("weights", np.array(WEIGHTS).reshape(-1, 1)), constant("offset", [OFFSET * version])],
            inputs=[helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", NUM_FEATURES])],
            outputs=[helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 1])],
        )
        candidate = Candidate(
            "onnx",
            {"model.onnx": graph.SerializeToString()},
            Signature((), (NUM_FEATURES,), "regression", 1),
            Preprocessing.identity(),
        )
        publish_candidate(candidate, repository=repository, name=MODEL, provenance=Provenance(CREATED_AT, {}))
    return {version: read_version(str(repository), MODEL, version).manifest_sha256 for version in range(1, count + 1)}

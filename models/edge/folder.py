"""Export a version as a folder that runs with nothing but onnxruntime and numpy, or as the ONNX file alone."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from forebay.models.artefacts.artefact import StoredVersion, read_artefact
from forebay.models.artefacts.golden import Tolerance
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.model_card import model_card
from forebay.models.artefacts.storage import write_synced
from forebay.models.backends.protocol import RunOptions
from forebay.models.edge.agreement import MAX_DIFFERENCE, WorkerOutputs, compare
from forebay.models.edge.limits import Limits
from forebay.models.edge.programs import checked_files, device_programs
from forebay.models.edge.readme import readme
from forebay.models.edge.single_graph import check_exportable, single_graph
from forebay.models.serving.load_gate import load_version
from forebay.schemas.errors import ModelError, StorageError

GRAPH_FILE: Final = "model.onnx"
ABOUT_FILE: Final = "model.json"
BINS_FILE: Final = "bins.json"
CARD_FILE: Final = "MODEL_CARD.md"
FORMAT: Final = 1
"""The format of `model.json`."""


@dataclass(frozen=True, slots=True, eq=False)
class EdgeModel:
    """A version as one ONNX file that agrees with the model that a worker serves."""

    manifest: Manifest
    graph: bytes
    worker: WorkerOutputs


def build_edge_model(stored: StoredVersion) -> EdgeModel:
    """Build the ONNX file of a version, and compare it with the model that a worker serves.

    Raises ModelError: with kind "edge" if the version cannot be exported or the file does not agree, or that of the load gate.
    """
    check_exportable(stored.manifest)
    served = load_version(stored, options=RunOptions())
    artefact = read_artefact(stored)
    graph = single_graph(artefact)
    return EdgeModel(artefact.manifest, graph, compare(graph, served, artefact))


def edge_files(model: EdgeModel, limits: Limits, bins: Mapping[str, object]) -> dict[str, bytes]:
    """Return the files of the folder by name. The same arguments give the same bytes.

    bins: the bins in which the device counts its rows, as JSON values.
    """
    golden = io.BytesIO()
    worker = model.worker
    np.savez(golden, rows=worker.rows_RF, outputs=worker.outputs_RO, scores=worker.scores_RO)
    about = json.dumps(about_model(model.manifest, limits), indent=2, ensure_ascii=False) + "\n"
    files = {
        GRAPH_FILE: model.graph,
        ABOUT_FILE: about.encode(),
        BINS_FILE: json.dumps(bins, ensure_ascii=False).encode(),
        "golden.npz": golden.getvalue(),
        CARD_FILE: model_card(model.manifest),
        "README.md": readme(model.manifest, limits).encode(),
        **device_programs(),
    }
    return checked_files(files)


def about_model(manifest: Manifest, limits: Limits) -> dict[str, object]:
    """Return the content of `model.json`: what the programs need to know besides the graph."""
    signature = manifest.signature
    tolerance = manifest.tolerance or Tolerance(MAX_DIFFERENCE, MAX_DIFFERENCE)
    features = [
        {
            "name": feature.name,
            "nullable": feature.nullable,
            "codes": {text: code for code, text in enumerate(feature.categories)} if feature.is_text else None,
            "other": len(feature.categories) if feature.other else None,
        }
        for feature in signature.column_features
    ]
    return {
        "format": FORMAT,
        "name": manifest.name,
        "version": manifest.version,
        "task": signature.task,
        "num_features": signature.num_features,
        "features": features,
        "labels": list(signature.labels) or [None] * signature.num_classes,
        "threshold": 0.5 if manifest.threshold is None else manifest.threshold,
        "tolerance": tolerance.to_dict(),
        "limits": limits.to_dict(),
    }


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files to a folder that must not exist. Raises ModelError if it does, StorageError if it cannot be written."""
    with _staged(folder) as staged:
        staged.mkdir()
        for name, data in files.items():
            write_synced(staged / name, data)


def write_file(path: Path, data: bytes) -> None:
    """Write one file, which must not exist. Raises like `write_folder`."""
    with _staged(path) as staged:
        write_synced(staged, data)


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """Yield a path beside the target, and rename it to the target at the end: it appears as a whole or not at all."""
    if target.exists() or target.is_symlink():
        raise ModelError(f"{target}: this exists already", kind="export", remedy="give another path, or move it away")
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=target.absolute().parent) as scratch:
            staged = Path(scratch, "export")
            yield staged
            os.rename(staged, target)
    except OSError as error:
        raise StorageError(
            f"{error.filename or target}: cannot be written: {error.strerror or error}",
            remedy="check the path, its permissions and the free space",
        ) from error

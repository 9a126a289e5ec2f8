"""Fetch a model from an MLflow registry: resolve its name, download it, choose its file. MLflow loads nothing.

The registry is the one that MLflow's own variables name: MLFLOW_REGISTRY_URI, MLFLOW_TRACKING_URI.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from forebay.models.artefacts.storage import check_contained
from forebay.schemas.errors import ModelError

SCHEME: Final = "models:/"
FLAVOURS: Final = ("onnx", "xgboost", "lightgbm")
"""The flavours whose files are in formats that are safe to read."""
MAX_BYTES: Final = 4 * 1024 * 1024 * 1024

_REFERENCE: Final = re.compile(r"models:/+(?P<name>[^/@:]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[1-9][0-9]{0,8}))")
_LOAD_IT: Final = "load it in Python where you trust it, and give the object, and not the URI, to forebay.register"
_FULL_MLFLOW: Final = (
    "set MLFLOW_TRACKING_URI to the address of an MLflow server; to open a registry in a database without a server, install "
    "the package mlflow in place of mlflow-skinny"
)


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """A model from a registry. source: where it comes from, for the manifest: JSON values with `uri`."""

    file: Path
    source: Mapping[str, object]


def fetch_mlflow_model(uri: str, folder: Path) -> FetchedModel:
    """Download a model into a folder and return the file that a reader of Forebay reads.

    uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises ModelError if MLflow is not installed, the registry has no such model, or its files could only be loaded by running
    code.
    """
    match = _REFERENCE.fullmatch(uri)
    if match is None:
        raise _error(
            f"{uri}: this does not name a version of a model", "give models:/NAME@ALIAS or models:/NAME/VERSION"
        )
    try:
        import mlflow
    except ImportError:
        raise _error(f"{uri}: MLflow is not installed", "pip install 'forebay[mlflow]'") from None
    try:
        client = mlflow.MlflowClient()
        name = match["name"]
        found = (
            client.get_model_version_by_alias(name, match["alias"])
            if match["alias"]
            else client.get_model_version(name, match["version"])
        )
        # The resolved version, and not the alias, which can move meanwhile.
        resolved = f"models:/{name}/{found.version}"
        downloaded = Path(mlflow.artifacts.download_artifacts(artifact_uri=resolved, dst_path=str(folder / "model")))
        flavours = mlflow.models.Model.load(str(downloaded)).flavors
    except Exception as error:  # MLflow's own, those of its store and those of the network
        raise _error(
            f"{uri}: cannot be fetched from the MLflow registry {_without_login(str(mlflow.get_registry_uri()))}: "
            f"{type(error).__name__}: {str(error).strip()[:600]}",
            _FULL_MLFLOW
            if type(error).__name__.startswith("Unsupported")
            else "check MLFLOW_TRACKING_URI or MLFLOW_REGISTRY_URI, the name, and that you may read it",
        ) from error
    flavour, file = _choose(uri, downloaded, flavours)
    data = file.read_bytes()
    target = folder / f"model{_suffix(flavour, data)}"
    shutil.copyfile(file, target)
    source: dict[str, object] = {
        "uri": uri,
        "resolved": resolved,
        "registry": _without_login(str(mlflow.get_registry_uri())),
        "run_id": found.run_id or "",
        "flavour": flavour,
        "file": file.relative_to(downloaded.resolve()).as_posix(),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return FetchedModel(target, source)


def _choose(uri: str, folder: Path, flavours: Mapping[str, Any]) -> tuple[str, Path]:
    """Return the flavour that can be read, and its file, which is in the folder."""
    flavour = next((known for known in FLAVOURS if known in flavours), None)
    if flavour is None:
        known = ", ".join(sorted(flavours)) or "none"
        raise _error(f"{uri}: its flavours are {known}; readable from files are {', '.join(FLAVOURS)}", _LOAD_IT)
    stated = flavours[flavour].get("data")
    if not isinstance(stated, str) or not stated:
        raise _error(f"{uri}: MLmodel states no file for the flavour {flavour}", "log the model again with MLflow")
    file = folder / stated
    check_contained(folder, file, "the model's folder")
    if file.suffix.lower() in (".pkl", ".pickle", ".joblib", ".skops"):
        raise _error(f"{uri}: {stated} can run any code when it is loaded", _LOAD_IT)
    if not file.is_file() or file.stat().st_size > MAX_BYTES:
        raise _error(f"{uri}: {stated} is not a file of at most {MAX_BYTES} bytes", "log the model again with MLflow")
    return flavour, file.resolve()


def _suffix(flavour: str, data: bytes) -> str:
    """Return the suffix by which the reader of the format is chosen; MLflow names files differently."""
    if flavour == "xgboost":
        return ".json" if data[:64].lstrip()[1:].lstrip()[:1] == b'"' else ".ubj"
    return {"onnx": ".onnx", "lightgbm": ".txt"}[flavour]


def _without_login(url: str) -> str:
    host = urlsplit(url).netloc
    return url.replace(host, host.rpartition("@")[2], 1) if "@" in host else url


def _error(message: str, remedy: str) -> ModelError:
    return ModelError(message, kind="registration", remedy=remedy)

"""Publish small models with code of their own for tests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from forebay.models.artefacts.manifest import Provenance
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.hints import Hints
from forebay.models.registration.own_code import read_function
from forebay.models.registration.publish import publish_candidate
from tests.models.build import CREATED_AT, make_signature

DOUBLE = "def predict(x):\n    return 2 * x[:, :1]\n"


def publish_own(candidate: Candidate, repository: Path, name: str = "own") -> Path:
    return publish_candidate(candidate, repository=repository, name=name, provenance=Provenance(CREATED_AT, {}))


def publish_function(repository: Path, source: str = DOUBLE, name: str = "own", **more: Any) -> Path:
    """Publish a function; `more` replaces the hints. Its file is beside the repository."""
    file = repository.parent / f"{name}_source.py"
    file.write_text(source)
    options: dict[str, Any] = {"signature": make_signature(task="regression", output_dim=1)} | more
    return publish_own(read_function(file, Hints(name, **options)), repository, name)


def manifest_digest(version: Path) -> str:
    return hashlib.sha256((version / "manifest.json").read_bytes()).hexdigest()


def replace_source(version: Path, source: str, file: str = "predict.py") -> None:
    """Replace a file of a version, and its entry in the manifest."""
    (version / file).write_text(source)
    document = json.loads((version / "manifest.json").read_text())
    entry = {"bytes": len(source.encode()), "sha256": hashlib.sha256(source.encode()).hexdigest()}
    document["files"][file] = entry
    (version / "manifest.json").write_text(json.dumps(document))

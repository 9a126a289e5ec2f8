"""Artefacts of format 1 are loaded unchanged. The one in format_1/ was written by the code that wrote that format."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.repository import read_signature
from forebay.schemas.errors import ModelError
from tests.models.build import CREATED_AT, load_artefact, make_signature, make_standardise, publish, serve_artefact

OLD = Path(__file__).parent / "format_1"


def test_an_old_artefact_is_loaded_and_predicts_the_same() -> None:
    artefact = load_artefact(OLD, "delays")
    manifest = artefact.manifest
    assert (manifest.format, manifest.backend, manifest.tolerance, artefact.golden) == (1, "torch", None, None)
    assert manifest.signature == make_signature(labels=("no", "yes")) == read_signature(OLD, "delays")
    assert manifest.preprocessing == make_standardise()
    assert manifest.provenance == Provenance(CREATED_AT, {"accuracy": 0.1 + 0.2, "loss": 1e-300}, "written by format 1")
    served = serve_artefact(artefact)
    scores = served.forward(served.prepare(np.array([[0.5, -1, 2], [3, 0.25, -0.75]], dtype=np.float32)))
    np.testing.assert_allclose(
        scores.values_BO,
        [[0.44916972517967224, 0.5508303046226501], [0.3907639682292938, 0.6092360615730286]],
        rtol=1e-5,
    )


def test_the_next_version_of_an_old_model_has_the_new_format(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    publish(tmp_path, parent=1)
    formats = [load_artefact(tmp_path, "delays", version).manifest.format for version in (1, 2)]
    assert formats == [1, 2]


def test_old_files_may_be_hard_links_or_links_within_the_repository(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "repository")
    version = tmp_path / "repository" / "delays" / "1"
    os.link(version / "manifest.json", tmp_path / "elsewhere")
    (version / "weights.safetensors").rename(tmp_path / "repository" / "weights")
    (version / "weights.safetensors").symlink_to("../../weights")
    load_artefact(tmp_path / "repository", "delays")


def test_the_old_format_has_none_of_the_new_keys(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "delays" / "1" / "manifest.json"
    document = json.loads(file.read_text())
    for key in ("backend", "files", "tolerance", "parent", "licence", "reference_statistics"):
        file.write_text(json.dumps(document | {key: None}))
        with pytest.raises(ModelError, match=f"{key} is not a known key"):
            load_artefact(tmp_path, "delays")


def test_a_new_manifest_cannot_avoid_its_checks_as_an_old_one(tmp_path: Path) -> None:
    file = publish(tmp_path) / "manifest.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document | {"format": 1}))
    with pytest.raises(ModelError, match="is not a known key"):
        load_artefact(tmp_path, "delays")


@pytest.mark.parametrize("change", [{"bytes": 1}, {"sha256": "00"}])
def test_the_digest_of_old_weights_is_verified(tmp_path: Path, change: dict[str, object]) -> None:
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "delays" / "1" / "manifest.json"
    document = json.loads(file.read_text())
    document["weights"] |= change
    file.write_text(json.dumps(document))
    with pytest.raises(ModelError) as caught:
        load_artefact(tmp_path, "delays")
    assert caught.value.kind == "digest"

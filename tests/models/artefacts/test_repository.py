"""Read a model repository without loading models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from forebay.models.artefacts.repository import list_models, read_signature
from forebay.schemas.errors import ModelError
from tests.models.build import load_artefact, make_net, make_signature, publish


def test_the_signature_is_that_of_the_version(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path, net=make_net(5, 1), signature=make_signature(5, "binary", 1), preprocessing=None)
    for version in (None, 1, 2):
        assert (
            read_signature(tmp_path, "delays", version) == load_artefact(tmp_path, "delays", version).manifest.signature
        )


def test_unreadable_files_are_reported_as_by_loading(tmp_path: Path) -> None:
    directory = publish(tmp_path)
    for name, version, kind in (("delay", None, "model_not_found"), ("delays", 2, "version_not_found")):
        with pytest.raises(ModelError) as caught:
            read_signature(tmp_path, name, version)
        assert caught.value.kind == kind
    (directory / "manifest.json").write_text('{"signature": {}, "signature": {}}')
    with pytest.raises(ModelError, match="occurs twice"):
        read_signature(tmp_path, "delays")


def test_only_published_models_are_suggested(tmp_path: Path) -> None:
    for name in ("artefacts", "backends"):  # other directories, as in the `models` of a checkout
        (tmp_path / name / "__pycache__").mkdir(parents=True)
    (tmp_path / "interrupted" / "1").mkdir(parents=True)
    assert list_models(tmp_path) == []
    assert remedy_for(tmp_path, "artefact") == "publish a model there first"
    publish(tmp_path)
    assert list_models(tmp_path) == ["delays"]
    assert remedy_for(tmp_path, "artefact") == "choose delays"
    assert remedy_for(tmp_path, "delay") == "did you mean 'delays'? Otherwise choose delays"


def remedy_for(repository: Path, name: str) -> str | None:
    with pytest.raises(ModelError) as caught:
        read_signature(repository, name)
    assert caught.value.kind == "model_not_found"
    return caught.value.remedy


def test_a_directory_without_a_version_is_reported(tmp_path: Path) -> None:
    (tmp_path / "artefacts" / "__pycache__").mkdir(parents=True)
    with pytest.raises(ModelError, match="the model has no version yet"):
        read_signature(tmp_path, "artefacts")


def test_reading_a_signature_does_not_import_torch() -> None:
    script = (
        "import sys, forebay.models.artefacts.repository, forebay.stream.publish.inspection\n"
        "print(*{'torch', 'aiokafka'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"

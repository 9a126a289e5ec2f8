"""Export versions as folders, zip files and plain model files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.export import export_version
from forebay.schemas.errors import ModelError
from tests.models.artefacts.remote import URL
from tests.models.build import load_artefact, publish


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("at", ["folder", "url"])
def test_an_exported_folder_is_a_repository(tmp_path: Path, memory: MemoryFileSystem, at: str) -> None:
    repository = str(tmp_path / "models") if at == "folder" else URL
    publish(repository)
    folder = publish(repository, parent=1)
    stored = read_version(repository, "delays")
    assert export_version(stored, tmp_path / "new" / "elsewhere") == "folder"
    assert files(tmp_path / "new" / "elsewhere" / "delays" / "2") == files(folder)
    exported = read_version(tmp_path / "new" / "elsewhere", "delays", 2)
    assert exported.manifest_sha256 == stored.manifest_sha256
    load_artefact(tmp_path / "new" / "elsewhere", "delays")


def test_a_zip_file_holds_the_same_and_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    folder = publish(tmp_path / "models")
    stored = read_version(tmp_path / "models", "delays")
    assert export_version(stored, tmp_path / "a.zip") == export_version(stored, tmp_path / "b.zip") == "zip"
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert files(tmp_path / "unpacked" / "delays" / "1") == files(folder)


def test_the_file_of_the_model_can_be_exported_alone(tmp_path: Path) -> None:
    folder = publish(tmp_path / "models")
    stored = read_version(tmp_path / "models", "delays")
    assert export_version(stored, tmp_path / "net.safetensors") == "weights.safetensors"
    assert (tmp_path / "net.safetensors").read_bytes() == (folder / "weights.safetensors").read_bytes()


def test_nothing_is_overwritten_and_damaged_versions_are_not_exported(tmp_path: Path) -> None:
    folder = publish(tmp_path / "models")
    stored = read_version(tmp_path / "models", "delays")
    (tmp_path / "there").mkdir()
    with pytest.raises(ModelError, match="this exists already"):
        export_version(stored, tmp_path / "there")
    (folder / "README.md").write_text("changed")
    with pytest.raises(ModelError) as caught:
        export_version(stored, tmp_path / "new.zip")
    assert caught.value.kind == "digest"
    assert not [path for path in tmp_path.iterdir() if path.name not in ("models", "there", "cache")]

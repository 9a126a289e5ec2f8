"""Only the files that a manifest lists are read, only from the version's own folder, and only if they are as stated."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.models.artefacts.test_artefact import edit, fault, replace_file
from tests.models.build import load_artefact, make_net, publish

FILES = ["golden.safetensors", "weights.safetensors"]


@pytest.mark.parametrize("file", FILES)
def test_a_truncated_or_extended_file_is_refused_without_reading_it(tmp_path: Path, file: str) -> None:
    version = publish(tmp_path)
    size = (version / file).stat().st_size
    for changed in (0, size - 1, size + 1, 1 << 30):
        os.truncate(version / file, changed)
        error = fault(tmp_path)
        assert error.kind == ("too_large" if changed == 1 << 30 and file == "golden.safetensors" else "digest")
        if error.kind == "digest":
            assert error.message == (
                f"{version / file}: the file has {changed} bytes, but manifest.json states {size} bytes"
            )
            assert error.remedy and "copy the version again" in error.remedy


@pytest.mark.parametrize("file", FILES)
def test_any_flipped_bit_is_noticed(tmp_path: Path, file: str) -> None:
    version = publish(tmp_path)
    good = (version / file).read_bytes()
    for index in range(0, len(good), max(1, len(good) // 20)):
        data = bytearray(good)
        data[index] ^= 1 << index % 8
        (version / file).write_bytes(data)
        error = fault(tmp_path)
        assert error.kind == "digest"
        assert error.message.startswith(f"{version / file}: the file has sha256 ")


def test_files_are_verified_before_any_of_them_is_parsed(tmp_path: Path) -> None:
    version = publish(tmp_path)
    replace_file(version, b"not safetensors", "golden.safetensors")
    os.truncate(version / "weights.safetensors", 10)
    error = fault(tmp_path)  # not that the golden rows cannot be parsed
    assert error.kind == "digest" and "weights.safetensors" in error.message


@pytest.mark.parametrize(
    "name",
    [
        "../2/weights.safetensors",
        "../../prices/1/weights.safetensors",
        "/etc/passwd",
        "..",
        ".",
        "",
        ".hidden",
        "folder/file",
        "folder\\file",
        "C:file",
        "a\0b",
        "a\n",
        "é",
        "x" * 129,
        "manifest.json",
    ],
)
def test_a_manifest_can_only_name_files_in_its_own_folder(tmp_path: Path, name: str) -> None:
    version = publish(tmp_path)
    publish(tmp_path)
    publish(tmp_path, "prices")
    edit(version, lambda d: d["files"].update({name: d["files"]["weights.safetensors"]}))
    error = fault(tmp_path, version=1)
    assert error.kind == "manifest"
    assert error.message.startswith(f"{version / 'manifest.json'}: a name in files is ")
    assert "allowed is the name of a file in the same folder" in error.message


def test_the_manifest_and_files_of_another_model_are_refused(tmp_path: Path) -> None:
    version, other = publish(tmp_path), publish(tmp_path, "prices", net=make_net(seed=1))
    shutil.copy(other / "weights.safetensors", version)
    assert fault(tmp_path).kind == "digest"
    shutil.copy(other / "manifest.json", version)
    assert fault(tmp_path).message == f"{version / 'manifest.json'}: this is the manifest of prices version 1"


@pytest.mark.parametrize("file", [*FILES, "manifest.json"])
def test_a_link_to_the_file_of_another_version_is_refused(tmp_path: Path, file: str) -> None:
    version, other = publish(tmp_path), publish(tmp_path)
    (other / file).write_bytes((version / file).read_bytes())
    (version / file).unlink()
    (version / file).symlink_to(Path("..") / "2" / file)
    error = fault(tmp_path, version=1)
    assert error.kind == "path"
    assert error.message == (
        f"{version / file}: this path leads out of the version's folder, to {(other / file).resolve()}"
    )


@pytest.mark.parametrize("file", [*FILES, "manifest.json"])
def test_a_hard_link_is_refused(tmp_path: Path, file: str) -> None:
    version = publish(tmp_path / "repository")
    os.link(version / file, tmp_path / "elsewhere")
    error = fault(tmp_path / "repository")
    assert error.kind == "path"
    assert error.message == (
        f"{version / file}: this file has 2 names (hard links); allowed is one, in the version's folder"
    )
    (tmp_path / "elsewhere").unlink()
    load_artefact(tmp_path / "repository", "delays")


def test_other_listed_files_are_verified_and_unlisted_ones_ignored(tmp_path: Path) -> None:
    version = publish(tmp_path)
    (version / "notes.txt").write_text("not listed")
    replace_file(version, b"# Delays", "README.md")
    load_artefact(tmp_path, "delays")
    (version / "README.md").write_bytes(b"# Delayt")
    assert fault(tmp_path).kind == "digest"
    (version / "README.md").unlink()
    assert fault(tmp_path).message == f"{version / 'README.md'}: cannot be read: No such file or directory"
    with open(version / "README.md", "wb") as file:
        file.truncate(1 << 40)
    assert fault(tmp_path).kind == "too_large"


def test_the_number_of_files_is_limited(tmp_path: Path) -> None:
    version = publish(tmp_path)
    stated = {"sha256": "0" * 64, "bytes": 0}
    edit(version, lambda d: d["files"].update({f"f{number}": stated for number in range(61)}))
    assert fault(tmp_path).message.endswith("files lists 65 files; allowed are at most 64")


def test_a_file_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    file = publish(tmp_path) / "manifest.json"
    document = json.loads(file.read_text())
    entry = f'"weights.safetensors": {json.dumps(document["files"]["weights.safetensors"])}'
    listed = json.dumps(document).replace('"files": {', f'"files": {{{entry}, ')
    file.write_text(listed)
    error = fault(tmp_path)
    assert error.kind == "manifest"
    assert "the key 'weights.safetensors' occurs twice" in error.message.replace('"', "")

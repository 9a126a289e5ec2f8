"""Exported versions are imported unchanged, after the checks of a worker; all else is refused, and nothing is written."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.export import export_version
from forebay.models.artefacts.trust import TRUST_NOTHING, TrustPolicy
from forebay.models.registration import import_source
from forebay.models.registration.import_version import ImportedVersion, import_version
from forebay.schemas.errors import ModelError
from forebay.stream.cli import main
from tests.models.build import publish
from tests.models.own_code import manifest_digest, publish_function


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """The folder of the function own@1, in the repository `source`."""
    return publish_function(tmp_path / "source")


@pytest.fixture
def url() -> Iterator[str]:
    yield "memory://imported/models"
    fsspec.filesystem("memory").store.clear()


def trusted(version: Path) -> TrustPolicy:
    return TrustPolicy(manifests=frozenset({manifest_digest(version)}))


def zipped(version: Path, change: Callable[[zipfile.ZipFile], object] = lambda _: None) -> Path:
    """Export own@1 as a zip file, and change it."""
    target = version.parents[2] / "own.zip"
    export_version(read_version(version.parents[1], "own"), target)
    with zipfile.ZipFile(target, "a") as archive:
        change(archive)
    return target


def refusal(path: Path, repository: Path | str, trust: TrustPolicy = TRUST_NOTHING) -> ModelError:
    with pytest.raises(ModelError) as caught:
        import_version(path, repository, trust=trust)
    assert caught.value.remedy
    assert str(path.parent) in caught.value.message
    return caught.value


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_a_version_keeps_its_number_and_all_bytes(tmp_path: Path, form: str) -> None:
    publish(tmp_path / "source")
    original = publish(tmp_path / "source", parent=1)
    target = tmp_path / ("delays.zip" if form == "zip" else "exported")
    export_version(read_version(tmp_path / "source", "delays", 2), target)
    reports: list[tuple[str, int, int]] = []
    done = import_version(target, tmp_path / "new" / "models", on_progress=lambda *report: reports.append(report))
    assert (
        done
        == ImportedVersion("delays", 2, backend="torch", manifest_sha256=manifest_digest(original), num_golden_rows=32)
        and reports
    )
    imported = tmp_path / "new" / "models" / "delays" / "2"
    assert {file.name: file.read_bytes() for file in imported.iterdir()} == {
        file.name: file.read_bytes() for file in original.iterdir()
    }
    assert [entry.name for entry in (tmp_path / "new" / "models").iterdir()] == ["delays"]


def test_a_repository_behind_a_url_gets_the_same(version: Path, url: str) -> None:
    import_version(zipped(version), url, trust=trusted(version))
    assert read_version(url, "own", 1).manifest_sha256 == manifest_digest(version)
    assert "exists already" in refusal_of_taken(version, url)
    assert publish_name(url) == ["README.md", "bom.cdx.json", "golden.safetensors", "manifest.json", "predict.py"]


def refusal_of_taken(version: Path, repository: str) -> str:
    with pytest.raises(ModelError) as caught:
        import_version(version.parents[1], repository, trust=trusted(version))
    return caught.value.message


def publish_name(url: str) -> list[str]:
    return sorted(str(path).rpartition("/")[2] for path in fsspec.filesystem("memory").find(url.partition("//")[2]))


def test_an_existing_version_is_not_replaced(version: Path, tmp_path: Path) -> None:
    other = publish_function(tmp_path / "models", "def predict(x):\n    return x[:, :1]\n")
    before = (other / "manifest.json").read_bytes()
    assert "versions never change" in refusal_of_taken(version, str(tmp_path / "models"))
    assert (other / "manifest.json").read_bytes() == before


def test_code_is_imported_only_if_the_policy_trusts_it_or_the_repository(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    source = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\ndef predict(x):\n    return x[:, :1]\n"
    publish_function(tmp_path / "source", source, "code")
    marker.unlink()
    archive = tmp_path / "code.zip"
    export_version(read_version(tmp_path / "source", "code"), archive)
    assert refusal(archive, tmp_path / "models").kind == "untrusted"
    assert not marker.exists() and not (tmp_path / "models").exists()
    trust = TrustPolicy(repositories=frozenset({str(tmp_path / "models")}))
    assert import_version(archive, tmp_path / "models", trust=trust).backend == "python"
    assert marker.exists()


def link(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("own/1/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


def encrypted(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("own/1/other")
    archive.writestr(info, b"x")
    info.flag_bits |= 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.writestr("../evil.txt", b"x"), "'../evil.txt' is not a file of a version"),
        (lambda a: a.writestr("own/1/../../evil", b"x"), "'own/1/../../evil' is not a file of a version"),
        (lambda a: a.writestr("/etc/evil", b"x"), "'/etc/evil' is not a file of a version"),
        (lambda a: a.writestr("own/1/.hidden", b"x"), "'own/1/.hidden' is not a file of a version"),
        (link, "'own/1/link' is a link or a special file"),
        (encrypted, "'own/1/other' is encrypted"),
        (lambda a: a.writestr("own/2/manifest.json", b"{}"), "there are 2 versions: own@1, own@2"),
    ],
)
def test_a_zip_file_with_anything_else_is_refused(
    version: Path, tmp_path: Path, change: Callable[[zipfile.ZipFile], object], says: str
) -> None:
    assert says in refusal(zipped(version, change), tmp_path / "models", trusted(version)).message
    assert not (tmp_path / "models").exists() and not (tmp_path / "evil.txt").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_entries_and_too_many_are_refused(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = zipped(version, lambda archive: archive.writestr("own/1/predict.py", b"x"))
    assert "'own/1/predict.py' is present twice" in refusal(twice, tmp_path / "models").message
    monkeypatch.setattr(import_source, "MAX_ENTRIES", 5)
    assert "has 6 entries" in refusal(twice, tmp_path / "models").message


def test_damage_is_named_with_the_file(version: Path, tmp_path: Path) -> None:
    archive = zipped(version)
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) // 2])
    assert "cannot be read as a zip file" in refusal(archive, tmp_path / "models").message
    archive.write_bytes(data.replace(b"manifest.json", b"manifest.jsob"))
    assert "there is no <name>/<version>/manifest.json" in refusal(archive, tmp_path / "models").message
    archive.unlink()
    assert "there is no such file" in refusal(archive, tmp_path / "models").message
    (version / "predict.py").write_bytes(b"def predict(x):\n    return 3 * x[:, :1]\n")
    error = refusal(tmp_path / "source", tmp_path / "models", trusted(version))
    assert error.kind == "digest" and f"{tmp_path / 'source'}: own/1/predict.py" in error.message
    assert not list(tmp_path.glob("models/*"))


def test_files_that_are_too_large_are_not_read(version: Path, tmp_path: Path) -> None:
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["files"]["big.txt"] = {"bytes": 1, "sha256": "0" * 64}
    with zipfile.ZipFile(tmp_path / "big.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in version.iterdir():
            archive.writestr(f"own/1/{file.name}", file.read_bytes())
        archive.writestr("own/1/big.txt", bytes(17 * 1024 * 1024))
    with zipfile.ZipFile(tmp_path / "big.zip") as archive, zipfile.ZipFile(tmp_path / "bad.zip", "w") as changed:
        for inner in archive.namelist():
            content = json.dumps(manifest).encode() if inner.endswith("manifest.json") else archive.read(inner)
            changed.writestr(inner, content, zipfile.ZIP_DEFLATED)
    error = refusal(tmp_path / "bad.zip", tmp_path / "models")
    assert error.kind == "too_large" and "own/1/big.txt: the file has 17825792 bytes" in error.message


@pytest.mark.parametrize("what", ["file", "version"])
def test_links_in_a_folder_are_refused(version: Path, tmp_path: Path, what: str) -> None:
    path = version / "predict.py" if what == "file" else version
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert "this is a symbolic link" in refusal(tmp_path / "source", tmp_path / "models", trusted(version)).message


def test_the_command_imports_one_of_several(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    publish_function(tmp_path / "source")
    assert main(["models", "import", "source"]) == 1
    assert "name the one to import" in capsys.readouterr().err
    assert main(["models", "import", "source", "own"]) == 2
    assert main(["models", "import", "source", "own@3"]) == 1
    assert "choose own@1, own@2" in capsys.readouterr().err
    assert (
        main(["models", "import", "source", "own@1", "--set", f"trust.manifests=sha256:{manifest_digest(version)}"])
        == 0
    )
    assert capsys.readouterr().out == "own@1: imported into models, backend python, 32 golden rows agree\n"
    assert (tmp_path / "models" / "own" / "1" / "manifest.json").read_bytes() == (
        version / "manifest.json"
    ).read_bytes()

"""`forebay models gc` and `forebay models export`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from forebay.stream.cli import main
from tests.models.build import publish

OLD = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with three versions of a model, the last one young."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOREBAY_CACHE_DIR", str(tmp_path / "cache"))
    for created_at in (OLD, OLD, datetime.now(UTC)):
        publish(tmp_path / "models", created_at=created_at)
    return tmp_path / "models"


def run(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    assert main(["models", *arguments]) == status
    done = capsys.readouterr()
    return json.loads(done.out) if "--json" in arguments else done.out + done.err


def test_nothing_is_deleted_without_yes(capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    run(capsys, "alias", "delays@1", "champion")
    lines = run(capsys, "gc", "--keep", "1").splitlines()
    assert lines[2].split()[-3:] == ["keep:", "alias", "champion"]
    assert lines[3].split()[0] == "delays@2" and lines[3].split()[-1] == "delete"
    assert lines[-1] == "1 would be deleted; --yes deletes them"
    assert (repository / "delays" / "2").exists()


def test_versions_and_abandoned_folders_are_deleted(capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    done = run(capsys, "gc", "delays", "--keep", "1", "--yes", "--json")
    assert done["deleted"] and done["leftovers"] == []
    assert [(row["version"], row["delete"], row["kept"]) for row in done["versions"]] == [
        (1, True, None),
        (2, True, None),
        (3, False, "one of the newest 1"),
    ]
    assert sorted(path.name for path in repository.rglob("*") if path.is_dir()) == ["3", "delays"]
    assert run(capsys, "gc").splitlines()[-1] == "nothing to delete"


def test_a_version_is_exported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "export", "delays@2", "out") == "out: folder of delays@2, verified\n"
    assert run(capsys, "list", "--repository", "out", "--json")[0]["versions"] == [2]
    assert run(capsys, "export", "delays", "x.zip", "--json")["written"] == "zip"
    assert "x.zip: this exists already" in run(capsys, "export", "delays", "x.zip", status=1)

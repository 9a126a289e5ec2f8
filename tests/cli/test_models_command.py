"""`forebay models` over a local repository."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest

from forebay.models.artefacts.alias_moves import record_copy
from forebay.models.artefacts.reference_statistics import NumberReference, ReferenceStatistics
from forebay.stream.cli import main
from tests.models.artefacts.test_artefact import replace_file
from tests.models.artefacts.test_old_format import OLD
from tests.models.build import CREATED_AT, make_net, publish
from tests.models.own_code import manifest_digest, publish_function


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with the repository models/: two versions of delays, one of prices."""
    monkeypatch.chdir(tmp_path)
    repository = tmp_path / "models"
    publish(repository)
    publish(repository, parent=1, licence="Apache-2.0", net=make_net(seed=1))
    publish(repository, "prices")
    return repository


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str, status: int = 0) -> Any:
        """Run `forebay models`; return its output, decoded if --json is given, or its errors if it shall fail."""
        assert main(["models", *arguments]) == status
        done = capsys.readouterr()
        if status > 1 or (status == 1 and not done.out):
            return done.err
        return json.loads(done.out) if "--json" in arguments else done.out or done.err

    return run


def test_models_are_listed_with_their_aliases(run: Any) -> None:
    run("alias", "delays@1", "champion")
    lines = run("list").splitlines()
    assert lines[0].split() == ["model", "versions", "highest", "task", "published", "aliases"]
    assert lines[2].split() == ["delays", "2", "2", "multiclass", "2026-11-02", "champion", "→", "1"]
    assert lines[3].split() == ["prices", "1", "1", "multiclass", "2026-11-02"]
    assert run("list", "--json")[0] == {
        "name": "delays",
        "versions": [1, 2],
        "highest": 2,
        "aliases": {"champion": 1},
        "created_at": "2026-11-02T09:30:00+00:00",
        "task": "multiclass",
        "error": None,
    }


def test_the_versions_of_a_model_are_listed_highest_first(run: Any) -> None:
    run("alias", "delays@1", "champion")
    first, second = run("list", "delays", "--json")
    assert (first["version"], first["parent"], first["licence"], first["aliases"]) == (2, 1, "Apache-2.0", [])
    assert (second["version"], second["parent"], second["aliases"]) == (1, None, ["champion"])
    assert second["metrics"] == {"accuracy": 0.1 + 0.2, "loss": 1e-300}
    lines = run("list", "delays").splitlines()
    assert lines[2].startswith("      2 ") and lines[3].split()[:3] == ["1", "champion", "2026-11-02"]


def test_a_manifest_that_cannot_be_read_is_listed_with_the_reason(run: Any, repository: Path) -> None:
    (repository / "delays" / "2" / "manifest.json").write_text("{")
    (repository / "prices" / "aliases.json").write_text("[]")
    delays, prices = run("list", "--json")
    assert "not a JSON document" in delays["error"] and "aliases.json: the document is []" in prices["error"]
    assert "not a JSON document" in run("list")
    broken, good = run("list", "delays", "--json")
    assert "not a JSON document" in broken["error"] and good["error"] is None
    assert "not a JSON document" in run("list", "delays")


def test_reference_statistics_are_shown(run: Any, repository: Path) -> None:
    age = NumberReference("f0", 2, mean=None, standard_deviation=None, edges=(0.5,), counts=(3, 3))
    publish(repository, reference_statistics=ReferenceStatistics(8, (age,)).to_dict())
    assert "of 8 rows: 1 feature, 0 outputs; f0 is missing in 25.0%; --json prints them" in run("show", "delays")
    assert run("show", "delays", "--json")["reference_statistics"]["features"][0]["edges"] == [0.5]
    publish(repository, reference_statistics={"version": 7})
    assert "version 7, which this version of Forebay does not read" in run("show", "delays")


def test_a_version_is_shown(run: Any, repository: Path) -> None:
    run("alias", "delays@2", "champion")
    shown = run("show", "delays@champion")
    for part in (
        "delays@2", "champion", "Apache-2.0", "torch, mlp", "hidden_dims = [4]", "2: no, yes", "3: f0 or missing, f1, f2",
        "standardise", "accuracy 0.3", "golden.safetensors", "weights.safetensors", "trained by a test",
    ):  # fmt: skip
        assert part in shown, part
    document = run("show", "delays", "--json")
    stored = (repository / "delays" / "2" / "manifest.json").read_bytes()
    sha256 = hashlib.sha256(stored).hexdigest()
    added = {"folder": "models/delays/2", "aliases": ["champion"], "manifest_sha256": sha256, "runs_code": False}
    signed = {"present": False, "state": "not_checked", "policy": "off", "key": "", "reason": ""}
    assert document == json.loads(stored) | added | {"signed": signed}
    assert sha256 in shown and "code of its own" not in shown
    assert "delays@1" in run("show", "delays@1")


def test_an_artefact_of_the_old_format_is_shown_and_validated(run: Any) -> None:
    assert "none (format 1)" in run("show", "delays", "--repository", str(OLD))
    assert "no golden rows (format 1)" in run("validate", "--repository", str(OLD))


def test_control_characters_of_a_manifest_are_escaped(run: Any, repository: Path) -> None:
    publish(repository, note="red \x1b[31m\nline", licence="\x07")
    for command in (["show", "delays"], ["list", "delays"]):
        shown = run(*command)
        assert "\x1b" not in shown and "\x07" not in shown and "\\x1b" in shown


def test_every_version_is_validated(run: Any) -> None:
    assert [(each["model"], each["ok"]) for each in run("validate", "--json")] == [
        ("delays@1", True),
        ("delays@2", True),
        ("prices@1", True),
    ]
    lines = run("validate").splitlines()
    assert len(lines) == 3 and lines[0].startswith("✓ delays@1  mlp on cpu, 32 golden rows agree, ")


def test_a_version_that_cannot_be_served_is_reported_and_the_others_are_validated(run: Any, repository: Path) -> None:
    version = repository / "delays" / "1"
    replace_file(version, (repository / "delays" / "2" / "golden.safetensors").read_bytes(), "golden.safetensors")
    first, second, third = run("validate", "--json", status=1)
    assert (first["ok"], second["ok"], third["ok"]) == (False, True, True)
    assert first["kind"] == "golden" and first["remedy"]
    assert first["detail"].startswith("models/delays/1/golden.safetensors on cpu: for golden row 0 the model's output")
    lines = run("validate", "delays@1", "prices", status=1).splitlines()
    assert lines[0].startswith("✗ delays@1  ") and lines[1].startswith("  hint: ") and lines[2].startswith("✓ prices@1")


def test_what_cannot_be_found_is_a_result_of_the_validation(run: Any) -> None:
    results = run("validate", "nothing", "delays@7", "delays@champion", "a/b", "--json", status=1)
    assert [each["kind"] for each in results] == ["model_not_found", "version_not_found", "alias", "name"]
    (result,) = run("validate", "prices", "--device", "tpu", "--json", status=1)
    assert result["kind"] == "device"


def test_an_alias_is_moved_and_its_history_shown(run: Any) -> None:
    assert run("alias", "delays@1", "champion", "--by", "anna", "--reason", "first") == (
        "delays@champion: version 1 (new)\n"
    )
    assert run("alias", "delays@champion", "previous", "--by", "anna") == "delays@previous: version 1 (new)\n"
    assert run("alias", "delays@2", "champion", "--by", "bert") == "delays@champion: version 2 (was version 1)\n"
    assert "leads to version 2 already" in run("alias", "delays@2", "champion")
    assert (
        run("alias", "delays", "previous", "--remove", "--by", "bert") == "delays@previous: removed (was version 1)\n"
    )
    moves = run("history", "delays", "--json")
    assert [(move["by"], move["alias"], move["from"], move["to"]) for move in moves] == [
        ("bert", "previous", 1, None),
        ("bert", "champion", 1, 2),
        ("anna", "previous", None, 1),
        ("anna", "champion", None, 1),
    ]
    assert [move["reason"] for move in moves] == ["", "", "", "first"]
    lines = run("history", "delays", "--alias", "champion").splitlines()
    assert len(lines) == 4 and lines[3].split()[2:] == ["champion", "1", "anna", "first"]


def test_a_move_is_printed_as_json(run: Any) -> None:
    move = run("alias", "delays@1", "champion", "--json")
    assert (move["alias"], move["from"], move["to"]) == ("champion", None, 1) and move["by"]
    assert run("alias", "delays@1", "champion", "--json") is None


def test_the_history_has_copies_from_a_registry(run: Any) -> None:
    run("alias", "delays@1", "champion", "--by", "anna")
    source = {"uri": "models:/late@best", "resolved": "models:/late/7"}
    record_copy("models", "delays", 1, source, by="bert", at=CREATED_AT)
    move, copy = run("history", "delays", "--json")
    assert move["alias"] == "champion"
    assert copy == {"at": CREATED_AT.isoformat(), "by": "bert", "version": 1, "source": source}
    line = run("history", "delays").splitlines()[-1]
    assert line.split()[2:] == ["1", "bert", "copied", "from", "models:/late@best", "(models:/late/7)"]
    assert len(run("history", "delays", "--alias", "champion", "--json")) == 1


def test_a_model_without_aliases_has_an_empty_history(run: Any) -> None:
    assert run("history", "delays", "--json") == []
    assert run("history", "delays") == "delays: no alias was ever set\n"
    assert run("history", "delays", "--alias", "x") == "delays: no alias 'x' was ever set\n"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["alias", "delays", "champion"], 2, "give the version: NAME@VERSION or NAME@ALIAS"),
        (["alias", "delays@1", "champion", "--remove"], 2, "--remove takes NAME without a version"),
        (["alias", "delays", "champion", "--remove"], 1, "there is no alias 'champion'"),
        (["alias", "delays@9", "champion"], 1, "there is no version 9"),
        (["alias", "delays@1", "latest"], 1, "leave the version out for the highest"),
        (["alias", "delays@1", "7"], 1, "starting with a letter"),
        (["show", "delays@champion"], 1, "there is no alias 'champion'"),
        (["show", "delay"], 1, "did you mean 'delays'?"),
        (["history", "nothing"], 1, "there is no model 'nothing'"),
        (["list", "--repository", "nowhere"], 1, "nowhere: there is no such model repository"),
        (["list", "--set", "model.repository=nowhere"], 1, "nowhere: there is no such model repository"),
        (["publish"], 2, "`forebay models register` publishes a model"),
        (["lst"], 2, "Did you mean 'list'?"),
    ],
)
def test_errors_name_the_remedy(run: Any, arguments: list[str], status: int, says: str) -> None:
    assert says in " ".join(run(*arguments, status=status).split())


def test_an_empty_repository(run: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for command in ("list", "validate"):
        assert run(command, "--repository", "empty") == "empty: no model has been published there yet\n"
        assert run(command, "--repository", "empty", "--json") == []


def test_listing_and_showing_do_not_import_torch(repository: Path) -> None:
    code = (
        "import sys; from forebay.stream.cli import main\n"
        "assert main(['models', 'list']) == main(['models', 'show', 'delays']) == 0\n"
        "assert main(['models', 'alias', 'delays@1', 'champion']) == main(['models', 'history', 'delays']) == 0\n"
        "assert 'torch' not in sys.modules and 'aiokafka' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_a_model_with_code_of_its_own_is_validated_only_if_it_is_trusted(
    run: Any, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = publish_function(repository)
    shown = run("show", "own")
    assert "code of its own" in shown and manifest_digest(version) in shown
    assert run("show", "own", "--json")["runs_code"] is True
    (refused,) = run("validate", "own", "--json", status=1)
    assert refused["kind"] == "untrusted" and manifest_digest(version) in refused["remedy"]
    monkeypatch.setenv("FOREBAY_TRUST__MANIFESTS", f"sha256:{manifest_digest(version)}")
    assert "own@1  python on cpu, 32 golden rows agree" in run("validate", "own")
    monkeypatch.setenv("FOREBAY_TRUST__MANIFESTS", "")
    monkeypatch.setenv("FOREBAY_TRUST__REPOSITORIES", "../" + str(repository.parent.name) + "/models/")
    run("validate", "own")


def test_repositories_behind_urls(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fsspec.filesystem("memory")
    monkeypatch.setenv("FOREBAY_CACHE_DIR", str(tmp_path / "cache"))
    at = ("--repository", "memory://shop/models")
    try:
        publish("memory://shop/models", "prices")
        for entry in (tmp_path / "cache" / "models").iterdir():
            entry.rename(tmp_path / entry.name)
        assert run("list", *at, "--json")[0]["versions"] == [1]
        shown = run("show", "prices", *at, "--json")
        assert shown["folder"] == "memory://shop/models/prices/1"
        run("alias", "prices@1", "champion", *at, "--by", "anna")
        assert [move["by"] for move in run("history", "prices", *at, "--json")] == ["anna"]
        assert run("list", "prices", "--set", "model.repository=memory://shop/models", "--json")[0]["aliases"] == [
            "champion"
        ]
        (result,) = run("validate", "prices@champion", *at, "--json")
        assert result["ok"], result
        assert "there is no version 3" in run("show", "prices@3", *at, status=1)
    finally:
        files.rm("/shop", recursive=True)

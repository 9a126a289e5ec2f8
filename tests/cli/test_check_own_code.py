"""`forebay check` and `forebay run` over models with code of their own: the trust policy and the budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forebay.stream.cli import main
from tests.models.own_code import DOUBLE, manifest_digest, publish_function

SERVER = "kafka.bootstrap_servers=127.0.0.1:1"  # a port that no broker uses


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOREBAY_MODEL__NAME", "own")
    return tmp_path


def check(capsys: pytest.CaptureFixture[str], *settings: str) -> dict[str, Any]:
    """Return the result of the check of the model."""
    arguments = [argument for setting in (SERVER, *settings) for argument in ("--set", setting)]
    assert main(["check", "--json", "--timeout-s", "0.2", *arguments]) == 1  # there is no broker
    (model,) = [one for one in json.loads(capsys.readouterr().out)["checks"] if one["name"] == "model"]
    return model  # type: ignore[no-any-return]


def test_a_model_is_refused_until_it_is_trusted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version = publish_function(folder / "models", f"open('executed', 'w').close()\n{DOUBLE}")
    (folder / "executed").unlink()
    digest = manifest_digest(version)
    refused = check(capsys)
    assert refused["status"] == "failed" and "the trust policy does not allow this model" in refused["detail"]
    assert f'add "sha256:{digest}" to trust.manifests' in refused["remedy"]
    assert main(["run", "--set", SERVER]) == 1
    assert "the trust policy does not allow this model" in capsys.readouterr().err
    assert not (folder / "executed").exists()
    assert check(capsys, f"trust.manifests=sha256:{digest}")["status"] == "ok"
    assert (folder / "executed").exists()
    assert check(capsys, "trust.repositories=models")["status"] == "ok"


def test_a_model_that_takes_too_much_memory_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish_function(folder / "models", f"import numpy as np\ntable = np.ones(32 << 20)  # 256 MiB\n{DOUBLE}")
    trusted = "trust.repositories=models"
    refused = check(capsys, trusted, "model.max_load_memory_mb=100")
    assert refused["status"] == "failed" and "model.max_load_memory_mb allows 100" in refused["detail"]
    assert (
        check(capsys, trusted, "model.max_load_memory_mb=10000", "model.max_batch_latency_ms=100000")["status"] == "ok"
    )

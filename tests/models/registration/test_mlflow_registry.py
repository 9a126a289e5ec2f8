"""Register models from an MLflow registry: a real file store, without a server."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from forebay.models.artefacts.aliases import read_aliases
from forebay.models.artefacts.artefact import read_version
from forebay.models.registration.mlflow_registry import fetch_mlflow_model
from forebay.models.registration.register import register
from forebay.schemas.errors import ModelError
from tests.models.build import CREATED_AT

# MLflow warns about its file store and leaves files open.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

OPTIONS = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
FILL = """
import os, sys
import lightgbm, mlflow, numpy as np, xgboost
from mlflow.models import Model

x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
y = (x[:, 0] > 0).astype(int)
booster = xgboost.XGBClassifier(n_estimators=3, max_depth=2).fit(x, y)
trees = lightgbm.train({"objective": "binary", "verbose": -1, "num_leaves": 4}, lightgbm.Dataset(x, y), num_boost_round=3)
with mlflow.start_run() as run:
    # Else MLflow starts a process for each model, which loads it to see what it imports.
    needs = {"pip_requirements": ["xgboost"]}
    mlflow.xgboost.log_model(booster, name="model", registered_model_name="boosted", **needs)
    mlflow.lightgbm.log_model(trees, name="light", registered_model_name="light", **needs)
client = mlflow.MlflowClient()
client.set_registered_model_alias("boosted", "champion", 1)
for name, flavour, data in (("pickled", "sklearn", "model.pkl"), ("outside", "xgboost", "../../../secret"),
                            ("hidden", "lightgbm", "model.pkl")):
    folder = f"{sys.argv[1]}/{name}"
    os.makedirs(folder)
    Model(flavors={}).add_flavor(flavour, data=data).save(f"{folder}/MLmodel")
    open(f"{folder}/model.pkl", "wb").write(b"not read")
    client.create_registered_model(name)
    client.create_model_version(name, f"file://{folder}")
print(run.info.run_id)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The URI of a registry, and the run in which its models were logged."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"file://{folder}/store"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, **OPTIONS}
    command = [sys.executable, "-c", FILL, str(folder / "folders")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return uri, done.stdout.split()[-1]


@pytest.fixture(autouse=True)
def registry(store: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store[0])
    for key, value in OPTIONS.items():
        monkeypatch.setenv(key, value)


@pytest.mark.parametrize("uri", ["models:/boosted@champion", "models:/boosted/1"])
def test_a_model_is_registered_with_its_source(uri: str, store: tuple[str, str], tmp_path: Path) -> None:
    done = register(uri, name="boosted", repository=tmp_path / "models", by="anna", created_at=CREATED_AT)
    source = read_version(tmp_path / "models", "boosted").manifest.provenance.source
    fetched = fetch_mlflow_model(uri, tmp_path)
    assert done.backend == "trees" and done.compared
    assert source == {
        "uri": uri,
        "resolved": "models:/boosted/1",
        "registry": store[0],
        "run_id": store[1],
        "flavour": "xgboost",
        "file": "model.ubj",
        "sha256": hashlib.sha256(fetched.file.read_bytes()).hexdigest(),
    }
    (copy,) = read_aliases(tmp_path / "models", "boosted").copies
    assert (copy.version, copy.source, copy.by, copy.at) == (1, source, "anna", CREATED_AT)


def test_lightgbm_is_read_as_text(tmp_path: Path) -> None:
    assert register("models:/light/1", name="light", repository=tmp_path / "models").backend == "trees"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/pickled/1", "its flavours are sklearn; readable from files are onnx, xgboost, lightgbm"),
        ("models:/hidden/1", "model.pkl can run any code when it is loaded"),
        ("models:/outside/1", "this path leads out of the model's folder"),
        ("models:/nothing/1", "cannot be fetched from the MLflow registry"),
        ("models:/boosted@missing", "cannot be fetched from the MLflow registry"),
        ("models:/boosted", "this does not name a version of a model"),
    ],
)
def test_what_cannot_be_registered_is_refused(uri: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        register(uri, name="boosted", repository=tmp_path / "models")
    assert message in caught.value.message and caught.value.remedy
    assert not (tmp_path / "models").exists()


def test_without_mlflow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ModelError) as caught:
        fetch_mlflow_model("models:/boosted/1", tmp_path)
    assert caught.value.remedy == "pip install 'forebay[mlflow]'"


def test_a_registry_in_a_database_needs_a_server_or_the_whole_mlflow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(ModelError, match=r"registry sqlite:////.*/mlflow.db: Unsupported") as caught:
        fetch_mlflow_model("models:/boosted/1", tmp_path)
    assert "the address of an MLflow server" in (caught.value.remedy or "")

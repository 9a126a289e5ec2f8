"""The backend `trees`: published ensembles load and serve, those that do not fit are refused, and torch is not imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from forebay.models.artefacts.manifest import OutputKind, Provenance
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Feature, Signature, Task
from forebay.models.backends.protocol import RunOptions
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.publish import publish_candidate
from forebay.models.serving.load_gate import load_model
from forebay.schemas.errors import ModelError
from tests.models.backends.trees.forest import make_ensemble, predict_slowly

PROVENANCE = Provenance(datetime(2026, 11, 28, tzinfo=UTC), {})
FEATURES = (
    Feature("a", nullable=True),
    Feature("b", nullable=True),
    Feature("c", "category", tuple(map(str, range(30))), nullable=True),
)


def candidate(
    rules: EnsembleRules, task: Task, outputs: OutputKind | None = None, params: Mapping[str, object] | None = None
) -> Candidate:
    ensemble = make_ensemble(rules)
    return Candidate(
        "trees",
        {"trees.safetensors": ensemble.dump()},
        Signature(FEATURES, (3,), task, rules.num_outputs),
        Preprocessing.identity(),
        outputs=outputs,
        params=rules.to_params() if params is None else params,
        expected=lambda x_BF: predict_slowly(ensemble, x_BF).astype(np.float32),
    )


@pytest.mark.parametrize(("task", "outputs"), [("regression", 2), ("binary", 1), ("multiclass", 3)])
def test_a_published_ensemble_serves(tmp_path: Path, task: Task, outputs: int) -> None:
    rules = EnsembleRules(3, outputs)
    publish_candidate(candidate(rules, task), repository=tmp_path, name="trees", provenance=PROVENANCE)
    model = load_model(tmp_path, "trees", options=RunOptions("auto"))
    assert (model.device, model.num_golden_rows) == ("cpu", 32)
    model.warm_up([1, 64])
    x_BF = np.array([[0.5, np.nan, 3], [np.nan, -1, np.nan]], np.float32)
    values_BO = model.forward(model.prepare(x_BF)).values_BO
    raw_BO = predict_slowly(make_ensemble(rules), x_BF)
    expected = {
        "regression": raw_BO,
        "binary": 1 / (1 + np.exp(-raw_BO)),
        "multiclass": np.exp(raw_BO) / np.exp(raw_BO).sum(axis=1, keepdims=True),
    }[task]
    np.testing.assert_allclose(values_BO, expected, rtol=1e-6)


def test_an_ensemble_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    rules = EnsembleRules(3, 1)
    good = candidate(rules, "binary")
    for change, message in (
        ({"params": {**good.params, "num_features": 4}}, "but the ensemble of trees takes 4"),
        ({"params": {**good.params, "num_outputs": 2}}, "the ensemble of trees gives 2"),
        ({"params": {**good.params, "link": "sigmoid"}}, "outputs is logits and the link is sigmoid"),
        ({"params": {**good.params, "comparison": ">"}}, "comparison"),
        ({"params": {}}, "num_features"),
        ({"files": {"trees.safetensors": b"x"}}, "trees.safetensors: this is not a safetensors file of trees"),
    ):
        with pytest.raises(ModelError, match=message):
            publish_candidate(
                replace(good, **change),  # type: ignore[arg-type]
                repository=tmp_path,
                name="trees",
                provenance=PROVENANCE,
            )


def test_trees_run_on_the_cpu_only(tmp_path: Path) -> None:
    good = candidate(EnsembleRules(3, 1), "binary")
    publish_candidate(good, repository=tmp_path, name="trees", provenance=PROVENANCE)
    with pytest.raises(ModelError, match="the device is cuda; trees run on the CPU only"):
        load_model(tmp_path, "trees", options=RunOptions("cuda"))


def test_a_worker_loads_trees_without_torch_and_without_the_libraries_that_trained_them(tmp_path: Path) -> None:
    publish_candidate(
        candidate(EnsembleRules(3, 1), "binary"), repository=tmp_path, name="trees", provenance=PROVENANCE
    )
    script = (
        "import sys; from forebay.models.serving.load_gate import load_model\n"
        "from forebay.models.backends.protocol import RunOptions\n"
        f"load_model({str(tmp_path)!r}, 'trees', options=RunOptions())\n"
        "print(*sorted({'torch', 'onnx', 'xgboost', 'lightgbm', 'sklearn', 'scipy', 'pandas'} & sys.modules.keys()))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == ""

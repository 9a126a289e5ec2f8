"""Calibrated versions: what workers compute equals scikit-learn, and nothing gets worse unnoticed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from forebay.models.artefacts.artefact import read_artefact, read_version
from forebay.models.artefacts.calibration import Calibration, logit
from forebay.models.artefacts.files import GOLDEN_FILE
from forebay.models.artefacts.golden import dump_golden
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.reference_statistics import NumberReference, ReferenceStatistics
from forebay.models.backends.protocol import RunOptions
from forebay.models.registration.calibrate import CalibrationResult, calibrate, calibration_metrics, fit_calibration
from forebay.models.serving.load_gate import load_model
from forebay.schemas.errors import ModelError
from tests.models.artefacts.test_artefact import replace_file
from tests.models.build import make_net, make_signature, publish

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def overconfident(count: int = 4_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return scores whose logits are twice as large as they should be, and classes."""
    random = np.random.default_rng(seed)
    logits_N = random.normal(-1, 1.5, count)
    classes_N = (random.random(count) < 1 / (1 + np.exp(-logits_N))).astype(np.int64)
    return (1 / (1 + np.exp(-2 * logits_N))).astype(np.float32)[:, None], classes_N


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    publish(tmp_path, "m", net=make_net(3, 1), signature=make_signature(3, "binary", 1, ("no", "yes")))
    return tmp_path


def run(repository: Path, scores_NO: np.ndarray, classes_N: np.ndarray, **more: Any) -> CalibrationResult:
    return calibrate(repository, "m", 1, scores_NO=scores_NO, classes_N=classes_N, created_at=NOW, **more)


def test_isotonic_calibration_equals_scikit_learn() -> None:
    scores_NO, classes_N = overconfident()
    calibration = fit_calibration("isotonic", scores_NO, classes_N, "m")
    least = 1 / (len(classes_N) + 2)
    original = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
    original.fit(scores_NO[:, 0].astype(np.float64), classes_N)
    p_B = np.concatenate([np.linspace(0, 1, 5_001), scores_NO[:, 0]]).astype(np.float32)
    assert np.abs(calibration.apply(p_B[:, None])[:, 0] - original.predict(p_B.astype(np.float64))).max() < 1e-6


def test_platt_calibration_equals_scikit_learn() -> None:
    scores_NO, classes_N = overconfident()
    calibration = fit_calibration("platt", scores_NO, classes_N, "m")
    z_N1 = logit(scores_NO.astype(np.float64))
    original = LogisticRegression(C=1e10, tol=1e-10, max_iter=1_000).fit(z_N1, classes_N)
    assert np.abs(calibration.apply(scores_NO)[:, 0] - original.predict_proba(z_N1)[:, 1]).max() < 1e-6
    assert 0.45 < calibration.slope < 0.55  # half of the logits, as they were made


def test_the_temperature_is_the_one_by_which_logits_were_divided() -> None:
    random = np.random.default_rng(1)
    logits_NO = random.normal(0, 2, (20_000, 3))
    p_NO = np.exp(logits_NO) / np.exp(logits_NO).sum(axis=1, keepdims=True)
    classes_N = (p_NO.cumsum(axis=1) < random.random((20_000, 1))).sum(axis=1)
    sharp_NO = np.exp(3 * logits_NO) / np.exp(3 * logits_NO).sum(axis=1, keepdims=True)
    calibration = fit_calibration("temperature", sharp_NO.astype(np.float32), classes_N, "m")
    assert abs(calibration.temperature - 3) < 0.1
    assert np.abs(calibration.apply(sharp_NO.astype(np.float32)) - p_NO).max() < 0.02


def test_metrics_equal_scikit_learn() -> None:
    scores_NO, classes_N = overconfident(500)
    p_N = scores_NO[:, 0].astype(np.float64)
    found = calibration_metrics(scores_NO, classes_N)
    assert abs(found.log_loss - log_loss(classes_N, np.clip(p_N, 2**-23, 1 - 2**-23))) < 1e-9
    assert abs(found.brier - brier_score_loss(classes_N, p_N)) < 1e-12
    assert found.ece > calibration_metrics(np.full((500, 1), classes_N.mean(), np.float32), classes_N).ece


_SCORES = st.lists(st.sampled_from([0.0, 1e-9, 0.1, 0.25, 0.5, 0.75, 0.999, 1.0, float("nan")]), max_size=20)


@settings(max_examples=50)
@given(_SCORES, st.sampled_from([Calibration("isotonic", (0.1, 0.5), (0.2, 0.9)), Calibration("platt", slope=2.0)]))
def test_order_and_missing_scores_stay(scores: list[float], calibration: Calibration) -> None:
    found = calibration.apply(np.array(scores, np.float32)[:, None])[:, 0]
    assert np.isnan(found).tolist() == np.isnan(np.array(scores)).tolist()
    order = np.argsort(np.array(scores))
    assert (np.diff(found[order][~np.isnan(found[order])]) >= 0).all()


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_a_calibrated_version_serves_calibrated_scores(repository: Path, method: Any) -> None:
    result = run(repository, *overconfident(), method=method, threshold=0.3)
    assert result.after.log_loss < result.before.log_loss and result.after.ece < result.before.ece
    assert (result.num_fitted, result.num_held_out) == (3_200, 800)
    manifest = read_version(repository, "m", 2).manifest
    assert manifest.provenance.parent == 1 and manifest.calibration == result.calibration
    assert manifest.provenance.metrics["log_loss_after_calibration"] == result.after.log_loss
    before, after = (load_model(repository, "m", number, options=RunOptions()) for number in (1, 2))
    x_BF = np.random.default_rng(2).normal(size=(200, 3)).astype(np.float32)
    raw, served = before.forward(before.prepare(x_BF)), after.forward(after.prepare(x_BF))
    assert served.values_BO.tolist() == result.calibration.apply(raw.values_BO).tolist()
    assert served.classes_B is not None and served.confidences_B is not None
    p_B = served.values_BO[:, 0]
    assert served.classes_B.tolist() == (p_B >= np.float32(0.3)).tolist()
    assert served.confidences_B.tolist() == np.where(served.classes_B == 1, p_B, 1 - p_B).tolist()


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_golden_rows_check_the_calibration(repository: Path, method: Any) -> None:
    directory = run(repository, *overconfident(), method=method).directory
    file = directory / "manifest.json"
    document = json.loads(file.read_text())
    changed = dict(document["calibration"])
    changed |= (
        {"y": [min(1.0, y + 0.01) for y in changed["y"]]}
        if method == "isotonic"
        else {"slope": changed["slope"] * 1.01}
    )
    for calibration in (changed, None):
        kept = {key: value for key, value in document.items() if key != "calibration"}
        file.write_text(json.dumps(kept if calibration is None else kept | {"calibration": calibration}))
        with pytest.raises(ModelError, match=r"for golden row \d+ the calibrated score 0 is .*, but it was") as caught:
            load_model(repository, "m", 2, options=RunOptions())
        assert caught.value.kind == "golden" and caught.value.remedy
    file.write_text(json.dumps(document))
    assert load_model(repository, "m", 2, options=RunOptions()).num_golden_rows


def test_a_version_that_was_calibrated_without_golden_scores_is_served(repository: Path) -> None:
    """As earlier versions of Forebay published them."""
    directory = run(repository, *overconfident(), method="platt").directory
    golden = read_artefact(read_version(repository, "m", 2)).golden
    assert golden is not None and golden.scores_RO is not None
    replace_file(directory, dump_golden(replace(golden, scores_RO=None)), GOLDEN_FILE)
    assert load_model(repository, "m", 2, options=RunOptions()).num_golden_rows


def test_a_threshold_keeps_its_meaning_through_a_calibration(tmp_path: Path) -> None:
    calibration = Calibration("platt", slope=0.5, intercept=0.2)
    publish(tmp_path, "m", net=make_net(3, 1), signature=make_signature(3, "binary", 1))
    path = tmp_path / "m" / "1" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"threshold": 0.25}))
    scores_NO, classes_N = overconfident()
    result = run(tmp_path, scores_NO, classes_N, method="platt")
    calibration = result.calibration
    threshold = read_version(tmp_path, "m", 2).manifest.threshold
    assert threshold == calibration.apply(np.array([[0.25]], np.float32))[0, 0]


def test_reference_statistics_describe_the_calibrated_scores(tmp_path: Path) -> None:
    scores_NO, classes_N = overconfident()
    edges = (0.125, 0.25, 0.5, 0.75)
    counts = tuple(np.bincount(np.searchsorted(edges, scores_NO[:, 0], side="right"), minlength=5).tolist())
    statistics = ReferenceStatistics(4_000, (), (NumberReference("output", 0, 0.3, 0.1, edges=edges, counts=counts),))
    signature = make_signature(3, "binary", 1)
    publish(tmp_path, "m", net=make_net(3, 1), signature=signature, reference_statistics=statistics.to_dict())
    result = run(tmp_path, scores_NO, classes_N, method="platt")
    document = read_version(tmp_path, "m", 2).manifest.provenance.reference_statistics
    assert document is not None
    found = ReferenceStatistics.from_dict(document)
    assert found is not None
    (output,) = found.outputs
    calibrated_N = result.calibration.apply(scores_NO)[:, 0]
    bins_N = np.searchsorted(np.array(output.edges, np.float32), calibrated_N, side="right")
    assert np.bincount(bins_N, minlength=5).tolist() == list(output.counts)


def test_what_gets_worse_is_published_only_by_force(repository: Path) -> None:
    scores_NO, classes_N = overconfident(200, seed=3)
    calibrated_NO = 1 / (1 + np.exp(-logit(scores_NO.astype(np.float64)) / 2))
    with pytest.raises(ModelError, match="held-out predictions would get worse"):
        run(repository, calibrated_NO.astype(np.float32), classes_N, method="isotonic")
    assert not (repository / "m" / "2").exists()
    result = run(repository, calibrated_NO.astype(np.float32), classes_N, method="isotonic", force=True)
    assert result.directory == repository / "m" / "2" and result.after.log_loss > result.before.log_loss


def test_labels_that_do_not_agree_with_the_scores_are_published_only_by_force(repository: Path) -> None:
    scores_NO, classes_N = overconfident()
    with pytest.raises(ModelError, match=r"higher scores are not more often of class 1 \(ROC AUC 0.1"):
        run(repository, scores_NO, 1 - classes_N)
    same_NO = np.where(np.arange(len(classes_N)) == classes_N.argmax(), 0.6, 0.5).astype(np.float32)[:, None]
    with pytest.raises(ModelError, match=r"nearly the same for all events \(spread 0.0"):
        run(repository, same_NO, classes_N)
    assert not (repository / "m" / "2").exists()
    result = run(repository, scores_NO, 1 - classes_N, force=True)
    assert len(set(result.calibration.y)) <= 4


def test_scores_of_a_rare_class_may_all_be_small(repository: Path) -> None:
    random = np.random.default_rng(4)
    true_N = np.where(np.arange(40_000) % 2, 0.0005, 0.002)
    scores_NO = (true_N * 20 + random.uniform(0, 1e-4, len(true_N))).astype(np.float32)[:, None]
    classes_N = (random.random(len(true_N)) < true_N).astype(np.int64)
    result = run(repository, scores_NO, classes_N)
    assert result.calibration.apply(scores_NO).max() < 0.05


def test_classes_of_random_labels_are_not_calibrated(tmp_path: Path) -> None:
    publish(tmp_path, "m", net=make_net(3, 3), signature=make_signature(3, "multiclass", 3))
    random = np.random.default_rng(5)
    scores_NO = random.dirichlet((1, 1, 1), 2_000).astype(np.float32)
    with pytest.raises(ModelError, match="labels do not agree with the scores"):
        run(tmp_path, scores_NO, random.integers(0, 3, 2_000))


def test_what_cannot_be_calibrated_is_refused(repository: Path) -> None:
    scores_NO, classes_N = overconfident()
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"method": "temperature"}, "temperature is not for binary"),
        ({"scores_NO": scores_NO[:50], "classes_N": classes_N[:50]}, "50 labelled predictions; at least 100"),
        ({"classes_N": np.zeros_like(classes_N)}, "0 labels are of class 1; at least 10"),
        ({"scores_NO": scores_NO * 2}, "not probabilities"),
        ({"scores_NO": np.repeat(scores_NO, 2, axis=1)}, "its predictions have 1 numbers"),
        ({"classes_N": 1 - classes_N, "method": "platt"}, "less often of class 1"),
    ]
    for arguments, message in refusals:
        with pytest.raises(ModelError, match=message):
            run(repository, **{"scores_NO": scores_NO, "classes_N": classes_N} | arguments)
    run(repository, scores_NO, classes_N)
    with pytest.raises(ModelError, match="is calibrated already"):
        calibrate(repository, "m", 2, scores_NO=scores_NO, classes_N=classes_N, created_at=NOW)


@pytest.mark.parametrize(
    ("task", "key", "value", "message"),
    [
        ("binary", "calibration", {"method": "isotonic", "x": [0.5, 0.1], "y": [0, 1]}, "calibration.x"),
        ("binary", "calibration", {"method": "isotonic", "x": [0.1, 0.5], "y": [1, 0]}, "calibration.y"),
        ("binary", "calibration", {"method": "isotonic", "x": [0.1], "y": [2]}, "calibration.y"),
        ("binary", "calibration", {"method": "platt", "slope": -1, "intercept": 0}, "calibration.slope"),
        ("binary", "calibration", {"method": "temperature", "temperature": 1}, "calibration.method"),
        ("multiclass", "calibration", {"method": "temperature", "temperature": 0}, "calibration.temperature"),
        ("regression", "calibration", {"method": "platt", "slope": 1, "intercept": 0}, "has no calibration"),
        ("binary", "threshold", 1, "threshold"),
        ("multiclass", "threshold", 0.5, "threshold"),
    ],
)
def test_a_manifest_with_a_wrong_calibration_is_refused(
    tmp_path: Path, task: Any, key: str, value: object, message: str
) -> None:
    dim = 2 if task == "multiclass" else 1
    publish(tmp_path, "m", net=make_net(3, dim), signature=make_signature(3, task, dim))
    manifest = read_version(tmp_path, "m").manifest
    document = json.loads(manifest.to_json())
    with pytest.raises(ModelError, match=message):
        Manifest.from_json(json.dumps(document | {key: value}).encode(), "manifest.json")
    assert Manifest.from_json(replace(manifest).to_json(), "manifest.json").calibration is None
